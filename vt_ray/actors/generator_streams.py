"""The streams of finished groups behind one call of `RayGenerator.generate`, one from each generator that serves."""

from __future__ import annotations

import time
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from vt_ray.actors.failures import is_loss
from vt_ray.actors.generator_pool import GeneratorSeats
from vt_ray.actors.prompt_queue import Dealing
from vt_ray.interfaces import Handle
from vt_ray.records import Prompt, Sampling

# With no stream to wait for, nobody serves: the replacement is looked after meanwhile.
NOBODY_S = 0.02


@dataclass(frozen=True)
class Stream:
    generator: int
    actor: ActorHandle
    groups: ray.ObjectRefGenerator


class Streams:
    """`call` tells the actors which prompts belong to which stream."""

    def __init__(self, seats: GeneratorSeats, call: int, sampling: Sampling):
        self._seats, self._call, self._sampling = seats, call, sampling
        self._open: dict[int, Stream] = {}

    def open_where_served(self) -> list[int]:
        """The generators that may be given prompts."""
        serving = self._seats.serving()
        for seat in serving:
            if seat.worker not in self._open:
                groups = seat.actor.stream.options(num_returns="streaming").remote(self._call, self._sampling)
                self._open[seat.worker] = Stream(seat.worker, seat.actor, groups)
        return [seat.worker for seat in serving]

    def submit(self, generator: int, prompts: list[tuple[int, Prompt]]) -> None:
        self._open[generator].actor.submit.remote(self._call, prompts, self._sampling)

    def wait(self, wait_s: float) -> list[Stream]:
        """Those with something to hear, after `wait_s` at most."""
        if not self._open:
            time.sleep(min(wait_s, NOBODY_S))
            return []
        by_groups = {stream.groups: stream for stream in self._open.values()}
        # All at once where many have something: what a look costs grows with their number.
        ready, _ = ray.wait(list(by_groups), num_returns=len(by_groups), timeout=0, fetch_local=False)
        if not ready:
            ready, _ = ray.wait(list(by_groups), num_returns=1, timeout=wait_s, fetch_local=False)
        return [by_groups[groups] for groups in ready]

    def hear(self, stream: Stream, dealing: Dealing) -> Handle | None:
        """The handle of the next group; None where the generator is lost, and its prompts are to be dealt again.

        A generator may be lost between a group and its ticket. Then the handle may be no good, and is forgotten.
        """
        try:
            handle = next(stream.groups, None)
            if handle is None:
                raise RuntimeError(f"{stream.actor} has ended its stream before it was told to")
            ticket = next(stream.groups, None)
            # The last of a stream that has ended bears the error that has ended it.
            ticket = ray.get(handle if ticket is None else ticket)
        except RayActorError as error:
            if not is_loss(error):
                raise
            self._seats.lost(stream.generator, error)
            dealing.lost(stream.generator)
            del self._open[stream.generator]
            return None
        dealing.delivered(stream.generator, ticket)
        return handle

    def close(self) -> None:
        """What is not done is not wanted any more."""
        # Ray may have been shut down meanwhile: a call would start another one.
        if ray.is_initialized():
            for stream in self._open.values():
                stream.actor.end.remote(self._call, self._sampling)
