"""A checksum of a tensor's bytes that any device computes to the same integer, and that shards can be added up to.

A weight sync is proven by it: the learner sums what it sends, a generator what its engine really holds. The bytes are
taken as words of 8 (the last one filled up with zeros), w_i in row order:

    sum_i w_i (2i + 1)   and   sum_i (w_i >> 32) (2i + 1)     modulo 2^64, the second above the first in one integer

An odd factor makes any change of one word (a flipped bit, say) change the first sum. Two swapped words differ in their
lower halves, and then the first sum changes, or in their upper ones, and then the second does: neither loses more than
33 bits. Wrap-around integer arithmetic is exact and the same on CPU and GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch

WORD = 8
_MODULUS = 1 << 64
# Words at a time: on a CPU 2 MB, which stay in its cache; a GPU wants many.
_CPU_BLOCK, _GPU_BLOCK = 1 << 18, 1 << 24


def checksum(tensor: torch.Tensor, at: tuple[int, int] = (0, 0), columns: int | None = None) -> int:
    """The checksum of `tensor`, of any type and layout.

    With `at`, that of a part of a larger tensor, in which it lies at this row and column, and whose rows have `columns`
    elements (default: as many as the part's): the `add_checksums` of all parts is the checksum of the whole. A part of
    one dimension is a column.
    """
    tensor = tensor.detach()
    own = math.prod(tensor.shape[1:])
    columns, size = own if columns is None else columns, tensor.element_size()
    start = (at[0] * columns + at[1]) * size
    return _of_bytes(_bytes(tensor), start) if own == columns else _of_columns(tensor, columns * size, start)


def add_checksums(parts: Iterable[int]) -> int:
    """The checksum of the whole from those of its parts."""
    parts = list(parts)
    first, second = sum(part % _MODULUS for part in parts), sum(part // _MODULUS for part in parts)
    return first % _MODULUS + (second % _MODULUS) * _MODULUS


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def _of_columns(tensor: torch.Tensor, pitch: int, start: int) -> int:
    """Rows that lie `pitch` bytes apart, the first at byte `start` of the whole."""
    rows = _bytes(tensor).view(tensor.shape[0], -1)
    if pitch % WORD or start % WORD or rows.shape[1] % WORD:
        return add_checksums(_of_bytes(row, start + i * pitch) for i, row in enumerate(rows))
    return _of_words(rows.view(torch.int64), pitch // WORD, start // WORD)


def _of_bytes(flat: torch.Tensor, start: int) -> int:
    """Bytes in a row, the first at byte `start` of the whole."""
    before = start % WORD
    if before or flat.numel() % WORD or flat.data_ptr() % WORD or flat.storage_offset() % WORD:
        padded = flat.new_zeros(-(-(before + flat.numel()) // WORD) * WORD)
        padded[before : before + flat.numel()] = flat
        flat = padded
    words, start = flat.view(torch.int64), start // WORD
    whole = words.numel() // _CPU_BLOCK * _CPU_BLOCK
    blocks, rest = words[:whole].view(-1, _CPU_BLOCK), words[whole:].view(1, -1)
    return add_checksums([_of_words(blocks, _CPU_BLOCK, start), _of_words(rest, 0, start + whole)])


def _of_words(words: torch.Tensor, pitch: int, start: int) -> int:
    """Word [r, c] has index start + r * pitch + c: its factor is that of c, plus twice what lies before it."""
    rows, columns = words.shape
    if not words.numel():
        return 0
    odd = _odd_numbers(columns, words.device)
    block = max((_CPU_BLOCK if words.is_cpu else _GPU_BLOCK) // columns, 1)
    parts = []
    for low in words.split(block):
        high = low >> 32
        parts.append((_weighted(low, odd), low.sum(1), _weighted(high, odd), high.sum(1)))
    of_row = [torch.cat(column) for column in zip(*parts, strict=True)]
    before = 2 * (start + pitch * torch.arange(rows, dtype=torch.int64, device=words.device))
    first, second = torch.stack([of_row[0] + of_row[1] * before, of_row[2] + of_row[3] * before]).sum(1).tolist()
    return first % _MODULUS + (second % _MODULUS) * _MODULUS


def _weighted(words: torch.Tensor, odd: torch.Tensor) -> torch.Tensor:
    """[R, K] times [K]. CUDA has no integer matrix product; on a CPU numpy's is one pass, and faster than torch's."""
    if words.is_cpu:
        return torch.from_numpy(np.einsum("rk,k->r", words.numpy(), odd.numpy()))
    return (words * odd).sum(1)


def _odd_numbers(count: int, device: torch.device) -> torch.Tensor:
    return _many_odd_numbers(max(count, _CPU_BLOCK), device)[:count]


@lru_cache(maxsize=2)
def _many_odd_numbers(count: int, device: torch.device) -> torch.Tensor:
    return 2 * torch.arange(count, dtype=torch.int64, device=device) + 1
