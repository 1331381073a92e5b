"""Losses: tensors in, (loss, metrics) out. All denominators travel in `token_weights`.

A token's weight already holds every normaliser (its sequence, its group, the whole batch over all ranks), so
a loss is a plain sum: the same for packed or padded rows, any micro-batch size and any number of ranks.
"""

from __future__ import annotations

import torch

from vt_ray.config import MgpoConfig

Metrics = dict[str, torch.Tensor]


def mgpo_loss(
    trainer_logprobs: torch.Tensor,
    rollout_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    token_weights: torch.Tensor,
    mgpo: MgpoConfig,
    sequence_ids: torch.Tensor | None = None,
    reference_logprobs: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Metrics]:
    """-J_MGPO: sum_t w_t * -min(rho_t * A'_t, clip(rho_t, 1-eps_low, 1+eps_high) * A'_t) (section 3.4).

    All tensors have one shape, [T] or [B, T]: log-probabilities in nats of the sampled token, `advantages` the
    weighted A' of the token's rollout, `token_weights` 0 on prompts and padding. Metrics are sums over completion
    tokens, so that ranks can add them.
    """
    is_completion = token_weights > 0
    log_ratio = torch.where(is_completion, trainer_logprobs - rollout_logprobs, 0.0)
    if mgpo.ratio == "sequence" and sequence_ids is not None:
        log_ratio = _mean_over_sequences(log_ratio, is_completion, sequence_ids)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - mgpo.clip_low, 1 + mgpo.clip_high)
    objective = torch.minimum(ratio * advantages, clipped * advantages)
    loss = -(token_weights * objective).sum()
    with torch.no_grad():
        was_clipped = (clipped * advantages < ratio * advantages) & is_completion
        metrics = {
            "tokens": is_completion.sum(),
            "clipped_tokens": was_clipped.sum(),
            # k3 estimator of KL(rollout || trainer), from tokens sampled by the rollout engine.
            "rollout_kl": torch.where(is_completion, ratio - 1 - log_ratio, 0.0).sum(),
            "logprob_gap_max": log_ratio.abs().max(),
        }
    if mgpo.kl_coef > 0 and reference_logprobs is not None:
        gap = torch.where(is_completion, reference_logprobs - trainer_logprobs, 0.0)
        kl = gap.exp() - 1 - gap
        loss = loss + mgpo.kl_coef * (token_weights * kl).sum()
        metrics["reference_kl"] = kl.detach().sum()
    return loss, metrics


def _mean_over_sequences(values: torch.Tensor, where: torch.Tensor, sequence_ids: torch.Tensor) -> torch.Tensor:
    ids = sequence_ids.flatten()
    sums, counts = (values.new_zeros(int(ids.max()) + 1).index_add(0, ids, v.flatten()) for v in (values, where * 1.0))
    return torch.where(where, (sums / counts.clamp(min=1))[ids].view_as(values), 0.0)


def sft_loss(trainer_logprobs: torch.Tensor, token_weights: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
    """Cross-entropy: sum_t w_t * -logprob_t over [T] or [B, T], weights 1 / (completion tokens of the batch)."""
    loss = -(token_weights * trainer_logprobs).sum()
    return loss, {"tokens": (token_weights > 0).sum()}
