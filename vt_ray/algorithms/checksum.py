"""A checksum of a tensor's bytes that any device computes to the same integer.

A weight sync is proven by it: the learner sums what it sends, a generator what its engine really holds.
"""

from __future__ import annotations

import torch

_WORD = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_CHUNK = 1 << 20
_MULTIPLIER = 0x9E3779B1


def checksum(tensor: torch.Tensor) -> int:
    """sum_i word_i * m_i modulo 2^64, words of the element's width in row order, m_i odd and different for each i.

    An odd factor makes any change of one word (a flipped bit, say) change the sum; the factor's dependence on i
    makes swapped words change it. Wrap-around integer arithmetic is exact and the same on CPU and GPU.
    """
    words = tensor.detach().contiguous().view(-1).view(_WORD[tensor.element_size()])
    total = torch.zeros((), dtype=torch.int64, device=words.device)
    for start in range(0, words.numel(), _CHUNK):
        part = words[start : start + _CHUNK].to(torch.int64)
        index = torch.arange(start, start + part.numel(), dtype=torch.int64, device=words.device)
        total += (part * (2 * _MULTIPLIER * (index + 1) + 1)).sum()
    return int(total.item())
