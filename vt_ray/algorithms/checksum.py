"""A checksum of a tensor's bytes: the same integer on every device, and the checksums of shards add up to the whole's.

It proves a weight sync: the learner computes it for the tensors that it sends, a generator for the tensors that its
engine holds. The bytes are read as words w_i of 8 bytes in row order, the last word filled up with zeros:

    sum_i w_i (2i + 1)   and   sum_i (w_i >> 32) (2i + 1)     modulo 2^64, the second above the first in one integer

A change of one word changes the first sum, because its factor is odd. Two swapped words change the first sum if their
lower halves differ, and the second sum if their upper halves differ. Integer arithmetic modulo 2^64 is exact and gives
the same result on CPU and GPU. Held by tests/unit/test_checksum_and_buckets.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch

WORD = 8
_MODULUS = 1 << 64
# Words that are read at a time: 2 MB on a CPU, which fit in its cache; more on a GPU, which needs large kernels.
_CPU_BLOCK, _GPU_BLOCK = 1 << 18, 1 << 24


def checksum(tensor: torch.Tensor, at: tuple[int, int] = (0, 0), columns: int | None = None) -> int:
    """The checksum of `tensor`, of any dtype and layout.

    `at` is (row, column) of the first element if `tensor` is a part of a larger tensor, whose rows have `columns`
    elements (default: the part's own). `add_checksums` of all parts gives the checksum of the larger tensor. A part
    with one dimension is a column.
    """
    tensor = tensor.detach()
    own = math.prod(tensor.shape[1:])
    columns, size = own if columns is None else columns, tensor.element_size()
    start = (at[0] * columns + at[1]) * size
    return _of_bytes(_bytes(tensor), start) if own == columns else _of_columns(tensor, columns * size, start)


def add_checksums(parts: Iterable[int]) -> int:
    """The checksum of a tensor from the checksums of its parts."""
    parts = list(parts)
    first, second = sum(part % _MODULUS for part in parts), sum(part // _MODULUS for part in parts)
    return first % _MODULUS + (second % _MODULUS) * _MODULUS


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def _of_columns(tensor: torch.Tensor, pitch: int, start: int) -> int:
    """The checksum of rows `pitch` bytes apart, whose first byte is byte `start` of the larger tensor."""
    rows = _bytes(tensor).view(tensor.shape[0], -1)
    if pitch % WORD or start % WORD or rows.shape[1] % WORD:
        return add_checksums(_of_bytes(row, start + i * pitch) for i, row in enumerate(rows))
    return _of_words(rows.view(torch.int64), pitch // WORD, start // WORD)


def _of_bytes(flat: torch.Tensor, start: int) -> int:
    """The checksum of contiguous bytes, from byte `start` of the larger tensor."""
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
    """The checksum of words [R, C], where word [r, c] has the index start + r * pitch + c.

    Its factor 2 * index + 1 is split into (2c + 1), the same for all rows, and 2 * (start + r * pitch), one for a row.
    """
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
    """[R, K] times [K]. CUDA has no integer matrix product. On a CPU numpy is faster than torch: one pass."""
    if words.is_cpu:
        return torch.from_numpy(np.einsum("rk,k->r", words.numpy(), odd.numpy()))
    return (words * odd).sum(1)


def _odd_numbers(count: int, device: torch.device) -> torch.Tensor:
    return _many_odd_numbers(max(count, _CPU_BLOCK), device)[:count]


@lru_cache(maxsize=2)
def _many_odd_numbers(count: int, device: torch.device) -> torch.Tensor:
    return 2 * torch.arange(count, dtype=torch.int64, device=device) + 1
