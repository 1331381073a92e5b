"""The accuracy tracker on Ray: a thin shell around `algorithms.tracker`.

A tracker that is lost is replaced: the new one loads the last saved state and gets all calls since then again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import ray
from ray.actor import ActorHandle

from vt_ray.actors.busy import BusyTime
from vt_ray.actors.process import begin_process
from vt_ray.actors.replaceable import Replaceable
from vt_ray.algorithms.tracker import AccuracyTracker, QuestionHistory
from vt_ray.config import TrackerConfig
from vt_ray.records import AdvantageConfig, GradedGroup, GroupAdvantages


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

    def expected_weights(self, question_ids: list[str], version: int, lam: float) -> list[float]:
        with self.busy:
            return self.tracker.expected_weights(question_ids, version, lam)

    def save(self, path: Path) -> None:
        self.tracker.save(path)

    def load(self, path: Path) -> None:
        self.tracker.load(path)

    def history(self) -> dict[str, QuestionHistory]:
        return self.tracker.history

    def restore(self, history: dict[str, QuestionHistory]) -> None:
        self.tracker.history = history


class RayTracker:
    """Implements `interfaces.Tracker`."""

    def __init__(self, spawn: Callable[[], ActorHandle]):
        self._seat = Replaceable(spawn, self._tell_again)
        self._history: dict[str, QuestionHistory] = {}
        # Calls that have changed the tracker since then; no more than the steps from one checkpoint to the next.
        self._since: list[Callable[[ActorHandle], ray.ObjectRef]] = []

    def compute_advantages(
        self, groups: Sequence[GradedGroup], version: int, config: AdvantageConfig
    ) -> list[GroupAdvantages]:
        bare = _bare(groups)
        return self._change(lambda actor: actor.compute_advantages.remote(bare, version, config))

    def note(self, groups: Sequence[GradedGroup], version: int) -> None:
        bare = _bare(groups)
        self._change(lambda actor: actor.note.remote(bare, version))

    def expected_weights(self, question_ids: Sequence[str], version: int, lam: float) -> list[float]:
        return self._seat.call(lambda actor: actor.expected_weights.remote(list(question_ids), version, lam))

    def save(self, path: Path) -> None:
        self._seat.call(lambda actor: actor.save.remote(path))
        self._remember()

    def load(self, path: Path) -> None:
        self._seat.call(lambda actor: actor.load.remote(path))
        self._remember()

    def _remember(self) -> None:
        """The files may be moved or deleted later: what a new tracker needs stays here."""
        self._history = self._seat.call(lambda actor: actor.history.remote())
        self._since = []

    def _change(self, ask: Callable[[ActorHandle], ray.ObjectRef]):
        answer = self._seat.call(ask)
        self._since.append(ask)
        return answer

    def _tell_again(self, actor: ActorHandle) -> None:
        actor.restore.remote(self._history)
        for ask in self._since:
            ask(actor)


def _bare(groups: Sequence[GradedGroup]) -> list[GradedGroup]:
    """The tracker needs verdicts only: the handles of the tokens stay with the driver."""
    return [replace(group, rollouts=None) for group in groups]
