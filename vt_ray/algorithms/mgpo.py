"""MGPO: max-entropy guided policy optimisation (report section 3.4).

rewards [.., G] --> p_c --> D_ME(p_c || 0.5) --> w_ME = exp(-lambda * D_ME)
        \\----> A = (r - mean) / std ---------------------> A' = w_ME * A
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vt_ray.config import ADVANTAGE_NORMS

STD_EPSILON = 1e-6

Numbers = float | Sequence[float] | Sequence[Sequence[float]] | torch.Tensor


def entropy_deviation(accuracy: Numbers) -> float | torch.Tensor:
    """D_ME(p || 0.5) = p*ln(p/0.5) + (1-p)*ln((1-p)/0.5), in nats, with 0*ln 0 = 0 (section 3.4).

    `accuracy` is p_c in [0, 1], any shape. Returns a float for a float, else a tensor of that shape (and of the
    given tensor's floating type). Computed in float64. Raises ValueError outside [0, 1].
    """
    p = torch.as_tensor(accuracy, dtype=torch.float64)
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise ValueError(f"accuracy must lie in [0, 1], got {accuracy}: pass the share of correct rollouts")
    deviation = torch.xlogy(p, 2 * p) + torch.xlogy(1 - p, 2 * (1 - p))
    return _like(accuracy, deviation)


def weight(accuracy: Numbers, lam: float) -> float | torch.Tensor:
    """w_ME(q) = exp(-lambda * D_ME(p_c(q) || 0.5)) (section 3.4): 1 at p_c = 0.5, 2^-lambda at 0 and 1.

    `lam` >= 0; 0 gives exactly 1 everywhere, that is GRPO. Raises ValueError for a negative or non-finite `lam`.
    """
    if not 0 <= lam < float("inf"):
        raise ValueError(f"lam must be finite and >= 0, got {lam}: 0 is GRPO, the sweep is 0, 0.5, 1, 2")
    deviation = torch.as_tensor(entropy_deviation(torch.as_tensor(accuracy, dtype=torch.float64)))
    return _like(accuracy, torch.exp(-lam * deviation))


def group_accuracy(rewards: Numbers, valid: Sequence[bool] | torch.Tensor | None = None) -> torch.Tensor:
    """p_c(q) = (1/G) * sum_i 1[r_i = 1] over the valid rollouts (section 3.4); 0 where none is valid.

    `rewards` and `valid` are [.., G]; the result is float64 [..].
    """
    r, mask = _masked(rewards, valid)
    return ((r == 1) & mask).sum(-1) / mask.sum(-1).clamp(min=1).to(torch.float64)


def group_advantages(
    rewards: Sequence[float] | Sequence[Sequence[float]] | torch.Tensor,
    lam: float,
    valid: Sequence[bool] | torch.Tensor | None = None,
    norm: str = "std",
) -> torch.Tensor:
    """A'_i = w_ME(q) * A_i (section 3.4): the weight multiplies the normalised advantage.

    `rewards` is binary, [.., G], one row a question; see `normalised_advantages` for the rest. Raises ValueError for a
    shape mismatch, a non-finite valid reward or a bad `lam`.
    """
    r, mask = _masked(rewards, valid)
    w = torch.as_tensor(weight(group_accuracy(r, mask), lam), dtype=torch.float64).unsqueeze(-1)
    return (w * normalised_advantages(r, mask, norm)).to(_dtype(rewards))


def normalised_advantages(
    rewards: Sequence[float] | Sequence[Sequence[float]] | torch.Tensor,
    valid: Sequence[bool] | torch.Tensor | None = None,
    norm: str = "std",
) -> torch.Tensor:
    """A_i = (r_i - mean) / (std + 1e-6) of each group, over its valid rollouts (section 3.4): GRPO's.

    `rewards` is [.., G]; `valid` is False where the verifier gave no verdict: those rollouts get 0 and enter neither
    mean nor std. The std is the population's; `norm` "none" leaves it out (Dr. GRPO). A group whose valid rewards are
    all equal, or with fewer than two valid rollouts, gets 0. Returns [.., G] in the rewards' own floating type
    (float64 for lists), computed in float64. Raises ValueError for a shape mismatch, a non-finite valid reward or an
    unknown `norm`.
    """
    if norm not in ADVANTAGE_NORMS:
        raise ValueError(f"norm={norm!r} must be one of {', '.join(ADVANTAGE_NORMS)}")
    r, mask = _masked(rewards, valid)
    if not bool(torch.isfinite(r).all()):
        raise ValueError(f"rewards must be finite where valid, got {rewards}: mark failed verdicts as not valid")
    count = mask.sum(-1, keepdim=True).clamp(min=1)
    mean = r.sum(-1, keepdim=True) / count
    centred = torch.where(mask, r - mean, torch.zeros_like(r))
    std = (centred.square().sum(-1, keepdim=True) / count).sqrt()
    # Compared, not computed: rounding of the mean must not turn equal rewards into a signal.
    low = torch.where(mask, r, torch.full_like(r, torch.inf)).amin(-1, keepdim=True)
    high = torch.where(mask, r, torch.full_like(r, -torch.inf)).amax(-1, keepdim=True)
    has_signal = (low < high) & (mask.sum(-1, keepdim=True) >= 2)
    scale = std + STD_EPSILON if norm == "std" else torch.ones_like(std)
    return torch.where(has_signal, centred / scale, torch.zeros_like(r)).to(_dtype(rewards))


def _masked(rewards: Numbers, valid: Sequence[bool] | torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    r = torch.as_tensor(rewards, dtype=torch.float64)
    if r.ndim == 0 or r.shape[-1] == 0:
        raise ValueError(
            f"rewards must have a group dimension, got shape {tuple(r.shape)}: one reward for each rollout"
        )
    mask = torch.ones_like(r, dtype=torch.bool) if valid is None else torch.as_tensor(valid, dtype=torch.bool)
    if mask.shape != r.shape:
        raise ValueError(f"valid has shape {tuple(mask.shape)}, rewards {tuple(r.shape)}: they must be equal")
    return torch.where(mask, r, torch.zeros_like(r)), mask.to(r.device)


def _like(given: Numbers, value: torch.Tensor) -> float | torch.Tensor:
    return value.item() if isinstance(given, (int, float)) else value.to(_dtype(given))


def _dtype(given: Numbers) -> torch.dtype:
    """A floating tensor's own type, torch's default for another tensor, float64 for Python's numbers."""
    if not isinstance(given, torch.Tensor):
        return torch.float64
    return given.dtype if given.is_floating_point() else torch.get_default_dtype()
