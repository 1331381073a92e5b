"""Sequences into rows: several in one row, told apart by positions that do not run on, within a token budget.

    TrainSequence* --first fit decreasing--> Row* --stack--> micro-batches [B, T]

    pack           [prompt c1][prompt c2][prompt c3]    positions restart at 0
    pack_branches  [prompt c1][c2][c3]                  at the prompt's last token: what lies before is shared

A row's tokens predict the next token of the same sequence: `targets[t]` is `token_ids[t + 1]`, and the last
token of each sequence predicts nothing (weight 0). Attention must not cross from one sequence into another; a branch
that begins at position k sees the first k tokens behind the last position 0, and its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import numpy as np
import torch

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class TrainSequence:
    """A prompt with one completion. `token_weight` is the weight of each completion token in the loss;
    `rollout_logprobs` (as long as the completion) is empty for SFT."""

    prompt_ids: tuple[int, ...]
    completion_ids: Sequence[int] | np.ndarray
    token_weight: float
    advantage: float = 0.0
    rollout_logprobs: Sequence[float] | np.ndarray = ()

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True, slots=True)
class Row:
    """One packed row of T tokens, every tensor [T], or a micro-batch of rows, every tensor [B, T]: int64 ids,
    positions and targets, float32 the rest."""

    token_ids: torch.Tensor
    position_ids: torch.Tensor
    targets: torch.Tensor
    token_weights: torch.Tensor
    advantages: torch.Tensor
    rollout_logprobs: torch.Tensor


def pack(sequences: Sequence[TrainSequence], max_tokens: int) -> list[Row]:
    """Rows of at most `max_tokens`, first fit by decreasing length; a longer sequence gets a row of its own."""
    return [make_row(members) for members in _first_fit(sequences, len, max_tokens)]


def pack_branches(sequences: Sequence[TrainSequence], max_tokens: int) -> list[Row]:
    """As `pack`, with the prompt of neighbours that have the same one computed once for as many as fit in a row."""
    groups = [list(members) for _, members in groupby(sequences, key=lambda s: s.prompt_ids)]
    branched = [part for members in groups for part in _parts(members, max_tokens)]
    return [
        Row(*(torch.cat(column) for column in zip(*map(_branched, bin), strict=True)))
        for bin in _first_fit(branched, _branched_len, max_tokens)
    ]


def _first_fit(items: Sequence[Item], size: Callable[[Item], int], max_tokens: int) -> list[list[Item]]:
    bins: list[list[Item]] = []
    room: list[int] = []
    for item in sorted(items, key=size, reverse=True):
        index = next((i for i, free in enumerate(room) if free >= size(item)), None)
        if index is None:
            bins.append([])
            room.append(max_tokens)
            index = len(bins) - 1
        bins[index].append(item)
        room[index] -= size(item)
    return bins


def _branched_len(members: Sequence[TrainSequence]) -> int:
    return len(members[0].prompt_ids) - 1 + sum(len(s.completion_ids) for s in members)


def _parts(members: Sequence[TrainSequence], max_tokens: int) -> Iterator[list[TrainSequence]]:
    """In order, as many sequences of one prompt at a time as fit with it in `max_tokens`, at least one."""
    part: list[TrainSequence] = []
    for sequence in members:
        if part and _branched_len([*part, sequence]) > max_tokens:
            yield part
            part = []
        part.append(sequence)
    yield part


def _branched(members: Sequence[TrainSequence]) -> list[torch.Tensor]:
    """Columns of sequences of one prompt: the first whole, of the others what follows the tokens that all share. The
    prompt's last token stays in each, since it predicts another one there. Last tokens predict none and are left out.
    """
    shared = len(members[0].prompt_ids) - 1
    columns = zip(*map(_columns_of_one, members), strict=True)
    return [torch.cat([column[0][:-1], *(c[shared:-1] for c in column[1:])]) for column in columns]


def make_row(sequences: Sequence[TrainSequence]) -> Row:
    """The sequences one after the other, positions restarting at each."""
    return Row(*(torch.cat(column) for column in zip(*map(_columns_of_one, sequences), strict=True)))


def _columns_of_one(s: TrainSequence) -> tuple[torch.Tensor, ...]:
    """What a row holds of one sequence, each [T]."""
    # Positions that predict a completion token: from the last prompt token to the last but one.
    predicting = slice(len(s.prompt_ids) - 1, len(s) - 1)
    tokens = torch.cat([torch.tensor(ids, dtype=torch.int64) for ids in (s.prompt_ids, s.completion_ids)])
    token_weights, logprobs = torch.zeros(len(s)), torch.zeros(len(s))
    token_weights[predicting] = s.token_weight
    if len(s.rollout_logprobs):
        logprobs[predicting] = torch.tensor(s.rollout_logprobs, dtype=torch.float32)
    targets = torch.cat([tokens[1:], torch.zeros(1, dtype=torch.int64)])
    return tokens, torch.arange(len(s)), targets, token_weights, torch.full((len(s),), float(s.advantage)), logprobs


def stack(rows: Sequence[Row], rows_per_batch: int) -> list[Row]:
    """Micro-batches of at most `rows_per_batch` rows. Shorter rows are filled up with tokens of weight 0 behind their
    last sequence, which cannot see them; its positions run on, so a batch of unpacked rows needs no mask at all."""
    batches = (rows[i : i + rows_per_batch] for i in range(0, len(rows), rows_per_batch))
    return [
        Row(*(torch.stack(parts) for parts in zip(*map(_columns, _filled(batch)), strict=True))) for batch in batches
    ]


def _filled(rows: Sequence[Row]) -> list[Row]:
    longest = max(len(row.token_ids) for row in rows)
    return [_fill(row, longest - len(row.token_ids)) for row in rows]


def _fill(row: Row, count: int) -> Row:
    zeros = torch.zeros(count, dtype=torch.int64)
    positions = torch.arange(count) + (row.position_ids[-1] + 1 if len(row.position_ids) else 0)
    fillings = (zeros, positions, zeros, *[zeros.float()] * 3)
    return Row(*map(torch.cat, zip(_columns(row), fillings, strict=True)))


def slice_of_row(row: Row, index: int, count: int) -> Row:
    """The `index`-th of `count` equal parts of a row [T], filled up where `count` does not divide T. Targets are
    shifted already, so no token needs its neighbour."""
    filled = _fill(row, -len(row.token_ids) % count)
    size = len(filled.token_ids) // count
    return Row(*(column[index * size : (index + 1) * size] for column in _columns(filled)))


def sequence_ids(position_ids: torch.Tensor) -> torch.Tensor:
    """[B, T] or [T] -> the same shape: which sequence a token belongs to, counted through all rows of the batch from
    0. A sequence begins where positions do not run on, and at each row."""
    begins = torch.ones_like(position_ids, dtype=torch.bool)
    begins[..., 1:] = position_ids[..., 1:] != position_ids[..., :-1] + 1
    return (begins.flatten().cumsum(0) - 1).view_as(position_ids)


def _columns(row: Row) -> list[torch.Tensor]:
    return [getattr(row, name) for name in Row.__slots__]


def empty_batch() -> Row:
    """[1, 2] of weight 0: what a rank computes when the others still have rows (ZeRO-3 would hang)."""
    return stack([make_row([TrainSequence((0,), (0,), 0.0)])], 1)[0]


def deal(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """Indices for each rank, longest first to the least loaded, so that ranks finish together."""
    shares: list[list[int]] = [[] for _ in range(ranks)]
    load = [0] * ranks
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        rank = load.index(min(load))
        shares[rank].append(index)
        load[rank] += lengths[index]
    return shares
