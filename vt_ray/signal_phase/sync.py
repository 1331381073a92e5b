"""Weight sync: learner --> generators, and the proof that they hold the sent weights (checksums, log-probabilities)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from vt_ray.config import SyncConfig
from vt_ray.engines.weights import SyncError, prove
from vt_ray.interfaces import Generator, Learner


@dataclass(frozen=True)
class SyncReport:
    """The result of one sync.

    `logprob_gap` is the mean absolute difference in nats on the fingerprint, of the generator with the largest one.
    `retried` is True if the first attempt failed its proof and the second passed. `seconds` and `num_bytes` count both.
    """

    version: int
    seconds: float
    num_bytes: int
    logprob_gap: float
    retried: bool = False


def sync_weights(
    learner: Learner, generator: Generator, version: int, fingerprint: Sequence[int], sync: SyncConfig
) -> SyncReport:
    """Send the learner's weights as `version` to every generator and prove that each generator holds exactly them.

    Each generator reads back the checksum of every tensor in its engine, tied tensors included. Both sides'
    log-probabilities of the `fingerprint` ids (at least 2) must agree within `sync.logprob_tolerance`. If a proof
    fails, the learner exports once more and all generators load again; nothing is generated meanwhile. Raises
    SyncError, with version, generator and tensors, if the second proof fails too.
    """
    start = time.monotonic()
    num_bytes, gap, failure = _attempt(learner, generator, version, fingerprint, sync)
    retried = failure is not None
    if retried:
        more, gap, again = _attempt(learner, generator, version, fingerprint, sync)
        num_bytes += more
        if again is not None:
            raise SyncError(f"{again} (twice, the second time from a new export)") from failure
    return SyncReport(version, time.monotonic() - start, num_bytes, gap, retried)


def _attempt(
    learner: Learner, generator: Generator, version: int, fingerprint: Sequence[int], sync: SyncConfig
) -> tuple[int, float, SyncError | None]:
    """Returns the bytes sent, the largest log-probability gap of a generator, and the error if a proof failed."""
    weights = learner.export_weights(version, fingerprint, sync.bucket_mb << 20)
    try:
        acks = generator.load(weights, fingerprint)
        if not acks:
            raise SyncError(f"weight sync of version {version}: no generator acknowledged it")
        gap = max(prove(weights, ack, sync.logprob_tolerance) for ack in acks)
    except SyncError as error:
        # Without its traceback, which would keep these buckets in the object store during the second attempt.
        return weights.num_bytes, 0.0, error.with_traceback(None)
    return weights.num_bytes, gap, None
