"""The choice of traces by what the student can learn from them (arXiv 2606.16140).

traces of a subdomain --without the shortest--> buckets of equal size by length --NLL quantiles--> middle to high

A trace with a low NLL is known to the student already. NLL per token falls with the length of a trace, so traces are
only compared with traces of similar length in their own subdomain.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vt_ray.config import SelfDistilConfig

KEPT, VERY_SHORT, KNOWN, OUTLIER = "kept", "very short", "low NLL", "outlier"
NOT_FINITE, TOO_LONG = "NLL not finite", "over the context"
REASONS = (KEPT, VERY_SHORT, KNOWN, OUTLIER, TOO_LONG, NOT_FINITE)


@dataclass(frozen=True, slots=True)
class MeasuredTrace:
    """`tokens` are those of the completion. `nll` is its mean negative log-likelihood under the student, in nats per
    token. `fits` is False if prompt and completion exceed the context of the model."""

    subdomain: str
    tokens: int
    nll: float
    fits: bool = True


def select(traces: Sequence[MeasuredTrace], settings: SelfDistilConfig) -> tuple[list[str], list[dict[str, Any]]]:
    """Returns for each trace KEPT or the reason why it is left out, and the figures of each bucket."""
    fates = [TOO_LONG if not t.fits else "" if math.isfinite(t.nll) else NOT_FINITE for t in traces]
    by_subdomain: defaultdict[str, list[int]] = defaultdict(list)
    for index, trace in enumerate(traces):
        if not fates[index]:
            by_subdomain[trace.subdomain].append(index)
    buckets = []
    for subdomain, found in sorted(by_subdomain.items()):
        by_length = sorted(found, key=lambda i: traces[i].tokens)
        short = int(settings.drop_shortest * len(by_length))
        for index in by_length[:short]:
            fates[index] = VERY_SHORT
        for bucket in _parts(by_length[short:], settings.length_buckets):
            by_nll = sorted(bucket, key=lambda i: traces[i].nll)
            for rank, index in enumerate(by_nll):
                fates[index] = _fate((rank + 0.5) / len(by_nll), settings)
            buckets.append(_figures(subdomain, [traces[i] for i in bucket], [fates[i] for i in bucket]))
    return fates, buckets


def counts_by_subdomain(traces: Sequence[MeasuredTrace], fates: Sequence[str]) -> dict[str, Counter[str]]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for trace, fate in zip(traces, fates, strict=True):
        counts[trace.subdomain][fate] += 1
    return dict(sorted(counts.items()))


def _fate(quantile: float, settings: SelfDistilConfig) -> str:
    if quantile < settings.nll_low:
        return KNOWN
    return OUTLIER if quantile > settings.nll_high else KEPT


def _parts(items: Sequence[int], count: int) -> list[Sequence[int]]:
    """`count` parts whose sizes differ by at most 1, in order, without empty ones."""
    bounds = [len(items) * part // count for part in range(count + 1)]
    return [items[a:b] for a, b in zip(bounds, bounds[1:], strict=False) if b > a]


def _figures(subdomain: str, traces: Sequence[MeasuredTrace], fates: Sequence[str]) -> dict[str, Any]:
    """The figures of one bucket: its range of lengths, the NLL of all traces and that of the kept ones."""
    kept = sorted(t.nll for t, fate in zip(traces, fates, strict=True) if fate == KEPT)
    tokens, every = [t.tokens for t in traces], [t.nll for t in traces]
    return {
        "subdomain": subdomain,
        "tokens": [min(tokens), max(tokens)],
        "traces": len(traces),
        "kept": len(kept),
        "nll": sum(every) / len(every),
        "kept_nll": [kept[0], kept[-1]] if kept else None,
    }
