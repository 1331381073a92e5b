"""Generators on Ray: an actor around a `GenerationEngine`, and the handle on all of them that the driver holds.

prompts --PromptQueue, in chunks--> actor.submit      actor.stream --(Rollouts, ticket)--> handles, as they come
             ^----------------- actor died: its prompts again, elsewhere -----------------'
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from vt_ray.actors.export import ExportedWeights, WeightsGone
from vt_ray.actors.generator_pool import GeneratorPool, Load
from vt_ray.actors.generator_streams import Streams
from vt_ray.actors.gpu_sharing import SharedGpu
from vt_ray.actors.monitoring import export_engine
from vt_ray.actors.process import begin_process, keep_freed_memory
from vt_ray.actors.prompt_queue import PromptQueue
from vt_ray.data.prefetch import abandoned
from vt_ray.engines.generation import CountingEngine, EngineSpec, GenerationBatch, GenerationEngine, engine_class
from vt_ray.engines.weights import SyncError, checkpoint_buckets, compare_checksums, prove
from vt_ray.interfaces import Acknowledgement, Handle, PromptFeed, Weights
from vt_ray.records import Prompt, Sampling

# Calls of `generate` that may be open at the same time.
MAX_STREAMS = 16
# How long the driver waits for a group; the short wait applies while prompts can be added or a generator is missing.
LONG_WAIT_S, SHORT_WAIT_S = 1.0, 0.005


# Ray's types do not know this option.
@ray.remote(concurrency_groups={"streams": MAX_STREAMS, "weights": 1, "questions": 1})  # type: ignore[call-overload]
class GeneratorActor:
    """Prompts arrive in the default concurrency group, one call at a time; the other groups run beside it."""

    def __init__(self, name: str, spec: EngineSpec, log_folder: Path, run: str = ""):
        begin_process(log_folder / f"{name}.log")
        if not spec.gpus:
            keep_freed_memory()
        self.name = name
        self.engine: GenerationEngine = engine_class(spec.engine)(spec)
        export_engine(run, name, self.engine)
        self._batches: dict[int, GenerationBatch] = {}
        self._lock = threading.Lock()

    @ray.method(concurrency_group="questions")
    def ready(self) -> str:
        return self.name

    @ray.method(concurrency_group="questions")
    def busy_seconds(self) -> float:
        return self.engine.busy_seconds()

    @ray.method(concurrency_group="questions")
    def counters(self) -> dict[str, Any]:
        """Empty for an engine without counters."""
        return self.engine.counters(restart_peak=True) if isinstance(self.engine, CountingEngine) else {}

    @ray.method(concurrency_group="questions")
    def stuck_seconds(self) -> float:
        return self.engine.stuck_seconds()

    def submit(self, call: int, prompts: list[tuple[int, Prompt]], sampling: Sampling) -> None:
        """Adds (ticket, prompt) pairs. An error of theirs is raised by `stream` of the same `call`."""
        self._batch(call, sampling).submit(prompts)

    def end(self, call: int, sampling: Sampling) -> None:
        """No more prompts will come, and unfinished ones are abandoned."""
        self._batch(call, sampling).abandon()

    @ray.method(concurrency_group="streams")
    def stream(self, call: int, sampling: Sampling) -> Iterator[Any]:
        """Yields rollouts and their ticket in turn: a group has arrived completely once its ticket has."""
        try:
            with self._exit_if_a_worker_died():
                for ticket, rollouts in self._batch(call, sampling):
                    yield rollouts
                    yield ticket
        finally:
            with self._lock:
                del self._batches[call]

    @ray.method(concurrency_group="weights")
    def load(self, version: int, fingerprint: list[int], arrivals: list[Handle]) -> Acknowledgement | None:
        """Loads each arrival as it comes: Ray does not wait for handles in a list. Returns None if the learner no
        longer has the weights, which were asked for a second time."""
        place = int(self.name.rpartition("_")[2])
        unknown = [math.nan] * (len(fingerprint) - 1)
        try:
            with self._exit_if_a_worker_died():
                held = self.engine.load_weights((ray.get(arrival) for arrival in arrivals), version, place)
                logprobs = self.engine.token_logprobs(fingerprint) if self.engine.proven else unknown
        except WeightsGone:
            return None
        return Acknowledgement(self.name, self.engine.weight_version, held, tuple(logprobs))

    @ray.method(concurrency_group="weights")
    def pause(self) -> None:
        self.engine.pause()

    @ray.method(concurrency_group="weights")
    def load_checkpoint(self, folder: Path, version: int) -> None:
        buckets = list(checkpoint_buckets(folder))
        with self._exit_if_a_worker_died():
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
    def _exit_if_a_worker_died(self) -> Iterator[None]:
        """A tensor parallel engine whose worker process died raises only "cancelled". This process then exits, so that
        the driver sees a dead generator and replaces it."""
        try:
            yield
        except Exception:
            if self.engine.lost_a_worker:
                os._exit(1)
            raise

    def _batch(self, call: int, sampling: Sampling) -> GenerationBatch:
        """The first message of a call opens its batch: Ray keeps the order of messages only within a group."""
        with self._lock:
            if call not in self._batches:
                self._batches[call] = self.engine.open_batch(sampling)
            return self._batches[call]


class RayGenerator:
    """Implements `interfaces.Generator` over one or more actors, each with room for `room` sequences at a time.

    `generate` and `load` may be called from different threads at the same time. Every call takes `gpu` first. A
    replacement must prove the newest weights: their checksums and, within `logprob_tolerance`, their log-probabilities.
    """

    def __init__(self, pool: GeneratorPool, room: int, logprob_tolerance: float, gpu: SharedGpu | None = None):
        self.pool, self.room, self.logprob_tolerance = pool, room, logprob_tolerance
        self.gpu = gpu or SharedGpu(shared=False)
        self._calls = count()

    @property
    def respawns(self) -> int:
        """Generators that were replaced so far."""
        return self.pool.respawns

    def receiving_group(self) -> int | None:
        """Asks each generator for an answer. Returns the number of the set of generators; None while one of them is
        being replaced."""
        self.pool.ask_all(lambda actor: actor.ready.remote())
        return self.pool.starts if len(self.pool.ready_workers()) == self.pool.count else None

    def generate(self, prompts: Sequence[Prompt] | PromptFeed, sampling: Sampling) -> Iterator[Handle]:
        self.gpu.take(self)
        feed = _ListFeed(prompts) if isinstance(prompts, Sequence) else prompts
        queue, streams = PromptQueue(self.room), Streams(self.pool, next(self._calls), sampling)
        try:
            while not abandoned():
                self.pool.replace_dead()
                generators = streams.open_ready()
                room = queue.has_room(generators)
                if room and not queue.waiting:
                    queue.add(feed.take())
                if feed.ended and not queue.open:
                    return
                for generator, assigned in queue.assign(generators).items():
                    streams.submit(generator, assigned)
                soon = (room and not feed.ended) or len(generators) < self.pool.count
                for stream in streams.wait(SHORT_WAIT_S if soon else LONG_WAIT_S):
                    if (handle := streams.read(stream, queue)) is not None:
                        yield handle
        finally:
            streams.close()

    def load(self, weights: Weights, fingerprint: Sequence[int]) -> list[Acknowledgement]:
        """If one generator fails its proof, no generator samples until the next load. The death of a generator inside
        an NCCL transfer ends the other generators and the learner's ranks: raises RayActorError."""
        self.gpu.take(self)
        transfer = weights.transfer if isinstance(weights, ExportedWeights) else None

        def send(actor: ActorHandle) -> ray.ObjectRef[Any]:
            return actor.load.remote(weights.version, list(fingerprint), list(weights.buckets))

        def send_late(actor: ActorHandle) -> ray.ObjectRef[Any]:
            buckets = transfer.resend() if transfer else weights.buckets
            return actor.load.remote(weights.version, list(fingerprint), list(buckets))

        def check(ack: Acknowledgement | None) -> None:
            if ack is None:
                raise WeightsGone(f"the learner no longer has the weights of version {weights.version}")
            prove(weights, ack, self.logprob_tolerance)

        acks = list(self.pool.load(Load(send, check, send_late, transfer)).values())
        try:
            for ack in acks:
                check(ack)
        except SyncError:
            # The caller repeats the check and raises the error.
            self.pool.ask_all(lambda actor: actor.pause.remote())
        return acks

    def load_checkpoint(self, folder: Path, version: int) -> None:
        self.gpu.take(self)

        def send(actor: ActorHandle) -> ray.ObjectRef[Any]:
            return actor.load_checkpoint.remote(folder, version)

        # The actor itself compares its weights with the files.
        self.pool.load(Load(send, lambda _: None, send))

    def busy_seconds(self) -> dict[str, float]:
        return self.pool.busy_seconds()

    def engine_counters(self) -> dict[str, dict[str, Any]]:
        return self.pool.ask_all(lambda actor: actor.counters.remote())

    def sleep(self) -> None:
        self.pool.wait_until_ready()
        self.pool.ask_all(lambda actor: actor.sleep.remote())
        # No replacement may start on the GPU now.
        self.pool.paused = True

    def wake_up(self) -> None:
        self.pool.paused = False
        self.pool.ask_all(lambda actor: actor.wake_up.remote())


class _ListFeed:
    """A list of prompts as a PromptFeed that gives all of them at once."""

    def __init__(self, prompts: Sequence[Prompt]):
        self._prompts, self.ended = prompts, False

    def take(self) -> list[Prompt]:
        taken = [] if self.ended else list(self._prompts)
        self.ended = True
        return taken
