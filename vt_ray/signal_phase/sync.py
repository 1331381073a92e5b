"""Weight sync: learner --> generators, and the proof that it arrived (checksums of all tensors, log-probabilities)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from vt_ray.config import SyncConfig
from vt_ray.engines.weights import SyncError, prove
from vt_ray.interfaces import Generator, Learner


@dataclass(frozen=True)
class SyncReport:
    """`logprob_gap`: mean absolute difference in nats on the fingerprint sequence, the worst generator's. `retried`: the
    first attempt did not arrive as it was sent, the second did. `seconds` and `num_bytes` count both."""

    version: int
    seconds: float
    num_bytes: int
    logprob_gap: float
    retried: bool = False


def sync_weights(
    learner: Learner, generator: Generator, version: int, fingerprint: Sequence[int], sync: SyncConfig
) -> SyncReport:
    """Send the learner's weights as `version` to every generator and prove that each holds exactly them.

    Each generator reads back what its engine holds, tied tensors too, and both sides' log-probabilities of the
    `fingerprint` ids (at least 2) must agree within `sync.logprob_tolerance`. Where a proof fails, generation stands
    still and the learner exports anew, once, to all. Raises SyncError, with version, generator and tensors, if that
    fails too.
    """
    start = time.monotonic()
    num_bytes, gap, failure = _attempt(learner, generator, version, fingerprint, sync)
    retried = failure is not None
    if retried:
        more, gap, again = _attempt(learner, generator, version, fingerprint, sync)
        num_bytes += more
        if again is not None:
            raise SyncError(f"{again} (twice, with weights exported anew)") from failure
    return SyncReport(version, time.monotonic() - start, num_bytes, gap, retried)


def _attempt(
    learner: Learner, generator: Generator, version: int, fingerprint: Sequence[int], sync: SyncConfig
) -> tuple[int, float, SyncError | None]:
    """Bytes sent, the worst generator's gap, and what a generator failed to prove."""
    weights = learner.export_weights(version, fingerprint, sync.bucket_mb << 20)
    try:
        acks = generator.load(weights, fingerprint)
        if not acks:
            raise SyncError(f"weight sync of version {version}: no generator acknowledges it")
        gap = max(prove(weights, ack, sync.logprob_tolerance) for ack in acks)
    except SyncError as error:
        # Its traceback would keep the buckets in the object store while the next ones come.
        return weights.num_bytes, 0.0, error.with_traceback(None)
    return weights.num_bytes, gap, None
