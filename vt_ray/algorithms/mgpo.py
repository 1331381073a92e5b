"""MGPO: max-entropy guided policy optimisation (arXiv 2511.06221, section 3.4), for one group or a batch of groups.

rewards [.., G] --> p_c --> D_ME(p_c || 0.5) --> w_ME = exp(-lambda * D_ME)
        \\----> A = (r - mean) / std ---------------------> A' = w_ME * A

Inputs are lists, numpy arrays or CPU tensors. Results are float64 arrays, or floats where the input is one number.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vt_ray.config import ADVANTAGE_NORMS

STD_EPSILON = 1e-6
Floats = NDArray[np.float64]


def entropy_deviation(accuracy: ArrayLike) -> float | Floats:
    """D_ME(p || 0.5) = p*ln(p/0.5) + (1-p)*ln((1-p)/0.5) in nats, with 0*ln 0 = 0. Raises ValueError outside [0, 1]."""
    p = _numbers(accuracy)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"accuracy must lie in [0, 1], got {accuracy!r}: pass the share of correct rollouts")
    return _x_log_2x(p) + _x_log_2x(1 - p)


def weight(accuracy: ArrayLike, lam: float) -> float | Floats:
    """w_ME = exp(-lambda * D_ME): 1 at p_c = 0.5, 2^-lambda at 0 and 1. lambda = 0 gives exactly 1, which is GRPO.

    Raises ValueError for a negative or non-finite `lam`.
    """
    if not 0 <= lam < math.inf:
        raise ValueError(f"lam must be finite and >= 0, got {lam}: 0 is GRPO, the sweep is 0, 0.5, 1, 2")
    exponent = -lam * entropy_deviation(accuracy)
    return math.exp(exponent) if isinstance(exponent, float) else np.exp(exponent)


def group_accuracy(rewards: ArrayLike, valid: ArrayLike | None = None) -> float | Floats:
    """p_c = (1/G) * sum_i 1[r_i = 1] over the valid rollouts of each group, [.., G] -> [..]; 0 without a valid one."""
    r, mask = _masked(rewards, valid)
    return ((r == 1) & mask).sum(-1) / mask.sum(-1).clip(min=1)


def normalised_advantages(rewards: ArrayLike, valid: ArrayLike | None = None, norm: str = "std") -> Floats:
    """A_i = (r_i - mean) / (std + 1e-6) over the valid rollouts of each group, [.., G] -> [.., G]. This is GRPO's.

    The std is the population's; `norm` "none" leaves the division out (Dr. GRPO). An invalid rollout gets 0. So does a
    whole group with equal valid rewards or with fewer than two valid rollouts. Raises ValueError for an unknown `norm`,
    a shape mismatch, or a valid reward that is not finite.
    """
    if norm not in ADVANTAGE_NORMS:
        raise ValueError(f"norm={norm!r} must be one of {', '.join(ADVANTAGE_NORMS)}")
    r, mask = _masked(rewards, valid)
    if not np.isfinite(r).all():
        raise ValueError(f"rewards must be finite where valid, got {rewards!r}: mark failed verdicts as not valid")
    count = mask.sum(-1, keepdims=True)
    centred = np.where(mask, r - r.sum(-1, keepdims=True) / count.clip(min=1), 0.0)
    std = np.sqrt(np.square(centred).sum(-1, keepdims=True) / count.clip(min=1))
    # Compared, not computed: a rounded mean must not turn equal rewards into a signal.
    lowest = np.where(mask, r, np.inf).min(-1, keepdims=True)
    highest = np.where(mask, r, -np.inf).max(-1, keepdims=True)
    return np.where((lowest < highest) & (count >= 2), centred / (std + STD_EPSILON if norm == "std" else 1.0), 0.0)


def group_advantages(
    rewards: ArrayLike,
    lam: float,
    valid: ArrayLike | None = None,
    norm: str = "std",
    group_weight: ArrayLike | None = None,
    shaped_rewards: ArrayLike | None = None,
) -> Floats:
    """A'_i = w_ME * A_i, [.., G] -> [.., G]: the weight multiplies the normalised advantage, not the reward.

    `rewards` is binary and gives p_c. `group_weight` [..] replaces w_ME(p_c), for an estimator with a memory;
    `shaped_rewards` [.., G] replaces the rewards in A, for Long2Short. Raises as `weight` and `normalised_advantages`.
    """
    w = weight(group_accuracy(rewards, valid), lam) if group_weight is None else group_weight
    advantages = normalised_advantages(rewards if shaped_rewards is None else shaped_rewards, valid, norm)
    return np.asarray(w)[..., None] * advantages


def _x_log_2x(x: float | Floats) -> float | Floats:
    """x * ln 2x. One number takes the C library's logarithm, which does not depend on the CPU's vector width."""
    if isinstance(x, float):
        return x * math.log(2 * x) if x else 0.0
    return x * np.log(np.where(x > 0, 2 * x, 1.0))


def _numbers(values: ArrayLike) -> float | Floats:
    array = np.asarray(values, dtype=np.float64)
    return array if array.ndim else float(array)


def _masked(rewards: ArrayLike, valid: ArrayLike | None) -> tuple[Floats, NDArray[np.bool_]]:
    r = np.asarray(rewards, dtype=np.float64)
    if r.ndim == 0 or r.shape[-1] == 0:
        raise ValueError(f"rewards must have a group dimension, got shape {r.shape}: one reward for each rollout")
    mask = np.ones(r.shape, dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
    if mask.shape != r.shape:
        raise ValueError(f"valid has shape {mask.shape}, rewards {r.shape}: they must be equal")
    return np.where(mask, r, 0.0), mask
