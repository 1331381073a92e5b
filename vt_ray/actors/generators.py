"""Generators on Ray: thin shells around `engines.generation`, and the pool that the driver holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import ray

from vt_ray.actors.busy import BusyTime
from vt_ray.actors.logs import redirect_output
from vt_ray.actors.read_ahead import abandoned
from vt_ray.engines.generation import EngineSpec, GenerationEngine
from vt_ray.engines.weights import checkpoint_buckets, compare_checksums
from vt_ray.interfaces import Acknowledgement, Handle, Weights
from vt_ray.records import Prompt, Sampling

# A generator pauses when so many of its groups wait to be read: the verifiers are far behind.
MAX_UNREAD_GROUPS = 256
LOOK_UP_S = 1.0


@ray.remote
class GeneratorActor:
    def __init__(self, name: str, spec: EngineSpec, log_folder: Path):
        redirect_output(log_folder / f"{name}.log")
        self.name = name
        self.busy = BusyTime()
        self.engine = GenerationEngine(spec)

    def ready(self) -> str:
        return self.name

    def busy_seconds(self) -> float:
        return self.busy.seconds

    def generate(self, prompts: list[Prompt], sampling: Sampling):
        with self.busy:
            yield from self.engine.generate(prompts, sampling)

    def load(self, version: int, probe: list[int], arrivals: list[Handle]) -> Acknowledgement:
        """Handles in a list are not waited for by Ray: each is loaded as it comes."""
        place = int(self.name.rpartition("_")[2])
        with self.busy:
            held = self.engine.load_weights((ray.get(arrival) for arrival in arrivals), version, place)
            logprobs = tuple(self.engine.token_logprobs(probe))
        return Acknowledgement(self.name, self.engine.weight_version, held, logprobs)

    def sleep(self) -> None:
        self.engine.sleep()

    def wake_up(self) -> None:
        self.engine.wake_up()

    def load_checkpoint(self, folder: Path, version: int) -> None:
        buckets = list(checkpoint_buckets(folder))
        held = self.engine.load_weights(buckets, version)
        sent = {entry.name: entry.checksum for bucket in buckets for entry in bucket.entries}
        compare_checksums(sent, held, version, self.name)


class RayGenerator:
    """Implements `interfaces.Generator` over one or more actors."""

    def __init__(self, actors: list):
        self.actors = actors

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Handle]:
        shares = [list(prompts[i :: len(self.actors)]) for i in range(len(self.actors))]
        streams = [
            actor.generate.options(
                num_returns="streaming", _generator_backpressure_num_objects=MAX_UNREAD_GROUPS
            ).remote(share, sampling)
            for actor, share in zip(self.actors, shares, strict=True)
            if share
        ]
        yield from _interleave(streams)

    def load(self, weights: Weights, probe: Sequence[int]) -> list[Acknowledgement]:
        return ray.get([a.load.remote(weights.version, list(probe), list(weights.buckets)) for a in self.actors])

    def load_checkpoint(self, folder: Path, version: int) -> None:
        ray.get([actor.load_checkpoint.remote(folder, version) for actor in self.actors])

    def sleep(self) -> None:
        ray.get([actor.sleep.remote() for actor in self.actors])

    def wake_up(self) -> None:
        ray.get([actor.wake_up.remote() for actor in self.actors])


def _interleave(streams: list) -> Iterator[Handle]:
    """Handles from several streams, whichever comes first, as long as somebody wants them."""
    while streams and not abandoned():
        ready, _ = ray.wait(streams, num_returns=1, timeout=LOOK_UP_S, fetch_local=False)
        for stream in ready:
            try:
                yield next(stream)
            except StopIteration:
                streams.remove(stream)
