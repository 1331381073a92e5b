"""The actor in each generator's seat. A lost actor is replaced: spawned, given the newest weights, checked.

    empty  --spawn--> starting --load the newest weights--> serves
       ^-- lost, a few times --'    holds others: once more --'  |
       '-------------------------- lost, a few times ------------'

No thread of its own: `mend`, called by the code that needs the generators, takes each replacement one step further.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError

from vt_ray.actors.export import NcclTransfer, WeightsGone
from vt_ray.actors.failures import is_loss
from vt_ray.engines.weights import SyncError
from vt_ray.planning.placement import ClusterError

CHECK_EVERY_S = 5.0
# Lost in one seat, at work or over their start, since there were new weights: there is no use in going on.
HOPELESS_LOSSES = 8
PAUSE_S = 0.2
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Load:
    """How an actor is given weights, and what its answer must show; `check` raises SyncError, or WeightsGone where they
    can no longer be had.

    `send` serves the actors that are there when a load begins, `send_late` an actor that is started after that.
    `transfer`: the load is one NCCL broadcast, in which all wait for all.
    """

    send: Callable[[ActorHandle], ray.ObjectRef]
    check: Callable[[Any], None]
    send_late: Callable[[ActorHandle], ray.ObjectRef]
    transfer: NcclTransfer | None = None


@dataclass
class Seat:
    name: str
    actor: ActorHandle | None = None
    # Counts all that ever sat in any seat.
    worker: int = -1
    serves: bool = False
    # Until it serves: its start or its load, and the weights of the latter.
    awaited: ray.ObjectRef | None = None
    loads: Load | None = None
    given_again: bool = False
    # To its load, once it has served.
    answer: Any = None
    since: float = 0.0
    free_until: float = 0.0
    losses: int = 0
    busy_before_s: float = 0.0
    busy_s: float = 0.0


class GeneratorSeats:
    """`spawn` starts the actor of a seat; `refuse_lost_nodes` raises where a node is gone for good."""

    def __init__(
        self,
        names: Sequence[str],
        spawn: Callable[[str], ActorHandle],
        refuse_lost_nodes: Callable[[], None],
        startup_timeout_s: float,
    ):
        self.spawn, self.refuse_lost_nodes, self.startup_timeout_s = spawn, refuse_lost_nodes, startup_timeout_s
        self.newest: Load | None = None
        self.paused = False
        self.spawned = 0
        self._lock = threading.RLock()
        self._last_check = time.monotonic()
        self._seats = [Seat(name) for name in names]
        for seat in self._seats:
            self._fill(seat)

    @property
    def starting(self) -> list[ray.ObjectRef]:
        return [seat.awaited for seat in self._seats if not seat.serves and seat.awaited is not None]

    @property
    def count(self) -> int:
        return len(self._seats)

    @property
    def respawns(self) -> int:
        return self.spawned - len(self._seats)

    def serving(self) -> list[Seat]:
        """Each as it is now: a seat may be emptied at any time."""
        with self._lock:
            return [replace(seat) for seat in self._seats if seat.serves]

    def mend(self) -> None:
        """One step further with every seat that does not serve, without waiting.

        Raises ClusterError where there is no use, SyncError where a replacement twice did not hold the newest weights,
        or what a load has raised: weights that are gone.
        """
        with self._lock:
            if self.paused or all(seat.serves for seat in self._seats):
                return
            if time.monotonic() - self._last_check > CHECK_EVERY_S:
                self.refuse_lost_nodes()
                self._last_check = time.monotonic()
            for seat in self._seats:
                if seat.actor is None:
                    self._fill(seat)
                elif not seat.serves:
                    self._go_on(seat)

    def load(self, load: Load) -> dict[str, Any]:
        """The answer of each generator, by its name: also of generators that replace a generator lost meanwhile."""
        with self._lock:
            self.newest = load
            for seat in self._seats:
                seat.losses = 0
        answers = self.answers(load.send, load.transfer)
        return {seat.name: answers.get(seat.name, seat.answer) for seat in self.wait()}

    def wait(self) -> list[Seat]:
        """Until all serve, with the newest weights."""
        while True:
            self.mend()
            if len(serving := self.serving()) == len(self._seats):
                return serving
            time.sleep(LOOK_EVERY_S)

    def lost(self, worker: int, error: BaseException | None) -> None:
        """Several callers may notice the same loss: the first call empties the seat."""
        with self._lock:
            for seat in self._seats:
                if seat.worker == worker and seat.actor is not None:
                    self._lose(seat, error)

    def answers(
        self, ask: Callable[[ActorHandle], ray.ObjectRef], transfer: NcclTransfer | None = None
    ) -> dict[str, Any]:
        """The answers of all actors that serve, by name. An actor that is lost over its answer is left out.

        Within a `transfer` the loss of a generator or of a learner rank is raised at once, after all that take part in
        it are killed: each of them would wait for the lost one for ever. So is a loss just before the transfer, which
        the learner has opened for all seats.
        """
        serving = self.serving()
        if transfer is not None and len(serving) < len(self._seats):
            transfer.break_off()
            ray.get(list(transfer.ends))
        asked = {ask(seat.actor): seat for seat in serving}
        waiting, answers = [*asked, *(transfer.ends if transfer else ())], {}
        while asked.keys() & set(waiting):
            (ref,), waiting = ray.wait(waiting, num_returns=1)
            seat = asked.get(ref)
            try:
                answer = ray.get(ref)
            except RayActorError as error:
                if not is_loss(error):
                    raise
                if seat is not None:
                    self.lost(seat.worker, error)
                if transfer is not None:
                    for left in asked.keys() & set(waiting):
                        self.lost(asked[left].worker, error)
                    transfer.break_off()
                    raise
            else:
                if seat is not None:
                    answers[seat.name] = answer
        return answers

    def busy_seconds(self) -> dict[str, float]:
        answers = self.answers(lambda actor: actor.busy_seconds.remote())
        with self._lock:
            for seat in self._seats:
                seat.busy_s = answers.get(seat.name, seat.busy_s)
            return {seat.name: seat.busy_before_s + seat.busy_s for seat in self._seats}

    def _fill(self, seat: Seat) -> None:
        if time.monotonic() < seat.free_until:
            return
        try:
            seat.actor = self.spawn(seat.name)
        except ValueError:  # Ray still knows the name of the one before
            seat.free_until = time.monotonic() + PAUSE_S
            return
        seat.worker, self.spawned = self.spawned, self.spawned + 1
        seat.awaited, seat.loads, seat.since = seat.actor.ready.remote(), None, time.monotonic()

    def _go_on(self, seat: Seat) -> None:
        if seat.awaited is None:
            # The newest weights are gone: the learner is about to send newer ones.
            if seat.loads is not self.newest:
                self._give_weights(seat)
            return
        ready, _ = ray.wait([seat.awaited], timeout=0)
        if not ready:
            if time.monotonic() - seat.since > self.startup_timeout_s:
                self._lose(seat, TimeoutError(f"not ready within cluster.startup_timeout_s={self.startup_timeout_s:g}"))
            return
        try:
            answer = ray.get(seat.awaited)
        except RayError as error:
            if is_loss(error):
                self._lose(seat, error)
                return
            if seat.loads is self.newest:
                raise
            # Weights that are gone and no longer needed.
        else:
            if seat.loads is self.newest:
                self._take_on(seat, answer)
                return
        seat.given_again = False
        self._give_weights(seat)

    def _take_on(self, seat: Seat, answer: Any) -> None:
        """Let the actor serve if it holds what it was given. If not, it is given the same once more: it has sampled
        nothing yet."""
        try:
            if seat.loads is not None:
                seat.loads.check(answer)
        except WeightsGone:
            seat.awaited = None
        except SyncError:
            if seat.given_again:
                raise
            seat.given_again = True
            self._give_weights(seat)
        else:
            seat.serves, seat.awaited, seat.answer = True, None, answer

    def _give_weights(self, seat: Seat) -> None:
        seat.loads, seat.since = self.newest, time.monotonic()
        seat.awaited = self.newest.send_late(seat.actor)

    def _lose(self, seat: Seat, error: BaseException | None) -> None:
        with contextlib.suppress(Exception):
            ray.kill(seat.actor)
        seat.losses += 1
        if seat.losses >= HOPELESS_LOSSES:
            why = f". The last one: {str(error).strip().splitlines()[-1]}" if error else ""
            raise ClusterError(
                f"{seat.name} cannot be replaced: {HOPELESS_LOSSES} were lost one after the other (see "
                f"logs/{seat.name}.log){why}"
            )
        seat.busy_before_s, seat.busy_s = seat.busy_before_s + seat.busy_s, 0.0
        seat.actor, seat.awaited, seat.serves = None, None, False
