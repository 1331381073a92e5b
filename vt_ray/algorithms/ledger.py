"""What became of each completion: every one is consumed by exactly one update, or dropped with a reason.

Consumed (it stands in the update's denominators):
    updated     its gradient is part of the update
    no_signal   its advantage is 0, and so is its gradient
Dropped (it counts nowhere in the update):
    unverified  the verifier has no verdict
    truncated   cut off at the length limit, in a stage that masks such completions
    replaced    its group has no signal and was replaced by a fresh one
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from vt_ray.records import GradedGroup, GroupAdvantages

CONSUMED = ("updated", "no_signal")
DROPPED = ("unverified", "truncated", "replaced")


def fates(groups: Sequence[GradedGroup], weights: Sequence[GroupAdvantages]) -> list[tuple[str, ...]]:
    """One fate a completion of each group that an update has taken, in the order of its completions."""
    return [
        tuple(
            "unverified" if not verdict.valid else "truncated" if not valid else "updated" if a else "no_signal"
            for verdict, valid, a in zip(group.verdicts, group.valid, weight.advantages, strict=True)
        )
        for group, weight in zip(groups, weights, strict=True)
    ]


def fates_of_replaced(groups: Sequence[GradedGroup]) -> list[tuple[str, ...]]:
    """Of groups that no update has taken, whatever their verdicts."""
    return [("replaced",) * len(group.verdicts) for group in groups]


def completion_digest(question_id: str, sample: int, token_ids: Sequence[int] | np.ndarray) -> int:
    """A CRC-32 of which completion this is: its question, its number in the group, its tokens.

    An update reports the sum over all completions that it computed (`consumed_digest`): whatever their order, rows and
    ranks, the sum over the same completions of the rollout file must be equal. Sums stay exact in float64 up to two
    million completions.
    """
    return zlib.crc32(np.asarray(token_ids, dtype="<i8").tobytes(), zlib.crc32(f"{question_id}\0{sample}\0".encode()))
