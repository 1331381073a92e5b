"""The streams of finished groups behind one call of `RayGenerator.generate`: one stream from each ready generator."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from vt_ray.actors.failures import actor_died
from vt_ray.actors.generator_pool import GeneratorPool
from vt_ray.actors.prompt_queue import PromptQueue
from vt_ray.interfaces import Handle
from vt_ray.records import Prompt, Sampling

# With no open stream, no generator is ready: the caller looks after the replacements at this interval.
NO_STREAM_S = 0.02


@dataclass(frozen=True)
class Stream:
    """`generator` is the worker's id in the pool."""

    generator: int
    actor: ActorHandle
    groups: Any  # ray.ObjectRefGenerator


class Streams:
    """`call` numbers the call of `generate`: the actors keep the prompts of different calls apart by it."""

    def __init__(self, pool: GeneratorPool, call: int, sampling: Sampling):
        self._pool, self._call, self._sampling = pool, call, sampling
        self._open: dict[int, Stream] = {}

    def open_ready(self) -> list[int]:
        """Opens a stream at each ready generator. Returns their ids."""
        ready = self._pool.ready_workers()
        for worker in ready:
            if worker.id not in self._open:
                groups: Any = worker.actor.stream.options(num_returns="streaming").remote(self._call, self._sampling)
                self._open[worker.id] = Stream(worker.id, worker.actor, groups)
        return [worker.id for worker in ready]

    def submit(self, generator: int, prompts: list[tuple[int, Prompt]]) -> None:
        self._open[generator].actor.submit.remote(self._call, prompts, self._sampling)

    def wait(self, wait_s: float) -> list[Stream]:
        """Returns the streams with a new item, after at most `wait_s`."""
        if not self._open:
            time.sleep(min(wait_s, NO_STREAM_S))
            return []
        by_groups = {stream.groups: stream for stream in self._open.values()}
        # All ready streams at once: the cost of one `ray.wait` grows with their number.
        ready, _ = ray.wait(list(by_groups), num_returns=len(by_groups), timeout=0, fetch_local=False)
        if not ready:
            ready, _ = ray.wait(list(by_groups), num_returns=1, timeout=wait_s, fetch_local=False)
        return [by_groups[groups] for groups in ready]

    def read(self, stream: Stream, queue: PromptQueue) -> Handle | None:
        """Returns the handle of the next group; None if the generator died: `queue` assigns its prompts again.

        A group counts as delivered only after its ticket arrives: if the actor dies in between, the handle of the group
        may hold the error instead of the group.
        """
        try:
            handle = next(stream.groups, None)
            if handle is None:
                raise RuntimeError(f"{stream.actor} ended its stream before the driver closed it")
            ticket = next(stream.groups, None)
            # If the stream has ended, its last item holds the error that ended it.
            ticket = ray.get(handle if ticket is None else ticket)
        except RayActorError as error:
            if not actor_died(error):
                raise
            self._pool.report_death(stream.generator, error)
            queue.requeue(stream.generator)
            del self._open[stream.generator]
            return None
        queue.delivered(stream.generator, ticket)
        return handle

    def close(self) -> None:
        """Abandons unfinished prompts."""
        # After ray.shutdown(), a call would start another Ray.
        if ray.is_initialized():
            for stream in self._open.values():
                stream.actor.end.remote(self._call, self._sampling)
