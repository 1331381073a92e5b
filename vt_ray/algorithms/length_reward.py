"""Rewards that depend on the length of a completion: Long2Short and the soft overlong penalty.

verdicts + lengths --> shaped rewards, from which A is computed. p_c is computed from the verdicts alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from vt_ray.records import AdvantageConfig


def shaped_rewards(
    rewards: Sequence[float], lengths: Sequence[int], valid: Sequence[bool], config: AdvantageConfig
) -> tuple[float, ...]:
    """The binary `rewards` with both terms, each off by default. `lengths` in tokens."""
    shaped = long2short(rewards, lengths, valid, config.length_reward)
    if not config.overlong_buffer:
        return shaped
    penalties = (overlong_penalty(n, config.max_new_tokens, config.overlong_buffer) for n in lengths)
    return tuple(reward + penalty for reward, penalty in zip(shaped, penalties, strict=True))


def overlong_penalty(length: int, longest: int, buffer: int) -> float:
    """DAPO's soft overlong punishment (arXiv 2503.14476, equation 13), in [-1, 0].

    0 up to longest - buffer tokens, then ((longest - buffer) - length) / buffer, which is -1 at `longest` tokens.
    """
    return max(-1.0, min(0.0, (longest - buffer - length) / buffer))


def long2short(
    rewards: Sequence[float], lengths: Sequence[int], valid: Sequence[bool], share: float
) -> tuple[float, ...]:
    """Long2Short (arXiv 2606.16140): of a group's correct completions, the shorter ones get a higher reward.

    r'_i = r_i + share * (s_i - mean_C s) / max_C |s - mean_C s| with s = 1 / length, over the correct completions C.

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
