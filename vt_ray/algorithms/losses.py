"""Losses: tensors in, (loss, metrics) out. `token_weights` hold all denominators.

The weight of a token divides by its sequence, its group and the batch over all ranks. A loss is therefore a plain sum:
it is the same for packed or padded rows, any micro-batch size and any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from vt_ray.algorithms.importance import importance_weights, mean_over_sequences
from vt_ray.config import ConfigError, MgpoConfig
from vt_ray.import_path import import_callable

Metrics = dict[str, torch.Tensor]

# A ratio above exp(20) is a fault of one token; it must not make the whole loss infinite.
MAX_LOG_RATIO = 20.0


def mgpo_loss(
    trainer_logprobs: torch.Tensor,
    rollout_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    token_weights: torch.Tensor,
    mgpo: MgpoConfig,
    sequence_ids: torch.Tensor | None = None,
    reference_logprobs: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Metrics]:
    """-J_MGPO: sum_t w_t * -min(rho_t * A'_t, clip(rho_t, 1-eps_low, 1+eps_high) * A'_t).

    Source: arXiv 2511.06221, section 3.4. All tensors have one shape, [T] or [B, T]: log-probabilities of the sampled
    token in nats, `advantages` A' of the token's completion, `token_weights` from `aggregation`. Positions with weight
    0 (prompts and padding) may hold any value, NaN included. Options of `mgpo` that are not in the paper:

    * clip_dual c (arXiv 1912.09729, equation 5): if A' < 0, the token's term is max(the term above, c * A'). The
      minimum alone is not bounded below there, because rho can be large. c = 0 gives the paper's term.
    * ratio "sequence" (GSPO): rho is exp of the mean log-ratio over the completion. `sequence_ids` (int64) separate
      the sequences of a row; each sequence must be whole in its row.
    * importance (`algorithms.importance`): each token's term is multiplied by M(trainer probability / engine
      probability), and rho is the ratio to the trainer before the update. A batch gives one update, so the trainer
      before the update is the trainer itself without gradient: rho is 1 and is never clipped.
    * kl_coef: adds kl_coef * w_t * (exp(d) - 1 - d) with d = log reference - log trainer (the k3 estimator).

    Metrics are sums over completion tokens (names that end in `_max`: maxima), so that ranks can add them.
    """
    is_completion = token_weights > 0
    advantages = torch.where(is_completion, advantages, 0.0)
    log_ratio = engine_gap = _gap(trainer_logprobs, rollout_logprobs, is_completion)
    importance, counts = importance_weights(engine_gap, is_completion, sequence_ids, mgpo.importance)
    if counts:
        log_ratio = _gap(trainer_logprobs, trainer_logprobs.detach(), is_completion)
    if mgpo.ratio == "sequence":
        log_ratio = mean_over_sequences(log_ratio, is_completion, sequence_ids)
    objective, clips = _clipped_objective(log_ratio.exp(), advantages, mgpo)
    loss = -(token_weights * importance * objective).sum()
    metrics = {**_rollout_metrics(engine_gap, is_completion), **clips, **counts}
    return _with_kl(loss, metrics, trainer_logprobs, token_weights, mgpo, reference_logprobs)


def cispo_loss(
    trainer_logprobs: torch.Tensor,
    rollout_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    token_weights: torch.Tensor,
    mgpo: MgpoConfig,
    sequence_ids: torch.Tensor | None = None,
    reference_logprobs: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Metrics]:
    """CISPO: sum_t w_t * -sg(clip(rho_t, 1-eps_low, 1+eps_high)) * A'_t * log p_t, where sg stops the gradient.

    Source: MiniMax-M1, arXiv 2506.13585, equations 4 and 5; rho_t = trainer probability / engine probability. A clipped
    token keeps its gradient, with a bounded weight. MiniMax-M1 sets no lower bound: clip_low = 1. Arguments, masking
    and metrics are those of `mgpo_loss`; clip_dual, ratio and importance are not used.
    """
    is_completion = token_weights > 0
    advantages = torch.where(is_completion, advantages, 0.0)
    engine_gap = _gap(trainer_logprobs, rollout_logprobs, is_completion)
    ratio = engine_gap.detach().exp()
    low, high = 1 - mgpo.clip_low, 1 + mgpo.clip_high
    logprobs = torch.where(is_completion, trainer_logprobs, 0.0)
    loss = -(token_weights * ratio.clamp(low, high) * advantages * logprobs).sum()
    metrics = {
        **_rollout_metrics(engine_gap, is_completion),
        "clipped_tokens": ((ratio < low) | (ratio > high)).sum(),
        "clipped_low_tokens": (ratio < low).sum(),
        "clipped_high_tokens": (ratio > high).sum(),
    }
    return _with_kl(loss, metrics, trainer_logprobs, token_weights, mgpo, reference_logprobs)


# The losses by the names that `signal.mgpo.loss` knows. A loss takes the arguments of `mgpo_loss` by position and
# returns (loss, metrics): a scalar, and sums over completion tokens (a name that ends in `_max`: a maximum).
Loss = Callable[..., tuple[torch.Tensor, Metrics]]
LOSSES: dict[str, Loss] = {"mgpo": mgpo_loss, "cispo": cispo_loss}
LOSS_ARGUMENTS = (
    *("trainer_logprobs", "rollout_logprobs", "advantages", "token_weights"),
    *("mgpo", "sequence_ids", "reference_logprobs"),
)


def named_loss(name: str) -> Loss:
    """The loss that `signal.mgpo.loss` names, in LOSSES or by import path. Raises ConfigError if there is none."""
    try:
        return LOSSES[name] if name in LOSSES else import_callable(name, LOSS_ARGUMENTS)
    except ValueError as error:
        raise ConfigError(f"signal.mgpo.loss={name!r} must be one of {', '.join(LOSSES)}, or {error}") from error


@torch.no_grad()
def rollout_metrics(
    trainer_logprobs: torch.Tensor, rollout_logprobs: torch.Tensor, token_weights: torch.Tensor
) -> Metrics:
    """The metrics of every loss: completion tokens, and the drift between trainer and rollout log-probabilities."""
    is_completion = token_weights > 0
    return _rollout_metrics(_gap(trainer_logprobs, rollout_logprobs, is_completion), is_completion)


@torch.no_grad()
def _rollout_metrics(engine_gap: torch.Tensor, is_completion: torch.Tensor) -> Metrics:
    return {
        "tokens": is_completion.sum(),
        # k3 estimator of KL(rollout || trainer), from tokens sampled by the rollout engine.
        "rollout_kl": (engine_gap.exp() - 1 - engine_gap).sum(),
        "logprob_gap_max": engine_gap.abs().max(),
    }


def _clipped_objective(ratio: torch.Tensor, advantages: torch.Tensor, mgpo: MgpoConfig) -> tuple[torch.Tensor, Metrics]:
    """The term of each token, to be maximised, and the number of tokens that are clipped: in all, and by each clip."""
    clipped = ratio.clamp(1 - mgpo.clip_low, 1 + mgpo.clip_high)
    objective = torch.minimum(ratio * advantages, clipped * advantages)
    dual = (advantages < 0) & (ratio > (mgpo.clip_dual or float("inf")))
    objective = torch.where(dual, mgpo.clip_dual * advantages, objective)
    was_clipped = clipped * advantages < ratio * advantages
    counts = {
        "clipped_tokens": (was_clipped | dual).sum(),
        "clipped_low_tokens": (was_clipped & (advantages < 0)).sum(),
        "clipped_high_tokens": (was_clipped & (advantages > 0)).sum(),
        "clipped_dual_tokens": dual.sum(),
    }
    return objective, counts


def _with_kl(
    loss: torch.Tensor,
    metrics: Metrics,
    trainer_logprobs: torch.Tensor,
    token_weights: torch.Tensor,
    mgpo: MgpoConfig,
    reference_logprobs: torch.Tensor | None,
) -> tuple[torch.Tensor, Metrics]:
    """Adds the KL term and its metric if there is a reference."""
    if reference_logprobs is None:
        return loss, metrics
    gap = _gap(reference_logprobs, trainer_logprobs, token_weights > 0)
    kl = gap.exp() - 1 - gap
    return loss + mgpo.kl_coef * (token_weights * kl).sum(), {**metrics, "reference_kl": kl.detach().sum()}


def _gap(logprobs: torch.Tensor, others: torch.Tensor, is_completion: torch.Tensor) -> torch.Tensor:
    """The log-ratio of two probabilities of each completion token; 0 at other positions."""
    return torch.where(is_completion, logprobs - others, 0.0).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def sft_loss(trainer_logprobs: torch.Tensor, token_weights: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
    """Cross-entropy: sum_t w_t * -logprob_t over [T] or [B, T], with weights 1 / (completion tokens of the batch)."""
    loss = -(token_weights * trainer_logprobs).sum()
    return loss, {"tokens": (token_weights > 0).sum()}
