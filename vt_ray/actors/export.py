"""The export of weights from the learner's ranks: handles at once, the expected proof when it is needed.

    begin_export --> next_bucket, next_bucket, ... (handles, loaded by the generators as they arrive) --> end_export
    begin_send   --> end_send: NCCL or CUDA IPC; Ray carries only the messages for the generators and the proof

A generator loads one bucket while the learner gathers the next, and both compute the log-probabilities of the
fingerprint at the same time. A generator that starts after `begin_send` has missed the transfer: it gets the same
weights as buckets (`resend`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import ray
from ray.actor import ActorHandle

from vt_ray.engines.weights import Bucket
from vt_ray.interfaces import Handle


@dataclass
class Exported:
    """The checksums by tensor name, and the bytes, that a rank has sent so far."""

    checksums: dict[str, int]
    num_bytes: int

    def add(self, bucket: Bucket) -> None:
        self.checksums.update((entry.name, entry.checksum) for entry in bucket.entries)
        self.num_bytes += bucket.num_bytes


@dataclass(frozen=True)
class Proof:
    """What a generator has to prove: the checksums and the log-probabilities of the fingerprint."""

    exported: Exported
    fingerprint_logprobs: tuple[float, ...]


class WeightsGone(RuntimeError):
    """The weights cannot be sent again: the learner has taken another step."""


@dataclass(frozen=True)
class NcclTransfer:
    """One broadcast from the learner to all generators, in which every rank waits for all others.

    `ends` are the calls on the learner's side. `resend` returns handles of the same weights as buckets. `break_off`
    kills the learner's ranks, which would wait for a dead generator without end.
    """

    ends: tuple[Handle, ...]
    resend: Callable[[], tuple[Handle, ...]]
    break_off: Callable[[], None]


class ExportedWeights:
    """Implements `interfaces.Weights`. A property that needs the end of the export waits for it.

    `transfer` is None if each generator loads the weights on its own: with the object store and with CUDA IPC.
    """

    def __init__(
        self, version: int, buckets: tuple[Handle, ...], ends: list[Handle], transfer: NcclTransfer | None = None
    ):
        self.version = version
        self.buckets = buckets
        self.transfer = transfer
        self._ends = ends

    @cached_property
    def _proof(self) -> Proof:
        return ray.get(self._ends)[0]

    @property
    def checksums(self) -> dict[str, int]:
        return self._proof.exported.checksums

    @property
    def num_bytes(self) -> int:
        return self._proof.exported.num_bytes

    @property
    def fingerprint_logprobs(self) -> tuple[float, ...]:
        return self._proof.fingerprint_logprobs


def export(actors: list[ActorHandle], version: int, fingerprint: list[int], bucket_bytes: int) -> ExportedWeights:
    """Gathering is collective: every rank is asked for every bucket in order, and rank 0 has the bytes."""
    count: int = ray.get([actor.begin_export.remote(bucket_bytes) for actor in actors])[0]
    buckets = [[actor.next_bucket.remote() for actor in actors] for _ in range(count)]
    ends = [actor.end_export.remote(fingerprint) for actor in actors]
    return ExportedWeights(version, tuple(ranks[0] for ranks in buckets), ends)


def send(
    actors: list[ActorHandle],
    version: int,
    fingerprint: list[int],
    transport: str,
    receivers: int,
    bucket_bytes: int,
    group: int,
    lock: threading.Lock,
) -> ExportedWeights:
    """Sends the weights by NCCL or CUDA IPC. NCCL's ranks meet in `end_send` and in the generators' load, where each
    waits for all others.

    `group` is the number of the set of generators: a new number opens a new NCCL group. The caller holds `lock`.
    """
    count: int = ray.get([actors[0].num_buckets.remote(bucket_bytes)])[0]
    notices = [actor.begin_send.remote(transport, receivers, bucket_bytes, group) for actor in actors]
    ends = [actor.end_send.remote(fingerprint) for actor in actors]

    def resend() -> tuple[Handle, ...]:
        with lock:
            for actor in actors:
                actor.begin_resend.remote(bucket_bytes)
            buckets = [[actor.next_bucket.remote() for actor in actors] for _ in range(count)]
            for actor in actors:
                actor.end_resend.remote()
        return tuple(ranks[0] for ranks in buckets)

    def break_off() -> None:
        for actor in actors:
            ray.kill(actor)

    transfer = NcclTransfer(tuple(ends), resend, break_off) if transport == "nccl" else None
    return ExportedWeights(version, (notices[0],), ends, transfer)
