"""Log-probabilities of the sampled tokens, at the temperature of the sampling.

    hidden [N, H] --in chunks: lm_head, log softmax, logits freed--> logprobs [N], entropy [N]
    backward      --in chunks: lm_head again-->  gradients of hidden and of the lm_head's weight
                  the entropy has a gradient only on request, for a bonus

The logits of all N tokens never exist together: for 32K tokens and a vocabulary of 152K they would take 20 GB, and
their gradient another 20 GB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch


def selected_logprobs(logits: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """log softmax(logits / temperature)[target] in float32 and nats: [.., T, V], [.., T] -> [.., T].

    The engine samples after temperature. The trainer must divide by the same temperature, or the importance ratio is
    wrong.
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
    entropy_gradient: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`selected_logprobs` and `entropy` of the logits hidden @ weight^T + bias, `chunk_tokens` tokens at a time.

    `hidden` is [N, H], `weight` [V, H], `bias` [V] or None, `targets` [N]. Returns two float32 tensors [N] in nats; the
    entropy has a gradient only with `entropy_gradient`. N may be 0.
    """
    logprobs, entropies = _ChunkedLogprobs.apply(
        hidden, weight, bias, targets, temperature, chunk_tokens, entropy_gradient
    )
    return logprobs, entropies


class _ChunkedLogprobs(torch.autograd.Function):
    """All chunks are one node of the graph, so that ZeRO-3 gathers `weight` once in each direction.

    Ranks with different numbers of chunks then still issue the same collectives.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        chunk_tokens: int,
        entropy_gradient: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.temperature, ctx.chunk_tokens, ctx.entropy_gradient = temperature, chunk_tokens, entropy_gradient
        logprobs, entropies, log_totals = (torch.empty(len(hidden), device=hidden.device) for _ in range(3))
        chunk_logprobs = _fused(_chunk_logprobs) if hidden.is_cuda else _chunk_logprobs
        for part in _chunks(len(hidden), chunk_tokens):
            logits = torch.nn.functional.linear(hidden[part], weight, bias)
            logprobs[part], entropies[part], log_totals[part] = chunk_logprobs(logits, targets[part], temperature)
        ctx.save_for_backward(hidden, weight, bias, targets, log_totals, entropies if entropy_gradient else None)
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, grad_entropy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, targets, log_totals, entropies = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        # Summed over the chunks in float32, also for a bfloat16 weight. A frozen weight (LoRA) gets none.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        chunk_gradient = _fused(_chunk_gradient) if hidden.is_cuda else _chunk_gradient
        entropy_gradient = _fused(_add_entropy_gradient) if hidden.is_cuda else _add_entropy_gradient
        for part in _chunks(len(hidden), ctx.chunk_tokens):
            logits = torch.nn.functional.linear(hidden[part], weight, bias)
            grad_logits = chunk_gradient(logits, targets[part], log_totals[part], grad[part], ctx.temperature)
            if ctx.entropy_gradient:
                logits = torch.nn.functional.linear(hidden[part], weight, bias)
                pull = log_totals[part], entropies[part], grad_entropy[part]
                grad_logits = entropy_gradient(grad_logits, logits, *pull, ctx.temperature)
            if grad_bias is not None:
                grad_bias += grad_logits.sum(0, dtype=torch.float32)
            grad_hidden[part] = grad_logits @ weight
            if grad_weight is not None:
                grad_weight += grad_logits.T @ hidden[part]
        bias_gradient = None if bias is None or grad_bias is None else grad_bias.to(bias.dtype)
        weight_gradient = None if grad_weight is None else grad_weight.to(weight.dtype)
        return grad_hidden, weight_gradient, bias_gradient, None, None, None, None


@cache
def _fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled: on a GPU each pass over the logits costs as much as a matrix product, and Inductor fuses a
    dozen passes into one."""
    return torch.compile(function)


def _chunk_logprobs(
    logits: torch.Tensor, targets: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[N, V], [N] -> log-probability, entropy and ln sum exp(logits / temperature), each float32 [N].

    Overwrites float32 `logits`, as `_chunk_gradient` does, because a copy would double the memory.
    """
    scaled = logits.float().div_(temperature)
    p = scaled.softmax(-1)
    # ln sum e^z from the most probable token, whose p is never 0: one exp instead of two, half the time on a CPU.
    log_total = scaled.amax(-1) - p.amax(-1).log()
    chosen = scaled.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    # -sum p ln p = ln sum e^z - sum p z
    return chosen - log_total, log_total - p.mul_(scaled).sum(-1), log_total


def _chunk_gradient(
    logits: torch.Tensor, targets: torch.Tensor, log_total: torch.Tensor, grad: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The gradient of the logits, [N, V], in their dtype: `grad` [N] times (1[target] - p) / temperature."""
    by_temperature, at = (grad / temperature).unsqueeze(-1), targets.unsqueeze(-1)
    log_p = logits.float().div_(temperature).sub_(log_total.unsqueeze(-1))
    # expm1 of the log-probability: 1 - p would lose its digits to rounding if p is nearly 1.
    of_target = -torch.expm1(log_p.gather(-1, at)) * by_temperature
    others = log_p.exp_().mul_(-by_temperature).to(logits.dtype)
    return others.scatter_(-1, at, of_target.to(logits.dtype))


def _add_entropy_gradient(
    grad_logits: torch.Tensor,
    logits: torch.Tensor,
    log_total: torch.Tensor,
    entropy: torch.Tensor,
    grad: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Adds the gradient of the entropy H to `grad_logits`: `grad` [N] times -p (ln p + H) / temperature.

    Overwrites both, so that three copies of the chunk's logits exist at once, as without a bonus.
    """
    log_p = logits.float().div_(temperature).sub_(log_total.unsqueeze(-1))
    of_entropy = log_p.exp().mul_(log_p.add_(entropy.unsqueeze(-1))).mul_((grad / -temperature).unsqueeze(-1))
    return grad_logits.add_(of_entropy)


def _chunks(count: int, chunk_tokens: int) -> Iterator[slice]:
    return (slice(start, start + chunk_tokens) for start in range(0, count, chunk_tokens))
