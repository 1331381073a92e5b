"""The verifier actors of a run: hands out chunks, collects the answers, replaces dead and hanging actors.

rollouts --Prefetcher--> GradingQueue --Chunk--> actor --Answer--> GradingQueue --> GradedGroup
                             ^---- actor died ----'
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from vt_ray.actors.grading_queue import Chunk, Costs, GradingQueue
from vt_ray.actors.worker import Worker
from vt_ray.data.prefetch import Prefetcher, abandoned
from vt_ray.interfaces import Handle, VerifierCounts
from vt_ray.planning.placement import ClusterError
from vt_ray.records import GradedGroup, Rollouts

# Groups that are read but not verified. With more of them, the generators' stream is not read.
MAX_OPEN_GROUPS = 64
# A worker hangs if a chunk takes this much longer than the limit of one completion.
HANGS_AFTER_S = 300.0
CHECK_EVERY_S = 5.0
# How often new rollouts are looked for while a worker is idle.
POLL_S = 0.01
# Failed starts of every worker, one after the other: further starts would fail too.
MAX_FAILED_STARTS = 3
LONGEST_PAUSE_S = 30.0


@dataclass
class VerifierWorker(Worker):
    """`pending` is the actor's start until it is ready, then the answer to `chunk`. If that is None, the call of
    `grade` that asked has ended and the answer is ignored."""

    # How the actor confines programs, once ready.
    backend: str = ""
    chunk: Chunk | None = None
    busy_s: float = 0.0

    @property
    def idle(self) -> bool:
        return self.ready and self.pending is None


class VerifierPool:
    """Implements `interfaces.Verifier`.

    `spawn` starts the actor with a given name; `refuse_lost_nodes` raises ClusterError if a node has died. An actor
    that works at one chunk for more than `hangs_after_s` is replaced.
    """

    def __init__(
        self,
        names: Sequence[str],
        spawn: Callable[[str], ActorHandle],
        refuse_lost_nodes: Callable[[], None],
        startup_timeout_s: float,
        hangs_after_s: float,
    ):
        self.refuse_lost_nodes = refuse_lost_nodes
        self.startup_timeout_s, self.hangs_after_s = startup_timeout_s, hangs_after_s
        self._longest_wait_s = min(CHECK_EVERY_S, hangs_after_s)
        self._workers = [VerifierWorker(name, partial(spawn, name)) for name in names]
        self._costs = Costs()
        self._retries = 0
        self._last_ready = self._last_check = time.monotonic()
        self._start_missing()

    def grade(self, rollouts: Iterable[Handle]) -> Iterator[GradedGroup]:
        queue = GradingQueue(self._costs)
        self._last_ready = time.monotonic()
        try:
            with Prefetcher(rollouts, MAX_OPEN_GROUPS) as ahead:
                while (not ahead.ended or queue.open_groups) and not abandoned():
                    self._start_missing()
                    self._hand_out(queue, ahead)
                    could_work = not ahead.ended and any(worker.idle for worker in self._workers)
                    answered = self._wait(POLL_S if could_work else self._longest_wait_s, ahead)
                    yield from (group for worker in answered if (group := self._collect(worker, queue)))
                    yield from (group for worker in self._hanging() if (group := self._discard(worker, queue, None)))
                    self._refuse_hopeless()
        finally:
            self._retries += queue.retries
            for worker in self._workers:
                worker.chunk = None

    def rollouts(self, group: GradedGroup) -> Rollouts:
        found: Rollouts = ray.get(group.rollouts)
        return found

    def wait_for_start(self) -> None:
        """Waits until one worker is ready and each other one is ready or has failed to start. Raises ClusterError if no
        worker can start."""
        self._last_ready = time.monotonic()
        empty = GradingQueue(self._costs)
        while not all(worker.ready or worker.failures for worker in self._workers) or not self._ready_ids():
            self._start_missing()
            for worker in self._wait(CHECK_EVERY_S):
                self._collect(worker, empty)
            self._refuse_hopeless()

    def counts(self) -> VerifierCounts:
        respawns = max(0, sum(worker.starts for worker in self._workers) - len(self._workers))
        backends = Counter(worker.backend for worker in self._workers if worker.ready)
        return VerifierCounts(self._retries, respawns, dict(backends))

    def busy_seconds(self) -> dict[str, float]:
        return {worker.name: worker.busy_s for worker in self._workers}

    def _start_missing(self) -> None:
        for worker in self._workers:
            if not worker.running and worker.start():
                worker.wait_for(worker.actor.ready.remote())

    def _ready_ids(self) -> list[int]:
        return [worker.id for worker in self._workers if worker.ready]

    def _hand_out(self, queue: GradingQueue, ahead: Prefetcher) -> None:
        """A chunk for every idle worker, the least used worker first."""
        ready = self._ready_ids()
        idle = [worker for worker in self._workers if worker.idle]
        for worker in sorted(idle, key=lambda worker: worker.busy_s):
            chunk = queue.next_chunk(worker.id, ready)
            if chunk is None and queue.open_groups < MAX_OPEN_GROUPS:
                for handle in ahead.take():
                    queue.add(handle)
                    chunk = queue.next_chunk(worker.id, ready)
            if chunk is not None:
                worker.chunk = chunk
                worker.wait_for(worker.actor.grade.remote([queue.handle(chunk)], chunk.samples))

    def _wait(self, wait_s: float, ahead: Prefetcher | None = None) -> list[VerifierWorker]:
        """Returns the workers whose pending call has ended, after at most `wait_s`. Without any, waits for rollouts."""
        pending = {worker.pending: worker for worker in self._workers if worker.pending is not None}
        if not pending:
            if ahead is not None and self._ready_ids():
                ahead.wait(CHECK_EVERY_S)
            else:
                time.sleep(POLL_S)
            return []
        ended, _ = ray.wait(list(pending), num_returns=1, timeout=wait_s)
        return [pending[call] for call in ended]

    def _collect(self, worker: VerifierWorker, queue: GradingQueue) -> GradedGroup | None:
        """Takes the result of the pending call. Returns the group if it was the last answer that the group needed."""
        assert worker.pending is not None
        try:
            result = ray.get(worker.pending)
        except RayError as error:
            # An exception inside `grade` is not the worker's death: the rollouts are lost, or the code is wrong.
            if isinstance(error, RayTaskError) and worker.ready:
                raise
            return self._discard(worker, queue, error)
        worker.pending = None
        if not worker.ready:
            worker.ready, worker.backend, worker.failures = True, result, 0
            return None
        worker.busy_s += result.seconds
        chunk, worker.chunk = worker.chunk, None
        return None if chunk is None else queue.record(chunk, worker.id, result)

    def _discard(self, worker: VerifierWorker, queue: GradingQueue, error: BaseException | None) -> GradedGroup | None:
        """Discards the actor. After a failed start, the next one waits: 1 s, then twice as long each time."""
        if worker.ready:
            worker.discard(error, is_failure=False)
        else:
            worker.discard(error, pause_s=min(2.0**worker.failures, LONGEST_PAUSE_S))
        chunk, worker.chunk = worker.chunk, None
        return None if chunk is None else queue.worker_died(chunk, worker.id)

    def _hanging(self) -> list[VerifierWorker]:
        now = time.monotonic()
        working = [worker for worker in self._workers if worker.ready and worker.pending is not None]
        return [worker for worker in working if now - worker.pending_since > self.hangs_after_s]

    def _refuse_hopeless(self) -> None:
        """Raises ClusterError if no worker will become ready."""
        now = time.monotonic()
        if now - self._last_check > CHECK_EVERY_S:
            # A worker on a dead node cannot be started again.
            self.refuse_lost_nodes()
            self._last_check = now
        why = next((worker.why for worker in self._workers if worker.failures), "")
        if self._ready_ids():
            self._last_ready = now
        elif now - self._last_ready > self.startup_timeout_s:
            raise ClusterError(
                f"no verifier has started within {self.startup_timeout_s:g} s (see logs/verifier_*.log): raise "
                f"cluster.startup_timeout_s{why}"
            )
        if all(worker.failures >= MAX_FAILED_STARTS for worker in self._workers):
            raise ClusterError(
                f"no verifier can start: {MAX_FAILED_STARTS} starts of each failed (see logs/verifier_*.log){why}"
            )
