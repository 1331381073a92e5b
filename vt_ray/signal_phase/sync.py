"""Weight sync: learner --> generators, and the proof that it arrived (checksums of all tensors, log-probabilities)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from vt_ray.config import SyncConfig
from vt_ray.engines.weights import SyncError, compare_checksums, compare_logprobs
from vt_ray.interfaces import Generator, Learner


@dataclass(frozen=True)
class SyncReport:
    """`logprob_gap`: mean absolute difference in nats on the probe sequence, the worst generator's."""

    version: int
    seconds: float
    num_bytes: int
    logprob_gap: float
    retried: bool = False


def sync_weights(
    learner: Learner, generator: Generator, version: int, probe: Sequence[int], sync: SyncConfig
) -> SyncReport:
    """Send the learner's weights as `version` to every generator. Raises SyncError unless each holds exactly them.

    Each generator reads back what its engine holds, tied tensors too, and both sides' log-probabilities of the
    `probe` ids (at least 2) must agree within `sync.logprob_tolerance`.
    """
    start = time.monotonic()
    weights = learner.export_weights(version, probe, sync.bucket_mb << 20)
    acks = generator.load(weights, probe)
    if not acks:
        raise SyncError(f"weight sync of version {version}: no generator acknowledges it")
    gap = 0.0
    for ack in acks:
        if ack.version != version:
            raise SyncError(f"weight sync of version {version}: {ack.holder} acknowledges version {ack.version}")
        compare_checksums(weights.checksums, ack.checksums, version, ack.holder)
        found = compare_logprobs(
            weights.probe_logprobs, ack.probe_logprobs, sync.logprob_tolerance, version, ack.holder
        )
        gap = max(gap, found)
    return SyncReport(version, time.monotonic() - start, weights.num_bytes, gap)
