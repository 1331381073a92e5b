"""The order of the data, as a function of the seed: nothing to save, nothing to lose on a restart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vt_ray.data.prompts import sample_seed


def batch_indices(pool_size: int, batch_size: int, step: int, key: Sequence[object]) -> list[int]:
    """Indices of batch number `step` (from 0) when epochs of fresh permutations follow one another.

    A batch holds no index twice: what an epoch's last whole batch leaves over waits for the next shuffle. Only a
    pool smaller than a batch repeats itself. Raises ValueError for an empty pool.
    """
    if pool_size < 1:
        raise ValueError("the pool of problems is empty: raise data.train_per_subdomain or check subdomains")
    per_epoch = max(pool_size // batch_size, 1)
    epoch, index = divmod(step, per_epoch)
    order = _permutation(pool_size, epoch, key)
    return [int(order[(index * batch_size + i) % pool_size]) for i in range(batch_size)]


def _permutation(size: int, epoch: int, key: Sequence[object]) -> np.ndarray:
    return np.random.default_rng(sample_seed("order", epoch, *key)).permutation(size)
