"""The verifiers of a run as one: deals chunks to actors, hears their answers, and replaces those that are lost.

rollouts --Prefetcher--> Schedule --Chunk--> actor --Answer--> Schedule --> GradedGroup
                           ^---- lost ----> another actor in the seat
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from vt_ray.actors.grading_queue import Chunk, Costs, Schedule
from vt_ray.data.prefetch import Prefetcher, abandoned
from vt_ray.interfaces import Handle, VerifierCounts
from vt_ray.planning.placement import ClusterError
from vt_ray.records import GradedGroup

# Groups that are read but not verified: beyond that the generators' stream is left alone.
MAX_OPEN_GROUPS = 64
# A worker that is so much longer over a chunk than one completion may take hangs.
HANGS_AFTER_S = 300.0
CHECK_EVERY_S = 5.0
# How often new rollouts are looked for while a worker has nothing to do.
LOOK_EVERY_S = 0.01
# Starts that fail one after the other in every seat: there is no use in going on.
HOPELESS_STARTS = 3
LONGEST_PAUSE_S = 30.0


@dataclass
class _Seat:
    """A place in the pool and who sits there: starting, idle, at work, or nobody before `free_until`."""

    name: str
    actor: ActorHandle | None = None
    # Counts all workers of the pool: whoever comes next into the seat is another one.
    worker: int = -1
    # Known once it has started.
    backend: str = ""
    # Its start, or the answer to `chunk`; a chunk of None then is one that nobody waits for any more.
    awaited: ray.ObjectRef | None = None
    chunk: Chunk | None = None
    since: float = 0.0
    busy_s: float = 0.0
    failed_starts: int = 0
    free_until: float = 0.0

    @property
    def serves(self) -> bool:
        return bool(self.backend)

    @property
    def idle(self) -> bool:
        return self.serves and self.awaited is None


class VerifierPool:
    """Implements `interfaces.Verifier`.

    `spawn` starts the actor of a seat; `refuse_lost_nodes` raises where a node is gone for good. A worker that is over
    one chunk for `hangs_after_s` is replaced.
    """

    def __init__(
        self,
        names: Sequence[str],
        spawn: Callable[[str], ActorHandle],
        refuse_lost_nodes: Callable[[], None],
        startup_timeout_s: float,
        hangs_after_s: float,
    ):
        self.spawn, self.refuse_lost_nodes = spawn, refuse_lost_nodes
        self.startup_timeout_s, self.hangs_after_s = startup_timeout_s, hangs_after_s
        self._patience = min(CHECK_EVERY_S, hangs_after_s)
        self._seats = [_Seat(name) for name in names]
        self._costs = Costs()
        self._retries = self._spawned = 0
        self._last_error: BaseException | None = None
        self._last_served = self._last_check = time.monotonic()
        self._fill_seats()

    def grade(self, rollouts: Iterable[Handle]) -> Iterator[GradedGroup]:
        schedule = Schedule(self._costs)
        self._last_served = time.monotonic()
        try:
            with Prefetcher(rollouts, MAX_OPEN_GROUPS) as ahead:
                while (not ahead.ended or schedule.open_groups) and not abandoned():
                    self._fill_seats()
                    self._deal(schedule, ahead)
                    heard = self._await(LOOK_EVERY_S if self._may_deal(ahead) else self._patience, ahead)
                    yield from (group for seat in heard if (group := self._hear(seat, schedule)))
                    yield from (group for seat in self._hanging() if (group := self._lose(seat, schedule, None)))
                    self._refuse_hopeless()
        finally:
            self._retries += schedule.retries
            for seat in self._seats:
                seat.chunk = None

    def wait_for_start(self) -> None:
        """Until one serves and every other has started or failed to. Raises ClusterError where none can."""
        self._last_served = time.monotonic()
        nothing = Schedule(self._costs)
        while not all(seat.serves or seat.failed_starts for seat in self._seats) or not self._serving():
            self._fill_seats()
            for seat in self._await(CHECK_EVERY_S):
                self._hear(seat, nothing)
            self._refuse_hopeless()

    def counts(self) -> VerifierCounts:
        respawns = max(0, self._spawned - len(self._seats))
        return VerifierCounts(self._retries, respawns, dict(Counter(s.backend for s in self._seats if s.serves)))

    def busy_seconds(self) -> dict[str, float]:
        return {seat.name: seat.busy_s for seat in self._seats}

    def _fill_seats(self) -> None:
        for seat in self._seats:
            if seat.actor is None and time.monotonic() >= seat.free_until:
                try:
                    seat.actor = self.spawn(seat.name)
                except ValueError:  # Ray still knows the name of the one before
                    seat.free_until = time.monotonic() + 0.2
                    continue
                seat.awaited, seat.since = seat.actor.ready.remote(), time.monotonic()
                seat.worker, self._spawned = self._spawned, self._spawned + 1

    def _serving(self) -> list[int]:
        return [seat.worker for seat in self._seats if seat.serves]

    def _may_deal(self, ahead: Prefetcher) -> bool:
        return not ahead.ended and any(seat.idle for seat in self._seats)

    def _deal(self, schedule: Schedule, ahead: Prefetcher) -> None:
        workers = self._serving()
        for seat in sorted((seat for seat in self._seats if seat.idle), key=lambda seat: seat.busy_s):
            chunk = schedule.deal(seat.worker, workers)
            if chunk is None and schedule.open_groups < MAX_OPEN_GROUPS:
                for handle in ahead.take():
                    schedule.admit(handle)
                    chunk = schedule.deal(seat.worker, workers)
            if chunk is not None:
                seat.chunk, seat.since = chunk, time.monotonic()
                seat.awaited = seat.actor.grade.remote([schedule.handle(chunk)], chunk.samples)

    def _await(self, wait_s: float, ahead: Prefetcher | None = None) -> list[_Seat]:
        """The seats that were heard of, after `wait_s` at most; none where there may be rollouts to deal."""
        awaited = {seat.awaited: seat for seat in self._seats if seat.awaited is not None}
        if not awaited:
            ahead.wait(CHECK_EVERY_S) if ahead and self._serving() else time.sleep(LOOK_EVERY_S)
            return []
        ready, _ = ray.wait(list(awaited), num_returns=1, timeout=wait_s)
        return [awaited[ref] for ref in ready]

    def _hear(self, seat: _Seat, schedule: Schedule) -> GradedGroup | None:
        starting, ref = not seat.serves, seat.awaited
        try:
            heard = ray.get(ref)
        except RayError as error:
            # What a worker raises while it grades is no loss: its rollouts are gone, or the code is wrong.
            if isinstance(error, RayTaskError) and not starting:
                raise
            return self._lose(seat, schedule, error)
        seat.awaited = None
        if starting:
            seat.backend, seat.failed_starts = heard, 0
            return None
        seat.busy_s += heard.seconds
        chunk, seat.chunk = seat.chunk, None
        return None if chunk is None else schedule.answered(chunk, seat.worker, heard)

    def _lose(self, seat: _Seat, schedule: Schedule, error: BaseException | None) -> GradedGroup | None:
        """Empty the seat. One whose worker did not even start is filled again after a pause."""
        with contextlib.suppress(Exception):
            ray.kill(seat.actor)
        if not seat.serves:
            seat.failed_starts += 1
            seat.free_until = time.monotonic() + min(2.0 ** (seat.failed_starts - 1), LONGEST_PAUSE_S)
            self._last_error = error
        chunk, seat.chunk = seat.chunk, None
        seat.actor, seat.awaited, seat.backend = None, None, ""
        return None if chunk is None else schedule.lost(chunk, seat.worker)

    def _hanging(self) -> list[_Seat]:
        now = time.monotonic()
        over = [seat for seat in self._seats if seat.awaited is not None and seat.serves]
        return [seat for seat in over if now - seat.since > self.hangs_after_s]

    def _refuse_hopeless(self) -> None:
        """Raises ClusterError where waiting is in vain."""
        now = time.monotonic()
        if now - self._last_check > CHECK_EVERY_S:
            # One that sat on a lost node has no place to start again.
            self.refuse_lost_nodes()
            self._last_check = now
        if self._serving():
            self._last_served = now
        elif now - self._last_served > self.startup_timeout_s:
            raise ClusterError(
                f"no verifier has started within {self.startup_timeout_s:g} s (see logs/verifier_*.log): raise "
                f"cluster.startup_timeout_s{self._why()}"
            )
        if all(seat.failed_starts >= HOPELESS_STARTS for seat in self._seats):
            raise ClusterError(f"no verifier can start, {HOPELESS_STARTS} tries in each seat failed{self._why()}")

    def _why(self) -> str:
        return f". The last one failed: {str(self._last_error).strip().splitlines()[-1]}" if self._last_error else ""
