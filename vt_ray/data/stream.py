"""The order of the data, as a function of the seed: nothing to save, nothing to lose on a restart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vt_ray.data.prompts import sample_seed


def batch_indices(pool_size: int, batch_size: int, step: int, key: Sequence[object]) -> list[int]:
    """Indices of batch number `step` (from 0) when epochs of fresh permutations follow one another.

    Batches run on across epoch borders. Raises ValueError for an empty pool.
    """
    if pool_size < 1:
        raise ValueError("the pool of problems is empty: raise data.train_per_subdomain or check subdomains")
    first = step * batch_size
    positions = range(first, first + batch_size)
    epochs = {position // pool_size for position in positions}
    order = {epoch: _permutation(pool_size, epoch, key) for epoch in epochs}
    return [int(order[position // pool_size][position % pool_size]) for position in positions]


def _permutation(size: int, epoch: int, key: Sequence[object]) -> np.ndarray:
    return np.random.default_rng(sample_seed("order", epoch, *key)).permutation(size)
