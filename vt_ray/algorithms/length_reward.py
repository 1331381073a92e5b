"""Long2Short: among right answers, the shorter ones are worth more (arXiv 2606.16140, the successor's report)."""

from __future__ import annotations

from collections.abc import Sequence


def long2short(
    rewards: Sequence[float], lengths: Sequence[int], valid: Sequence[bool], share: float
) -> tuple[float, ...]:
    """r'_i = r_i + share * (s_i - mean_C s) / max_C |s - mean_C s|, s = 1 / length, over a group's right answers C.

    `rewards` are binary, `lengths` in tokens. Zero-sum over C; nothing changes where lengths are equal, or for wrong
    and invalid answers. p_c stays that of `rewards`.
    """
    right = [i for i, (r, n, v) in enumerate(zip(rewards, lengths, valid, strict=True)) if v and r == 1 and n]
    shaped = [float(r) for r in rewards]
    # Lengths are compared, not their inverses: rounding must not tell equal ones apart.
    if share == 0 or len({lengths[i] for i in right}) < 2:
        return tuple(shaped)
    mean = sum(1 / lengths[i] for i in right) / len(right)
    largest = max(abs(1 / lengths[i] - mean) for i in right)
    for i in right:
        shaped[i] += share * (1 / lengths[i] - mean) / largest
    return tuple(shaped)
