"""The order of the data, as a function of the seed, so that a restart needs no saved state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vt_ray.data.prompts import sample_seed


def batch_indices(pool_size: int, batch_size: int, step: int, key: Sequence[object]) -> list[int]:
    """Returns the indices of batch number `step` (from 0). Each epoch is a new permutation of the pool.

    A batch holds no index twice: the rest after the last whole batch of an epoch is left out. Only a pool smaller than
    a batch is repeated. Raises ValueError for an empty pool.
    """
    if pool_size < 1:
        raise ValueError("the pool of problems is empty: raise data.train_per_subdomain or check subdomains")
    per_epoch = max(pool_size // batch_size, 1)
    epoch, index = divmod(step, per_epoch)
    order = _permutation(pool_size, epoch, key)
    return [int(order[(index * batch_size + i) % pool_size]) for i in range(batch_size)]


def refill_indices(pool_size: int, key: Sequence[object]) -> list[int]:
    """Returns a permutation of the pool, from which a step takes its prompts beyond the batch."""
    return [int(i) for i in _permutation(pool_size, 0, key)]


def weighted_indices(weights: Sequence[float], count: int, key: Sequence[object]) -> list[int]:
    """Returns `count` different indices, drawn one after the other with probabilities proportional to `weights` (>= 0).

    Uses the Gumbel trick: the `count` largest of log w_i + g_i. If too few weights are above 0, the others follow.
    """
    gumbel = np.random.default_rng(sample_seed("weighted", *key)).gumbel(size=len(weights))
    with np.errstate(divide="ignore"):
        scores = np.log(np.asarray(weights, dtype=np.float64)) + gumbel
    # lexsort: by score, and by the noise alone for weights of 0.
    return [int(i) for i in np.lexsort((-gumbel, -scores))[:count]]


def _permutation(size: int, epoch: int, key: Sequence[object]) -> np.ndarray:
    return np.random.default_rng(sample_seed("order", epoch, *key)).permutation(size)
