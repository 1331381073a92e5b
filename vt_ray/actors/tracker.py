"""The accuracy tracker on Ray: an actor around `algorithms.tracker`.

If the actor dies, a new one gets the last saved state and then all calls since then again.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from vt_ray.actors.busy import BusyTime
from vt_ray.actors.failures import actor_died
from vt_ray.actors.process import begin_process
from vt_ray.actors.worker import Worker
from vt_ray.algorithms.tracker import AccuracyTracker
from vt_ray.config import TrackerConfig
from vt_ray.records import AdvantageConfig, GradedGroup, GroupAdvantages

# Actors that die one after the other over one call: the call itself kills them.
MAX_TRIES = 4


@ray.remote
class TrackerActor:
    def __init__(self, tracker: TrackerConfig, log_folder: Path):
        begin_process(log_folder / "tracker.log")
        self.busy = BusyTime()
        self.tracker = AccuracyTracker(tracker)

    def busy_seconds(self) -> float:
        return self.busy.seconds

    def compute_advantages(
        self, groups: list[GradedGroup], version: int, config: AdvantageConfig
    ) -> list[GroupAdvantages]:
        with self.busy:
            return self.tracker.compute_advantages(groups, version, config)

    def note(self, groups: list[GradedGroup], version: int) -> None:
        with self.busy:
            self.tracker.note(groups, version)

    def expected_weights(self, question_ids: list[str], version: int, config: AdvantageConfig) -> list[float]:
        with self.busy:
            return self.tracker.expected_weights(question_ids, version, config)

    def save(self, path: Path) -> None:
        self.tracker.save(path)

    def load(self, path: Path) -> None:
        self.tracker.load(path)

    def history(self) -> bytes:
        """Returns the pickled history: the driver only keeps it, so that it need not unpickle it at each checkpoint."""
        return pickle.dumps(self.tracker.history)

    def restore(self, history: bytes) -> None:
        self.tracker.history = pickle.loads(history)


class RayTracker:
    """Implements `interfaces.Tracker`."""

    def __init__(self, worker: Worker):
        self._worker = worker
        worker.start_now()
        self._history = pickle.dumps({})
        # The calls that have changed the tracker since then: at most the steps between two checkpoints.
        self._since: list[Callable[[ActorHandle], ray.ObjectRef[Any]]] = []

    def compute_advantages(
        self, groups: Sequence[GradedGroup], version: int, config: AdvantageConfig
    ) -> list[GroupAdvantages]:
        verdicts = _without_handles(groups)
        advantages: list[GroupAdvantages] = self._change(
            lambda actor: actor.compute_advantages.remote(verdicts, version, config)
        )
        return advantages

    def note(self, groups: Sequence[GradedGroup], version: int) -> None:
        verdicts = _without_handles(groups)
        self._change(lambda actor: actor.note.remote(verdicts, version))

    def expected_weights(self, question_ids: Sequence[str], version: int, config: AdvantageConfig) -> list[float]:
        ids = list(question_ids)
        weights: list[float] = self._call(lambda actor: actor.expected_weights.remote(ids, version, config))
        return weights

    def save(self, path: Path) -> None:
        self._call(lambda actor: actor.save.remote(path))
        self._remember()

    def load(self, path: Path) -> None:
        self._call(lambda actor: actor.load.remote(path))
        self._remember()

    def _remember(self) -> None:
        """Keeps the state for a replacement: the saved file may be moved or deleted later."""
        self._history = self._call(lambda actor: actor.history.remote())
        self._since = []

    def _change(self, ask: Callable[[ActorHandle], ray.ObjectRef[Any]]) -> Any:
        answer = self._call(ask)
        self._since.append(ask)
        return answer

    def _call(self, ask: Callable[[ActorHandle], ray.ObjectRef[Any]]) -> Any:
        """Returns the actor's answer; replaces the actor if it dies. Raises the actor's own errors, and RayActorError
        after MAX_TRIES deaths."""
        worker = self._worker
        while True:
            try:
                answer = ray.get(ask(worker.actor))
            except RayActorError as error:
                if worker.failures + 1 == MAX_TRIES or not actor_died(error):
                    raise
                worker.discard(error)
                self._restore(worker.start_now())
            else:
                worker.failures = 0
                return answer

    def _restore(self, actor: ActorHandle) -> None:
        actor.restore.remote(self._history)
        for ask in self._since:
            ask(actor)


def _without_handles(groups: Sequence[GradedGroup]) -> list[GradedGroup]:
    """The tracker needs verdicts only: the handles of the tokens stay with the driver."""
    return [replace(group, rollouts=None) for group in groups]
