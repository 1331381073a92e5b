"""The correction of the mismatch between trainer and engine: a weight for each token, and 0 for a masked one.

k = probability of the token in the trainer / in the engine; M(k) multiplies the token's term of the loss:

    truncate         min(k, high)                  truncated importance sampling (TIS; verl, TRL's token_truncate)
    mask_token       k in [low, high], else 0      IcePop (Ring-1T, arXiv 2510.18855); TRL's token_mask
    mask_sequence    K in [low, high], else 0      K: the mean of k over the completion, the same for all its tokens;
                                                   "geometric" is exp(mean ln k), as in the masks of prime-rl and verl

TRL's sequence_mask takes the product of k over the completion, which leaves any bounds as the completion grows. The
denominators of the loss count masked tokens too, as in IcePop: which tokens are masked is known only after the forward
pass.
"""

from __future__ import annotations

import torch

from vt_ray.config import ImportanceConfig


def importance_weights(
    log_ratio: torch.Tensor,
    is_completion: torch.Tensor,
    sequence_ids: torch.Tensor | None,
    importance: ImportanceConfig,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Returns M(k) without gradient, and the number of tokens that it truncates or masks.

    `log_ratio` is ln k in nats, 0 outside completions, [T] or [B, T]. `sequence_ids` (int64, the same shape) separate
    the sequences of a row; only "mask_sequence" reads them. M is 1 everywhere for the kind "none".
    """
    log_ratio = log_ratio.detach()
    if importance.kind in (None, "none"):
        return torch.ones_like(log_ratio), {}
    assert importance.low is not None and importance.high is not None, "Config fills in null bounds"
    ratio = log_ratio.exp()
    if importance.kind == "truncate":
        beyond = (ratio > importance.high) & is_completion
        return ratio.clamp(max=importance.high), {"importance_capped_tokens": beyond.sum()}
    if importance.kind == "mask_sequence" and importance.mean == "geometric":
        ratio = mean_over_sequences(log_ratio, is_completion, sequence_ids).exp()
    elif importance.kind == "mask_sequence":
        ratio = mean_over_sequences(ratio, is_completion, sequence_ids)
    masked = ((ratio < importance.low) | (ratio > importance.high)) & is_completion
    return torch.where(masked, 0.0, ratio), {"importance_masked_tokens": masked.sum()}


def mean_over_sequences(values: torch.Tensor, where: torch.Tensor, sequence_ids: torch.Tensor | None) -> torch.Tensor:
    """At each completion token the mean of `values` over its completion; 0 at other positions."""
    if sequence_ids is None:
        raise ValueError("a ratio of whole sequences needs sequence_ids: rows hold several sequences")
    rows = torch.arange(values.numel(), device=values.device).div(values.shape[-1], rounding_mode="floor")
    numbers = torch.where(where, sequence_ids, 0)
    ids = numbers.flatten() + rows * (int(numbers.max()) + 1)
    sums, counts = (
        values.new_zeros(int(ids.max()) + 1).index_add(0, ids, v.flatten().to(values.dtype))
        for v in (torch.where(where, values, 0.0), where)
    )
    return torch.where(where, (sums / counts.clamp(min=1))[ids].view_as(values), 0.0)
