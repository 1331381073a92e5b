"""Log-probabilities of chosen tokens, at the temperature they were sampled with.

    hidden [N, H] --chunk by chunk: lm_head, log softmax, thrown away--> logprobs [N], entropy [N]
    backward      --chunk by chunk: lm_head again-->  gradients of hidden and of the lm_head's weight

Logits [N, V] never exist at once: 32K tokens over a vocabulary of 152K would take 20 GB, and their gradient as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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


def chunked_logprobs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    temperature: float,
    chunk_tokens: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`selected_logprobs` and `entropy` of the logits hidden @ weight^T + bias, `chunk_tokens` of them at a time.

    `hidden` is [N, H], `weight` [V, H], `bias` [V] or None, `targets` [N]. Returns two float32 [N] in nats; the
    entropy has no gradient. N may be 0.
    """
    logprobs, entropies = _ChunkedLogprobs.apply(hidden, weight, bias, targets, temperature, chunk_tokens)
    return logprobs, entropies


class _ChunkedLogprobs(torch.autograd.Function):
    """One node of the graph, so that ZeRO-3 gathers `weight` once before it, in each direction, however many chunks
    there are: ranks with unlike numbers of them still meet in their collectives."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        chunk_tokens: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.temperature, ctx.chunk_tokens = temperature, chunk_tokens
        logprobs, entropies = (torch.empty(len(hidden), device=hidden.device) for _ in range(2))
        for part in _chunks(len(hidden), chunk_tokens):
            scaled = _scaled_logits(hidden[part], weight, bias, temperature)
            p = scaled.softmax(-1)
            # ln sum e^z from the likeliest token, whose p cannot vanish: one exp instead of two, half the time.
            log_total = scaled.amax(-1) - p.amax(-1).log()
            logprobs[part] = scaled.gather(-1, targets[part].unsqueeze(-1)).squeeze(-1) - log_total
            # -sum p ln p = ln sum e^z - sum p z
            entropies[part] = log_total - p.mul_(scaled).sum(-1)
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        # Summed in float32 over the chunks, whatever the weight's own type.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        for part in _chunks(len(hidden), ctx.chunk_tokens):
            # d logprob / d logits = (1[target] - p) / temperature
            by_temperature = (grad[part] / ctx.temperature).unsqueeze(-1)
            p = _scaled_logits(hidden[part], weight, bias, ctx.temperature).softmax(-1)
            grad_logits = p.mul_(-by_temperature).scatter_add_(-1, targets[part].unsqueeze(-1), by_temperature)
            if grad_bias is not None:
                grad_bias += grad_logits.sum(0)
            grad_logits = grad_logits.to(weight.dtype)
            grad_hidden[part] = grad_logits @ weight
            grad_weight += grad_logits.T @ hidden[part]
        bias_gradient = None if bias is None or grad_bias is None else grad_bias.to(bias.dtype)
        return grad_hidden, grad_weight.to(weight.dtype), bias_gradient, None, None, None


def _chunks(count: int, chunk_tokens: int) -> Iterator[slice]:
    return (slice(start, start + chunk_tokens) for start in range(0, count, chunk_tokens))


def _scaled_logits(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, temperature: float
) -> torch.Tensor:
    return torch.nn.functional.linear(hidden, weight, bias).float().div_(temperature)
