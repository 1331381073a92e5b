"""Long2Short: of a group's correct completions, the shorter ones get a higher reward (arXiv 2606.16140)."""

from __future__ import annotations

from collections.abc import Sequence


def long2short(
    rewards: Sequence[float], lengths: Sequence[int], valid: Sequence[bool], share: float
) -> tuple[float, ...]:
    """r'_i = r_i + share * (s_i - mean_C s) / max_C |s - mean_C s| with s = 1 / length, over the correct completions C.

    `rewards` are binary, `lengths` in tokens. The change sums to 0 over C. Wrong and invalid completions keep their
    reward, and all do if the lengths in C are equal. p_c is computed from `rewards`, not from the result.
    """
    correct = [i for i, (r, n, v) in enumerate(zip(rewards, lengths, valid, strict=True)) if v and r == 1 and n]
    shaped = [float(r) for r in rewards]
    # Lengths are compared, not their inverses, whose rounding could make equal lengths differ.
    if share == 0 or len({lengths[i] for i in correct}) < 2:
        return tuple(shaped)
    mean = sum(1 / lengths[i] for i in correct) / len(correct)
    largest = max(abs(1 / lengths[i] - mean) for i in correct)
    for i in correct:
        shaped[i] += share * (1 / lengths[i] - mean) / largest
    return tuple(shaped)
