"""Flash attention over packed rows by PyTorch's own kernels, on a GPU: `model.attention=torch_varlen`.

    row [1, T], positions restart at each sequence --bounds, once a row--> [0, end of the first, ...] --> every layer
        many short sequences --> one call of the varlen kernel (FlashAttention-2)
        a few long ones      --> each by cuDNN, twice as fast there

Needs no flash-attn. It must be imported before a model of that name is opened.
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
# From this mean length on cuDNN wins on an H200: 1.3 times at 4,096 tokens, twice at 16,384; at 2,048 it loses.
LONG_TOKENS = 4096
# cuDNN takes 0.09 s to plan for a length that it has not seen: lengths are rounded up to multiples of this.
CUDNN_STRIDE = 512


def bounds(position_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """What `attention` must know of a row's `position_ids`, [1, T]: where its sequences begin and end, int32 [n + 1],
    on their device and on the host. Raises ValueError for a batch of several rows."""
    if len(position_ids) != 1:
        raise ValueError(f"{len(position_ids)} rows at once with model.attention={TORCH_VARLEN}: it takes one")
    starts = (position_ids[0] == 0).nonzero().flatten().cpu()
    ends = torch.cat([starts, torch.tensor([position_ids.shape[1]])]).int()
    return {"bounds": ends.to(position_ids.device), "bounds_on_host": ends}


# Compiled layers break here: bounds differ from row to row, and a graph for each would be compiled anew.
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
        each = [_alone(*(x[:, :, begin:end] for x in (query, key, value)), scaling) for begin, end in sequences]
        return torch.cat(each, dim=2).transpose(1, 2), None
    from torch.nn.attention.varlen import varlen_attn

    tokens_first = [x[0].transpose(0, 1) for x in (query, key, value)]
    longest = max(end - begin for begin, end in sequences)
    causal = (-1, 0)
    # PyTorch 2.11 has no such argument, and its kernel takes grouped heads as they are; 2.13 has to be told.
    grouped = {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}
    found = varlen_attn(*tokens_first, bounds, bounds, longest, longest, scale=scaling, window_size=causal, **grouped)
    return found.unsqueeze(0), None


def _alone(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    length = query.shape[2]
    # Behind the last token, which cannot see them.
    filled = [pad(x, (0, 0, 0, -length % CUDNN_STRIDE)) for x in (query, key, value)]
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):
        return scaled_dot_product_attention(*filled, is_causal=True, scale=scaling, enable_gqa=True)[:, :, :length]


# transformers makes no mask for an attention of another's.
AttentionInterface.register(TORCH_VARLEN, attention)
