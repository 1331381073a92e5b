"""Flash attention over packed rows with PyTorch's own kernels, on a GPU: `model.attention=torch_varlen`.

    row [1, T], positions restart at each sequence --bounds, once a row--> [0, end of the first, ...] --> every layer
        many short sequences --> one call of the varlen kernel (FlashAttention-2)
        a few long ones      --> one call of cuDNN each, which is twice as fast there

Needs no flash-attn. Import this module before a model with this attention is opened.
"""

from __future__ import annotations

from inspect import signature
from itertools import pairwise
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

TORCH_VARLEN = "torch_varlen"
# From this mean length on cuDNN is faster on an H200: 1.3 times at 4,096 tokens, twice at 16,384; slower at 2,048.
LONG_TOKENS = 4096
# cuDNN takes 0.09 s to plan for each new length: lengths are rounded up to multiples of this.
CUDNN_STRIDE = 512


def bounds(position_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns the arguments of `attention` for a row's `position_ids`, [1, T]: the bounds of its n sequences, int32
    [n + 1], on the row's device and on the host. Raises ValueError for a batch of several rows."""
    if len(position_ids) != 1:
        raise ValueError(f"{len(position_ids)} rows at once with model.attention={TORCH_VARLEN}: it takes one")
    starts = (position_ids[0] == 0).nonzero().flatten().cpu()
    ends = torch.cat([starts, torch.tensor([position_ids.shape[1]])]).int()
    return {"bounds": ends.to(position_ids.device), "bounds_on_host": ends}


# A graph break for compiled layers: the bounds differ in each row, and each would compile another graph.
@torch.compiler.disable
def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    bounds: torch.Tensor,
    bounds_on_host: torch.Tensor,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' interface: query [1, heads, T, D], key and value [1, key-value heads, T, D] -> [1, T, heads, D]."""
    sequences = list(pairwise(bounds_on_host.tolist()))
    if query.shape[2] >= LONG_TOKENS * len(sequences):
        each = [_alone(*(x[:, :, a:b] for x in (query, key, value)), scaling=scaling) for a, b in sequences]
        return torch.cat(each, dim=2).transpose(1, 2), None
    from torch.nn.attention.varlen import varlen_attn

    queries, keys, values = (x[0].transpose(0, 1) for x in (query, key, value))
    longest = max(end - begin for begin, end in sequences)
    causal = (-1, 0)
    # PyTorch 2.13 needs this argument for grouped heads; PyTorch 2.11 takes grouped heads without it.
    grouped: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}
    found: Any = varlen_attn(
        queries, keys, values, bounds, bounds, longest, longest, scale=scaling, window_size=causal, **grouped
    )
    return found.unsqueeze(0), None


def _alone(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scaling: float) -> torch.Tensor:
    length = query.shape[2]
    # Padding after the last token, which does not attend to it.
    query, key, value = (pad(x, (0, 0, 0, -length % CUDNN_STRIDE)) for x in (query, key, value))
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):
        found = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)
    return found[:, :, :length]


# transformers makes no mask for an attention that is registered here.
AttentionInterface.register(TORCH_VARLEN, attention)
