"""Trends: whether a metric changed within a stage by more than its scatter between steps.

Stages are not compared with each other, because they have different questions and context lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance
from typing import Any

from vt_ray.report import formats

# Two steps in each third are required for a standard error.
MIN_STEPS = 6
# The 97.5% point of the standard normal.
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Trend:
    """The means over the first and the last third of a stage's steps. `clear`: they differ by more than noise."""

    stage: str
    first: float
    last: float
    clear: bool

    @property
    def rise(self) -> float:
        return self.last - self.first


def trends(lines: Sequence[Mapping[str, Any]], key: str) -> list[Trend]:
    """The trend of metric `key` in each stage that has at least `MIN_STEPS` steps with a number for it."""
    stages: dict[str, list[float]] = {}
    for line in lines:
        if formats.known(line.get(key)):
            stages.setdefault(str(line.get("stage", "")), []).append(float(line[key]))
    return [_trend(stage, values) for stage, values in stages.items() if len(values) >= MIN_STEPS]


def student_t_95(freedom: int) -> float:
    """The 97.5% point of Student's t for `freedom` degrees of freedom.

    Uses the expansion in 1/freedom; the result is 3% too low for 2 degrees of freedom and 0.3% too low for 4.
    """
    z, n = Z_95, freedom
    first = (z**3 + z) / (4 * n)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    return z + first + second + third


def _trend(stage: str, values: list[float]) -> Trend:
    """Compares the first and the last third with a t-test at 5%."""
    third = len(values) // 3
    first, last = values[:third], values[-third:]
    error = sqrt((variance(first) + variance(last)) / third)
    rise = fmean(last) - fmean(first)
    return Trend(stage, fmean(first), fmean(last), abs(rise) > student_t_95(2 * third - 2) * error)
