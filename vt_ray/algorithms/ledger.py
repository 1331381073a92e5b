"""The fate of each completion: one update consumes it, or it is dropped with a reason.

Consumed (counted in the update's denominators):
    updated     its gradient is part of the update
    no_signal   its advantage is 0: it has no policy gradient; it enters the update only with `kl_coef`
Dropped (not counted in the update):
    unverified  the verifier has no verdict
    truncated   cut off at the length limit, in a stage that masks such completions
    replaced    its group has no signal and was replaced by another group
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from vt_ray.records import GradedGroup, GroupAdvantages

CONSUMED = ("updated", "no_signal")
DROPPED = ("unverified", "truncated", "replaced")


def fates(groups: Sequence[GradedGroup], weights: Sequence[GroupAdvantages]) -> list[tuple[str, ...]]:
    """The fates of the groups that an update has consumed: one for each completion, in order."""
    return [
        tuple(
            "unverified" if not verdict.valid else "truncated" if not valid else "updated" if a else "no_signal"
            for verdict, valid, a in zip(group.verdicts, group.valid, weight.advantages, strict=True)
        )
        for group, weight in zip(groups, weights, strict=True)
    ]


def fates_of_replaced(groups: Sequence[GradedGroup]) -> list[tuple[str, ...]]:
    """The fates of groups that were replaced before the update: "replaced", with any verdict."""
    return [("replaced",) * len(group.verdicts) for group in groups]


def completion_digest(question_id: str, sample: int, token_ids: Sequence[int] | np.ndarray) -> int:
    """A CRC-32 of the completion's question, number in the group and tokens.

    Problem: a completion could be lost or computed twice between the rollout file and the ranks. Choice: an update
    reports the sum of the digests that it computed (`consumed_digest`), which does not depend on the order, the rows or
    the number of ranks, and the audit compares it with the sum over the rollout file. Held by tests/unit/test_audit.py.
    The sums are exact in float64 for up to two million completions.
    """
    return zlib.crc32(np.asarray(token_ids, dtype="<i8").tobytes(), zlib.crc32(f"{question_id}\0{sample}\0".encode()))
