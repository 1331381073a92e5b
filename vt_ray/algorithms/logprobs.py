"""Log-probabilities of chosen tokens, at the temperature they were sampled with."""

from __future__ import annotations

import torch


def selected_logprobs(logits: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """log softmax(logits / temperature)[target], in float32.

    `logits` is [.., T, V], `targets` [.., T]; returns [.., T] in nats. The engine samples after temperature: the
    trainer must divide by the same one or the importance ratio is wrong whenever it is not 1.
    """
    scaled = logits.float() / temperature
    chosen = scaled.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return chosen - scaled.logsumexp(-1)


def entropy(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Entropy in nats of softmax(logits / temperature): [.., T, V] -> [.., T]."""
    log_p = torch.log_softmax(logits.float() / temperature, dim=-1)
    return -(log_p.exp() * log_p).sum(-1)
