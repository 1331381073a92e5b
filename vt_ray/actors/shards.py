"""Which completions a learner rank computes, and their weights. Uses no Ray.

GradedGroup, advantages --computed_weights--> Share --to the rank, with the handles of the rollouts--> rl_sequences
"""

from __future__ import annotations

from collections.abc import Sequence

from vt_ray.algorithms.ledger import completion_digest
from vt_ray.algorithms.packing import TrainSequence
from vt_ray.records import GradedGroup, Rollouts

# The token weights and the advantages of one group, each with one value per completion.
Share = tuple[tuple[float, ...], tuple[float, ...]]


def computed_weights(token_weights: Sequence[float], advantages: Sequence[float], kl_coef: float) -> tuple[float, ...]:
    """Returns the token weights of a group's completions, with 0 for completions without a gradient.

    The gradient is zero if the advantage is 0 and there is no KL term. The learner skips these completions; the
    denominators in the other token weights still count them.
    """
    return tuple(w if kl_coef > 0 or a != 0 else 0.0 for w, a in zip(token_weights, advantages, strict=True))


def rl_sequences(rollouts: Sequence[Rollouts], shares: Sequence[Share]) -> tuple[list[TrainSequence], dict[str, float]]:
    """Returns the completions to compute, and the counts by which an audit recognises them."""
    sequences, digest = [], 0
    for group, (token_weights, advantages) in zip(rollouts, shares, strict=True):
        for c, weight, advantage in zip(group.completions, token_weights, advantages, strict=True):
            if weight > 0:
                prompt = group.prompt_token_ids
                sequences.append(TrainSequence(prompt, c.token_ids, weight, advantage, c.rollout_logprobs))
                digest += completion_digest(group.problem.question_id, c.sample, c.token_ids)
    return sequences, {"consumed_digest": digest, "updated_completions": len(sequences)}


def tokens_to_compute(group: GradedGroup, token_weights: Sequence[float]) -> int:
    """The tokens of the completions with a weight, each with its prompt."""
    lengths = zip(group.completion_tokens, token_weights, strict=True)
    return sum(group.prompt_tokens + n for n, weight in lengths if weight > 0)
