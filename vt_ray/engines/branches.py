"""Attention over rows whose sequences share their prompts: `learner.share_prompts`.

    row [1, T]   [prompt c1][c2][c3]  [prompt c1][c2] ..      algorithms.packing.pack_branches
                  trunk      branches  trunk      branch
    trunks    [n, longest trunk]              causal
    branches  [m, longest branch] over [m, longest prompt + longest branch]: the trunk's first tokens, then their own

All other layers run over the flat row, so the tokens of a prompt are computed once for all its completions. Import this
module before a model with this attention is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from vt_ray.algorithms.packing import sequence_ids

SHARED_PROMPTS = "shared_prompts"


@dataclass(frozen=True)
class Branches:
    """The layout of a row as trunks [n, trunk] followed by branches [m, branch], flattened.

    `places` int64 [T] are the positions of the row's tokens in it. `trunk_of` int64 [m] is the trunk of each branch,
    `shared` the largest number of trunk tokens that a branch attends to, `mask` bool [m, 1, branch, shared + branch].
    """

    places: torch.Tensor
    trunks: tuple[int, int]
    branches: tuple[int, int]
    trunk_of: torch.Tensor
    shared: int
    mask: torch.Tensor


def branches(position_ids: torch.Tensor) -> dict[str, Branches]:
    """Returns the arguments of `attention` for a row's `position_ids`, [1, T]. Raises ValueError for several rows."""
    if len(position_ids) != 1:
        raise ValueError(f"{len(position_ids)} rows at once with learner.share_prompts: it takes one")
    positions = position_ids[0]
    device, tokens = positions.device, torch.arange(len(positions), device=positions.device)
    part_of = sequence_ids(positions)
    lengths = part_of.bincount()
    starts = lengths.cumsum(0) - lengths
    seen = positions[starts]
    is_trunk = seen == 0
    num_trunks, num_branches = int(is_trunk.sum()), int((~is_trunk).sum())
    trunk, branch, shared = int(lengths[is_trunk].max()), _most(lengths[~is_trunk]), _most(seen)
    # The position of the first token of each part: all trunks in order, then all branches in order.
    base = torch.where(
        is_trunk, (is_trunk.cumsum(0) - 1) * trunk, num_trunks * trunk + ((~is_trunk).cumsum(0) - 1) * branch
    )
    own, key = torch.arange(branch, device=device), torch.arange(shared + branch, device=device)
    of_trunk = key < seen[~is_trunk, None, None]
    of_itself = (key >= shared) & (key - shared <= own[:, None])
    found = Branches(
        places=base[part_of] + tokens - starts[part_of],
        trunks=(num_trunks, trunk),
        branches=(num_branches, branch),
        trunk_of=(is_trunk.cumsum(0) - 1)[~is_trunk],
        shared=shared,
        mask=(of_trunk | of_itself).unsqueeze(1),
    )
    return {"branches": found}


def _most(values: torch.Tensor) -> int:
    return int(values.max()) if len(values) else 0


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    branches: Branches,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' interface: query [1, heads, T, D], key and value [1, key-value heads, T, D] -> [1, T, heads, D]."""
    (n, trunk), (m, branch) = branches.trunks, branches.branches
    size = n * trunk + m * branch
    laid = [_Lay.apply(x[0].transpose(0, 1), branches.places, size) for x in (query, key, value)]
    # [n, heads, trunk, D] and [m, heads, branch, D].
    of_trunks = [x[: n * trunk].unflatten(0, (n, trunk)).transpose(1, 2) for x in laid]
    of_branches = [x[n * trunk :].unflatten(0, (m, branch)).transpose(1, 2) for x in laid]
    times = query.shape[1] // key.shape[1]
    answers = [_attend(*of_trunks, times=times, scaling=scaling, is_causal=True)]
    if m:
        keys, values = (
            torch.cat([on_trunk[:, :, : branches.shared].index_select(0, branches.trunk_of), own], dim=2)
            for on_trunk, own in zip(of_trunks[1:], of_branches[1:], strict=True)
        )
        answers.append(_attend(of_branches[0], keys, values, times=times, scaling=scaling, attn_mask=branches.mask))
    flat = torch.cat([answer.transpose(1, 2).flatten(0, 1) for answer in answers])
    return _Take.apply(flat, branches.places).unsqueeze(0), None


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, times: int, scaling: float, **which: Any
) -> torch.Tensor:
    """Attention with each key-value head repeated for `times` query heads."""
    key, value = (x.repeat_interleave(times, dim=1) if times > 1 else x for x in (key, value))
    return scaled_dot_product_attention(query, key, value, scale=scaling, **which)


class _Lay(torch.autograd.Function):
    """Puts the rows of `x`, [T, ...], at `places` of a tensor of `size` rows, with 0 in all others.

    PyTorch's gradient of indexing adds row by row. Here each row has one place, so that a selection is enough.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, places: torch.Tensor, size: int) -> torch.Tensor:
        ctx.save_for_backward(places)
        return x.new_zeros(size, *x.shape[1:]).index_copy_(0, places, x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        return grad.index_select(0, places), None, None


class _Take(torch.autograd.Function):
    """The inverse of `_Lay`: selects the rows at `places`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places)
        ctx.size = len(x)
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        return grad.new_zeros(ctx.size, *grad.shape[1:]).index_copy_(0, places, grad), None


# transformers makes no mask for an attention that is registered here.
AttentionInterface.register(SHARED_PROMPTS, attention)
