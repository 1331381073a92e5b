"""The `verify` part of a step's line in the metrics: seconds by kind, verdicts, reasons, lost workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from vt_ray.interfaces import VerifierCounts
from vt_ray.records import GradedGroup, Kind, Verdict
from vt_ray.run.step_line import KindSeconds, VerifyFigures


def verify_record(
    groups: Sequence[GradedGroup], kinds: Sequence[Kind], before: VerifierCounts, after: VerifierCounts
) -> VerifyFigures:
    """`kinds` are the kinds of the problems of `groups`. Shares are of all completions. `backend` counts the verifier
    workers by sandbox backend."""
    verdicts = [v for g in groups for v in g.verdicts]
    statuses = Counter(v.status for v in verdicts)
    return {
        "completions": len(verdicts),
        "seconds": seconds_by_kind(groups, kinds),
        "verdicts": {status: statuses[status] / len(verdicts) for status in ("correct", "wrong", "unverified")},
        "reasons": {reason: n / len(verdicts) for reason, n in _reasons(verdicts).most_common()},
        "retries": after.retries - before.retries,
        "respawns": after.respawns - before.respawns,
        "backend": after.backends,
    }


def seconds_by_kind(groups: Sequence[GradedGroup], kinds: Sequence[Kind]) -> dict[str, KindSeconds]:
    """{kind: {"count", "p50", "p95", "p99"}} of the verification seconds of a completion.

    Completions with 0 seconds are left out: they were truncated, their text is a copy of another, or their worker was
    lost.
    """
    seconds: dict[Kind, list[float]] = {}
    for group, kind in zip(groups, kinds, strict=True):
        seconds.setdefault(kind, []).extend(v.seconds for v in group.verdicts if v.seconds)
    return {kind: _spread(values) for kind, values in sorted(seconds.items()) if values}


def _spread(values: Sequence[float]) -> KindSeconds:
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return {"count": len(values), "p50": p50, "p95": p95, "p99": p99}


def _reasons(verdicts: Iterable[Verdict]) -> Counter[str]:
    """Counts reasons by their first part: the text after a colon or a bracket differs between completions."""
    return Counter(v.reason.split(":")[0].split(" (")[0] for v in verdicts if v.reason)
