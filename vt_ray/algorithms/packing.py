"""Packing: several sequences in one row of at most a given number of tokens.

    TrainSequence* --first fit decreasing--> Row* --stack--> micro-batches [B, T]

    pack           [prompt c1][prompt c2][prompt c3]    positions restart at 0
    pack_branches  [prompt c1][c2][c3]                  positions restart at the prompt's last token; it is shared

A sequence begins where a position is not its predecessor plus 1. Attention must not cross from one sequence into
another. A branch that begins at position k attends to the first k tokens after the last position 0, and to its own.

`targets[t]` is `token_ids[t + 1]`; the last token of a sequence predicts nothing and has weight 0.
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
    """A prompt with one completion. `token_weight` is the weight of each completion token in the loss.
    `rollout_logprobs` has one value for each completion token, and is empty for SFT."""

    prompt_ids: tuple[int, ...]
    completion_ids: Sequence[int] | np.ndarray
    token_weight: float
    advantage: float = 0.0
    rollout_logprobs: Sequence[float] | np.ndarray = ()

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True, slots=True)
class Row:
    """A packed row, every tensor [T], or a micro-batch of rows, every tensor [B, T]. Token ids, positions and targets
    are int64, the rest float32. `progress` is the share of the completion before its token, in [0, 1)."""

    token_ids: torch.Tensor
    position_ids: torch.Tensor
    targets: torch.Tensor
    token_weights: torch.Tensor
    advantages: torch.Tensor
    rollout_logprobs: torch.Tensor
    progress: torch.Tensor

    def to(self, device: torch.device) -> Row:
        return Row(*(getattr(self, name).to(device) for name in Row.__slots__))


def pack(sequences: Sequence[TrainSequence], max_tokens: int) -> list[Row]:
    """Rows of at most `max_tokens`, by first fit in order of decreasing length. A longer sequence gets its own row."""
    return [make_row(members) for members in _first_fit(sequences, len, max_tokens)]


def pack_branches(sequences: Sequence[TrainSequence], max_tokens: int) -> list[Row]:
    """As `pack`, but successive sequences with the same prompt share one copy of it, as many as fit in a row."""
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
    """Splits sequences with one prompt into parts that fit in `max_tokens` with the prompt. A part has at least one."""
    part: list[TrainSequence] = []
    for sequence in members:
        if part and _branched_len([*part, sequence]) > max_tokens:
            yield part
            part = []
        part.append(sequence)
    yield part


def _branched(members: Sequence[TrainSequence]) -> list[torch.Tensor]:
    """The columns of sequences with one prompt: the first sequence whole, the others without the shared tokens.

    Each branch keeps the prompt's last token, because it predicts a different token there. The last token of each
    sequence predicts nothing and is left out.
    """
    shared = len(members[0].prompt_ids) - 1
    columns = zip(*map(_columns_of_one, members), strict=True)
    return [torch.cat([column[0][:-1], *(c[shared:-1] for c in column[1:])]) for column in columns]


def make_row(sequences: Sequence[TrainSequence]) -> Row:
    """One row with the sequences in order. Positions restart at 0 in each."""
    return Row(*(torch.cat(column) for column in zip(*map(_columns_of_one, sequences), strict=True)))


def _columns_of_one(s: TrainSequence) -> tuple[torch.Tensor, ...]:
    """The fields of `Row` for one sequence, each [T]."""
    # The positions that predict a completion token: from the last prompt token to the last token but one.
    predicting = slice(len(s.prompt_ids) - 1, len(s) - 1)
    tokens = torch.cat([torch.tensor(ids, dtype=torch.int64) for ids in (s.prompt_ids, s.completion_ids)])
    token_weights, logprobs, progress = (torch.zeros(len(s)) for _ in range(3))
    token_weights[predicting] = s.token_weight
    progress[predicting] = torch.arange(len(s.completion_ids)) / max(len(s.completion_ids), 1)
    if len(s.rollout_logprobs):
        logprobs[predicting] = torch.tensor(s.rollout_logprobs, dtype=torch.float32)
    targets = torch.cat([tokens[1:], torch.zeros(1, dtype=torch.int64)])
    advantages = torch.full((len(s),), float(s.advantage))
    return tokens, torch.arange(len(s)), targets, token_weights, advantages, logprobs, progress


def stack(rows: Sequence[Row], rows_per_batch: int) -> list[Row]:
    """Micro-batches of at most `rows_per_batch` rows.

    Shorter rows are padded on the right with tokens of weight 0, which no earlier token attends to. The padding
    continues the positions of the last sequence, so a batch of rows with one sequence each needs no attention mask.
    """
    batches = (rows[i : i + rows_per_batch] for i in range(0, len(rows), rows_per_batch))
    return [
        Row(*(torch.stack(parts) for parts in zip(*map(_columns, _padded(batch)), strict=True))) for batch in batches
    ]


def _padded(rows: Sequence[Row]) -> list[Row]:
    longest = max(len(row.token_ids) for row in rows)
    return [_pad(row, longest - len(row.token_ids)) for row in rows]


def _pad(row: Row, count: int) -> Row:
    zeros = torch.zeros(count, dtype=torch.int64)
    positions = torch.arange(count) + (row.position_ids[-1] + 1 if len(row.position_ids) else 0)
    padding = (zeros, positions, zeros, *[zeros.float()] * 4)
    return Row(*map(torch.cat, zip(_columns(row), padding, strict=True)))


def slice_of_row(row: Row, index: int, count: int) -> Row:
    """Part `index` of `count` equal parts of a row [T], which is padded if `count` does not divide T. Targets are
    already shifted, so no part needs a token of its neighbour."""
    padded = _pad(row, -len(row.token_ids) % count)
    size = len(padded.token_ids) // count
    return Row(*(column[index * size : (index + 1) * size] for column in _columns(padded)))


def sequence_ids(position_ids: torch.Tensor) -> torch.Tensor:
    """The number of the sequence of each token, counted from 0 over all rows: [B, T] or [T] -> the same shape.

    A sequence begins at each row, and where a position is not its predecessor plus 1.
    """
    begins = torch.ones_like(position_ids, dtype=torch.bool)
    begins[..., 1:] = position_ids[..., 1:] != position_ids[..., :-1] + 1
    return (begins.flatten().cumsum(0) - 1).view_as(position_ids)


def _columns(row: Row) -> list[torch.Tensor]:
    return [getattr(row, name) for name in Row.__slots__]


def empty_batch() -> Row:
    """A batch [1, 2] with weight 0, for a rank that has fewer batches than the others: ZeRO-3 would hang."""
    return stack([make_row([TrainSequence((0,), (0,), 0.0)])], 1)[0]


def balance(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """The indices for each rank: the longest sequence first, each to the rank with the fewest tokens so far."""
    shares: list[list[int]] = [[] for _ in range(ranks)]
    load = [0] * ranks
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        rank = load.index(min(load))
        shares[rank].append(index)
        load[rank] += lengths[index]
    return shares
