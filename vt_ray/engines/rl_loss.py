"""The loss of a row of rollouts: the loss that `signal.mgpo.loss` names, the entropy bonus, and the metrics of both.

(log-probabilities, entropy, row) --loss of LOSSES--> loss, metrics --bonus--> loss - coefficient * sum_t w_t H_t
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from vt_ray.algorithms.losses import Metrics, named_loss, rollout_metrics
from vt_ray.algorithms.packing import Row, sequence_ids
from vt_ray.config import ConfigError, MgpoConfig

# (log-probabilities, entropy, row) -> loss, metrics
RowLoss = Callable[[torch.Tensor, torch.Tensor, Row], tuple[torch.Tensor, Metrics]]

QUARTERS = 4
# The lower bound of Clip-Cov (arXiv 2505.22617): above it, a token pulls the entropy down hard.
COVARIANCE_BOUND = 1.0


def rl_row_loss(
    mgpo: MgpoConfig, entropy_coef: float, whole_sequences: bool, reference: Callable[[Row], torch.Tensor] | None
) -> RowLoss:
    """The loss of a row. `reference` returns the start model's log-probabilities, for a KL term.

    `whole_sequences` is False if a row is a slice of a sequence: its sequence numbers would be misleading.
    """
    loss_of = named_loss(mgpo.loss)

    def row_loss(logprobs: torch.Tensor, entropy: torch.Tensor, row: Row) -> tuple[torch.Tensor, Metrics]:
        loss, metrics = loss_of(
            logprobs,
            row.rollout_logprobs,
            row.advantages,
            row.token_weights,
            mgpo,
            sequence_ids(row.position_ids) if whole_sequences else None,
            reference(row) if reference else None,
        )
        if mgpo.entropy_bonus.target > 0:
            loss = loss - entropy_coef * (row.token_weights * entropy).sum()
        of_every_loss = rollout_metrics(logprobs, row.rollout_logprobs, row.token_weights)
        entropies = entropy_metrics(entropy.detach(), row)
        # Last: a loss of the user must not replace the run's own counts, the denominators of all shares.
        return loss, {"clipped_tokens": torch.zeros(()), **metrics, **of_every_loss, **entropies}

    return row_loss


def refuse_unusable_loss(mgpo: MgpoConfig, with_reference: bool, sharing_ranks: int) -> None:
    """Raises ConfigError for a KL term without a reference, and for figures of whole sequences if `sharing_ranks` ranks
    hold a slice of each."""
    if mgpo.kl_coef > 0 and not with_reference:
        raise ConfigError(f"signal.mgpo.kl_coef={mgpo.kl_coef:g}, but the learner was opened without a reference")
    for name, value in (("ratio", mgpo.ratio), ("importance.kind", mgpo.importance.kind)):
        if sharing_ranks > 1 and value in ("sequence", "mask_sequence"):
            raise ConfigError(
                f"signal.mgpo.{name}={value} with learner.sequence_parallel_size={sharing_ranks}: a rank holds a slice "
                f"of each sequence only; take {name}={value.replace('sequence', 'token')}, or size 1"
            )


def entropy_metrics(entropy: torch.Tensor, row: Row) -> Metrics:
    """The sum of the entropies of completion tokens, and sum and count in each quarter of the completions.

    `entropy` is 0 at other positions.
    """
    quarter = (row.progress * QUARTERS).long().flatten()
    sums, counts = (
        torch.zeros(QUARTERS, device=entropy.device).index_add(0, quarter, values.flatten().float())
        for values in (entropy, row.token_weights > 0)
    )
    parts = [(f"entropy_q{i + 1}", sums[i]) for i in range(QUARTERS)]
    parts += [(f"tokens_q{i + 1}", counts[i]) for i in range(QUARTERS)]
    return {"entropy": entropy.sum(), **dict(parts)}


def covariance_counts(rows: Sequence[Row], device: torch.device) -> dict[str, float]:
    """The number of this rank's completion tokens whose covariance is above COVARIANCE_BOUND. Collective.

    The covariance of a token is (log p - mean log p) * (A' - mean A'), with means over all tokens that the batch of all
    ranks updates (arXiv 2505.22617, section 4.2). log p is the engine's, so that it is known before the update.
    """
    tokens = [row.token_weights > 0 for row in rows]
    logprobs, advantages = (
        torch.cat([getattr(row, name)[where] for row, where in zip(rows, tokens, strict=True)] or [torch.zeros(0)])
        for name in ("rollout_logprobs", "advantages")
    )
    mine = [len(logprobs), float(logprobs.double().sum()), float(advantages.double().sum())]
    sums = torch.tensor(mine, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(sums)
    _, mean_logprob, mean_advantage = (sums / sums[0].clamp(min=1)).tolist()
    covariance = (logprobs - mean_logprob) * (advantages - mean_advantage)
    return {"high_covariance_tokens": float((covariance > COVARIANCE_BOUND).sum())}
