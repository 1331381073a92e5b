"""Generators on Ray: thin shells around `engines.generation`, and the pool that the driver holds.

prompts --Dealing, in chunks--> actor.submit      actor.stream --(Rollouts, ticket)--> handles, as they come
             ^------------------- lost: again, elsewhere -------------'
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import ray
from ray.actor import ActorHandle

from vt_ray.actors.export import ExportedWeights, WeightsGone
from vt_ray.actors.generator_pool import GeneratorSeats, Load
from vt_ray.actors.generator_streams import Streams
from vt_ray.actors.process import begin_process
from vt_ray.actors.prompt_queue import Dealing
from vt_ray.data.prefetch import abandoned
from vt_ray.engines.vllm.engine import EngineSpec, GenerationEngine
from vt_ray.engines.vllm.request_batch import Order
from vt_ray.engines.weights import SyncError, checkpoint_buckets, compare_checksums, prove
from vt_ray.interfaces import Acknowledgement, Handle, PromptFeed, Weights
from vt_ray.records import Prompt, Sampling

# Calls of `generate` that may be open at a time.
MAX_STREAMS = 16
LOOK_UP_S = 1.0
# How often a feed is asked, and a seat looked after, while there is room for more.
LOOK_FOR_MORE_S = 0.005


@ray.remote(concurrency_groups={"streams": MAX_STREAMS, "weights": 1, "questions": 1})
class GeneratorActor:
    """The default group, one call at a time, takes prompts; the others go on beside it."""

    def __init__(self, name: str, spec: EngineSpec, log_folder: Path):
        begin_process(log_folder / f"{name}.log")
        self.name = name
        self.engine = GenerationEngine(spec)
        self._orders: dict[int, Order] = {}
        self._lock = threading.Lock()

    @ray.method(concurrency_group="questions")
    def ready(self) -> str:
        return self.name

    @ray.method(concurrency_group="questions")
    def busy_seconds(self) -> float:
        return self.engine.loop.busy_seconds

    @ray.method(concurrency_group="questions")
    def stuck_seconds(self) -> float:
        return self.engine.loop.stuck_seconds()

    def submit(self, call: int, prompts: list[tuple[int, Prompt]], sampling: Sampling) -> None:
        """Prompts with their tickets; a fault of theirs is raised by the stream of the same `call`."""
        self._order(call, sampling).submit(prompts)

    def end(self, call: int, sampling: Sampling) -> None:
        """No more prompts will come, and unfinished work is not wanted."""
        self._order(call, sampling).abandon()

    @ray.method(concurrency_group="streams")
    def stream(self, call: int, sampling: Sampling):
        """Rollouts and then their ticket, in turn: with its ticket a group has come whole."""
        try:
            with self._lost_with_its_workers():
                for ticket, rollouts in self._order(call, sampling):
                    yield rollouts
                    yield ticket
        finally:
            with self._lock:
                del self._orders[call]

    @ray.method(concurrency_group="weights")
    def load(self, version: int, fingerprint: list[int], arrivals: list[Handle]) -> Acknowledgement | None:
        """Handles in a list are not waited for by Ray: each is loaded as it comes. None where the learner no longer
        holds the weights that it was asked for again."""
        place = int(self.name.rpartition("_")[2])
        unknown = [math.nan] * (len(fingerprint) - 1)
        try:
            with self._lost_with_its_workers():
                held = self.engine.load_weights((ray.get(arrival) for arrival in arrivals), version, place)
                logprobs = tuple(self.engine.token_logprobs(fingerprint) if self.engine.proven else unknown)
        except WeightsGone:
            return None
        return Acknowledgement(self.name, self.engine.weight_version, held, logprobs)

    @ray.method(concurrency_group="weights")
    def pause(self) -> None:
        self.engine.pause()

    @ray.method(concurrency_group="weights")
    def load_checkpoint(self, folder: Path, version: int) -> None:
        buckets = list(checkpoint_buckets(folder))
        with self._lost_with_its_workers():
            held = self.engine.load_weights(buckets, version)
        sent = {entry.name: entry.checksum for bucket in buckets for entry in bucket.entries}
        compare_checksums(sent, held, version, self.name)

    @ray.method(concurrency_group="weights")
    def sleep(self) -> None:
        self.engine.sleep()

    @ray.method(concurrency_group="weights")
    def wake_up(self) -> None:
        self.engine.wake_up()

    @contextmanager
    def _lost_with_its_workers(self) -> Iterator[None]:
        """A tensor parallel engine that has lost a worker says no more than "cancelled": its process ends, so that it
        is seen for what it is, a lost generator, and replaced."""
        try:
            yield
        except Exception:
            if self.engine.lost_a_worker:
                os._exit(1)
            raise

    def _order(self, call: int, sampling: Sampling) -> Order:
        """The first message of a call opens its order: Ray keeps order only within a group."""
        with self._lock:
            if call not in self._orders:
                self._orders[call] = self.engine.order(sampling)
            return self._orders[call]


class RayGenerator:
    """Implements `interfaces.Generator` over one or more actors, of which each runs `room` sequences at a time.

    `generate` and `load` may be called from different threads at a time. One that replaces a lost generator must show
    the newest weights: their checksums and, within `logprob_tolerance`, their log-probabilities.
    """

    def __init__(self, seats: GeneratorSeats, room: int, logprob_tolerance: float):
        self.seats, self.room, self.logprob_tolerance = seats, room, logprob_tolerance
        self._calls = count()

    @property
    def respawns(self) -> int:
        """Generators that were replaced so far."""
        return self.seats.respawns

    def receiving_group(self) -> int | None:
        """The number of the set of generators, after each has answered; None while one of them is being replaced."""
        self.seats.answers(lambda actor: actor.ready.remote())
        return self.seats.spawned if len(self.seats.serving()) == self.seats.count else None

    def generate(self, prompts: Sequence[Prompt] | PromptFeed, sampling: Sampling) -> Iterator[Handle]:
        feed = _Listed(prompts) if isinstance(prompts, Sequence) else prompts
        dealing, streams = Dealing(self.room), Streams(self.seats, next(self._calls), sampling)
        try:
            while not abandoned():
                self.seats.mend()
                generators = streams.open_where_served()
                room = dealing.has_room(generators)
                if room and not dealing.waiting:
                    dealing.admit(feed.take())
                if feed.ended and not dealing.open:
                    return
                for generator, dealt in dealing.deal(generators).items():
                    streams.submit(generator, dealt)
                soon = (room and not feed.ended) or len(generators) < self.seats.count
                for stream in streams.wait(LOOK_FOR_MORE_S if soon else LOOK_UP_S):
                    if (handle := streams.hear(stream, dealing)) is not None:
                        yield handle
        finally:
            streams.close()

    def load(self, weights: Weights, fingerprint: Sequence[int]) -> list[Acknowledgement]:
        """Where one generator does not hold `weights`, no generator samples until the next load. The loss of a
        generator inside an NCCL transfer ends the other generators and the learner's ranks: raises RayActorError."""
        transfer = weights.transfer if isinstance(weights, ExportedWeights) else None

        def send(actor: ActorHandle) -> ray.ObjectRef:
            return actor.load.remote(weights.version, list(fingerprint), list(weights.buckets))

        def send_late(actor: ActorHandle) -> ray.ObjectRef:
            buckets = transfer.resend() if transfer else weights.buckets
            return actor.load.remote(weights.version, list(fingerprint), list(buckets))

        def check(ack: Acknowledgement | None) -> None:
            if ack is None:
                raise WeightsGone(f"weights of version {weights.version}")
            prove(weights, ack, self.logprob_tolerance)

        acks = list(self.seats.load(Load(send, check, send_late, transfer)).values())
        try:
            for ack in acks:
                check(ack)
        except SyncError:
            # The caller of the load finds the same fault and raises it.
            self.seats.answers(lambda actor: actor.pause.remote())
        return acks

    def load_checkpoint(self, folder: Path, version: int) -> None:
        def send(actor: ActorHandle) -> ray.ObjectRef:
            return actor.load_checkpoint.remote(folder, version)

        # The actor itself compares what it holds with the files.
        self.seats.load(Load(send, lambda _: None, send))

    def busy_seconds(self) -> dict[str, float]:
        return self.seats.busy_seconds()

    def sleep(self) -> None:
        self.seats.wait()
        self.seats.answers(lambda actor: actor.sleep.remote())
        # No generator may start on a GPU that belongs to another side now.
        self.seats.paused = True

    def wake_up(self) -> None:
        self.seats.paused = False
        self.seats.answers(lambda actor: actor.wake_up.remote())


class _Listed:
    """A list of prompts as a feed that gives them all at once."""

    def __init__(self, prompts: Sequence[Prompt]):
        self._prompts, self.ended = prompts, False

    def take(self) -> list[Prompt]:
        taken = [] if self.ended else list(self._prompts)
        self.ended = True
        return taken
