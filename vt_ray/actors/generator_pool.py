"""The generator actors of a run. A dead actor is replaced: started again, given the newest weights, checked.

    no actor --start--> starting --load the newest weights--> ready
       ^-- dead: up to MAX_DEATHS times --'    proof fails: once more --'

The pool has no thread of its own. Its callers call `replace_dead` regularly; each call moves every replacement one step
forward without waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError

from vt_ray.actors.export import NcclTransfer, WeightsGone
from vt_ray.actors.failures import actor_died
from vt_ray.actors.worker import Worker
from vt_ray.engines.weights import SyncError
from vt_ray.planning.placement import ClusterError

NODE_CHECK_S = 5.0
# Deaths of one generator since the last load: a replacement would die as well.
MAX_DEATHS = 8
POLL_S = 0.05


@dataclass(frozen=True)
class Load:
    """How an actor gets weights, and the proof that it has to give.

    `send` serves the actors that run when the load begins, `send_late` the actors that are started afterwards. `check`
    raises SyncError if the answer proves other weights, WeightsGone if the learner no longer has them. `transfer` is
    set if the load is one NCCL broadcast, in which all ranks wait for each other.
    """

    send: Callable[[ActorHandle], ray.ObjectRef[Any]]
    check: Callable[[Any], None]
    send_late: Callable[[ActorHandle], ray.ObjectRef[Any]]
    transfer: NcclTransfer | None = None


@dataclass
class GeneratorWorker(Worker):
    """`pending` is the actor's start or its load until it is ready, and `load` the weights of that load."""

    load: Load | None = None
    is_second_load: bool = False
    # The answer to `load`, once ready.
    answer: Any = None
    # Of the actor that runs, and of all actors before it.
    busy_s: float = 0.0
    busy_before_s: float = 0.0


class GeneratorPool:
    """`spawn` starts the actor with a given name; `refuse_lost_nodes` raises ClusterError if a node has died.

    Every method may be called from any thread.
    """

    def __init__(
        self,
        names: Sequence[str],
        spawn: Callable[[str], ActorHandle],
        refuse_lost_nodes: Callable[[], None],
        startup_timeout_s: float,
    ):
        self.refuse_lost_nodes, self.startup_timeout_s = refuse_lost_nodes, startup_timeout_s
        self.newest: Load | None = None
        # No replacement is started while the GPU belongs to the learner.
        self.paused = False
        self._lock = threading.RLock()
        self._last_node_check = time.monotonic()
        self._workers = [GeneratorWorker(name, partial(spawn, name)) for name in names]
        for worker in self._workers:
            self._start(worker)

    @property
    def starting(self) -> list[ray.ObjectRef[Any]]:
        return [worker.pending for worker in self._workers if not worker.ready and worker.pending is not None]

    @property
    def count(self) -> int:
        return len(self._workers)

    @property
    def starts(self) -> int:
        """Actors started so far; the number changes whenever the set of actors does."""
        return sum(worker.starts for worker in self._workers)

    @property
    def respawns(self) -> int:
        return self.starts - self.count

    def ready_workers(self) -> list[GeneratorWorker]:
        """Copies: another thread may discard an actor at any time."""
        with self._lock:
            return [replace(worker) for worker in self._workers if worker.ready]

    def replace_dead(self) -> None:
        """Moves every worker that is not ready one step forward, without waiting.

        Raises ClusterError if a worker cannot be replaced, SyncError if a replacement fails its proof twice, and any
        error that a load raised.
        """
        with self._lock:
            if self.paused or all(worker.ready for worker in self._workers):
                return
            if time.monotonic() - self._last_node_check > NODE_CHECK_S:
                self.refuse_lost_nodes()
                self._last_node_check = time.monotonic()
            for worker in self._workers:
                if not worker.running:
                    self._start(worker)
                elif not worker.ready:
                    self._advance(worker)

    def load(self, load: Load) -> dict[str, Any]:
        """Loads weights into all generators. Returns the answers by name, also of actors started during the load."""
        with self._lock:
            self.newest = load
            for worker in self._workers:
                worker.failures = 0
        answers = self.ask_all(load.send, load.transfer)
        return {worker.name: answers.get(worker.name, worker.answer) for worker in self.wait_until_ready()}

    def wait_until_ready(self) -> list[GeneratorWorker]:
        """Waits until all workers are ready with the newest weights."""
        while True:
            self.replace_dead()
            if len(ready := self.ready_workers()) == self.count:
                return ready
            time.sleep(POLL_S)

    def report_death(self, worker_id: int, error: BaseException | None) -> None:
        """Several callers may notice the same death: only the first report counts."""
        with self._lock:
            for worker in self._workers:
                if worker.id == worker_id and worker.running:
                    self._discard(worker, error)

    def ask_all(
        self, ask: Callable[[ActorHandle], ray.ObjectRef[Any]], transfer: NcclTransfer | None = None
    ) -> dict[str, Any]:
        """Returns the answers of all ready actors by name, without those of actors that died meanwhile.

        During a `transfer`, the death of a generator or learner rank is raised at once, after all members are killed:
        each of them would wait for the dead one without end. The same holds for a death just before the transfer, since
        the learner has opened it for all generators.
        """
        ready = self.ready_workers()
        if transfer is not None and len(ready) < self.count:
            transfer.break_off()
            ray.get(list(transfer.ends))
        asked = {ask(worker.actor): worker for worker in ready}
        waiting = [*asked, *(transfer.ends if transfer else ())]
        answers: dict[str, Any] = {}
        while asked.keys() & set(waiting):
            (call,), waiting = ray.wait(waiting, num_returns=1)
            worker = asked.get(call)
            try:
                answer = ray.get(call)
            except RayActorError as error:
                if not actor_died(error):
                    raise
                if worker is not None:
                    self.report_death(worker.id, error)
                if transfer is not None:
                    for unanswered in asked.keys() & set(waiting):
                        self.report_death(asked[unanswered].id, error)
                    transfer.break_off()
                    raise
            else:
                if worker is not None:
                    answers[worker.name] = answer
        return answers

    def busy_seconds(self) -> dict[str, float]:
        answers = self.ask_all(lambda actor: actor.busy_seconds.remote())
        with self._lock:
            for worker in self._workers:
                worker.busy_s = answers.get(worker.name, worker.busy_s)
            return {worker.name: worker.busy_before_s + worker.busy_s for worker in self._workers}

    def _start(self, worker: GeneratorWorker) -> None:
        if worker.start():
            worker.load = None
            worker.wait_for(worker.actor.ready.remote())

    def _advance(self, worker: GeneratorWorker) -> None:
        if worker.pending is None:
            # The learner no longer has the newest weights: newer ones will be sent soon.
            if worker.load is not self.newest:
                self._send_newest(worker)
            return
        ready, _ = ray.wait([worker.pending], timeout=0)
        if not ready:
            if time.monotonic() - worker.pending_since > self.startup_timeout_s:
                timeout = f"not ready within cluster.startup_timeout_s={self.startup_timeout_s:g}"
                self._discard(worker, TimeoutError(timeout))
            return
        try:
            answer = ray.get(worker.pending)
        except RayError as error:
            if actor_died(error):
                self._discard(worker, error)
                return
            if worker.load is self.newest:
                raise
            # The failed load was of older weights: it no longer matters.
        else:
            if worker.load is self.newest:
                self._check(worker, answer)
                return
        worker.is_second_load = False
        self._send_newest(worker)

    def _check(self, worker: GeneratorWorker, answer: Any) -> None:
        """Makes the worker ready if its proof is right, else loads once more: it has sampled nothing yet."""
        try:
            if worker.load is not None:
                worker.load.check(answer)
        except WeightsGone:
            worker.pending = None
        except SyncError:
            if worker.is_second_load:
                raise
            worker.is_second_load = True
            self._send_newest(worker)
        else:
            worker.ready, worker.pending, worker.answer = True, None, answer

    def _send_newest(self, worker: GeneratorWorker) -> None:
        assert self.newest is not None
        worker.load = self.newest
        worker.wait_for(self.newest.send_late(worker.actor))

    def _discard(self, worker: GeneratorWorker, error: BaseException | None) -> None:
        worker.discard(error)
        if worker.failures >= MAX_DEATHS:
            raise ClusterError(
                f"{worker.name} cannot be replaced: {MAX_DEATHS} of its actors died since the last load of weights "
                f"(see logs/{worker.name}.log){worker.why}"
            )
        worker.busy_s, worker.busy_before_s = 0.0, worker.busy_before_s + worker.busy_s
