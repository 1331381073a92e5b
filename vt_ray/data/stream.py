"""The order of the data, as a function of the seed, so that a restart needs no saved state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vt_ray.data.mixture import Mixture
from vt_ray.data.prompts import sample_seed


def batch_indices(
    pool_size: int, batch_size: int, step: int, key: Sequence[object], mixture: Mixture | None = None
) -> list[int]:
    """Returns the indices of batch number `step` (from 0). Each epoch is a new permutation of the pool.

    A batch holds no index twice: the rest after the last whole batch of an epoch is left out. Only a pool smaller than
    a batch is repeated. Raises ValueError for an empty pool.

    With a `mixture`, each source has its share of every batch, rounded up or down by chance, and epochs of its own.
    """
    if pool_size < 1:
        raise ValueError("the pool of problems is empty: raise data.train_per_subdomain or check subdomains")
    if mixture:
        return _mixed_indices(mixture, batch_size, step, key)
    per_epoch = max(pool_size // batch_size, 1)
    epoch, index = divmod(step, per_epoch)
    order = _permutation(pool_size, epoch, key)
    return [int(order[(index * batch_size + i) % pool_size]) for i in range(batch_size)]


def _mixed_indices(mixture: Mixture, batch_size: int, step: int, key: Sequence[object]) -> list[int]:
    """Systematic sampling: the points offset, offset + 1, ... fall into the sources' intervals of [0, batch_size]."""
    offset = np.random.default_rng(sample_seed("mixture", step, *key)).random()
    ends = np.clip(np.ceil(batch_size * np.cumsum(mixture.shares) - offset), 0, batch_size).astype(int)
    ends[-1] = batch_size
    counts = np.diff(ends, prepend=0)
    chosen: list[int] = []
    for source, count in enumerate(counts):
        if count:
            items = np.flatnonzero(np.asarray(mixture.sources) == source)
            most = int(np.ceil(batch_size * mixture.shares[source]))
            epoch, index = divmod(step, max(len(items) // most, 1))
            order = _permutation(len(items), epoch, (source, *key))
            chosen += [int(items[order[(index * most + i) % len(items)]]) for i in range(count)]
    return chosen


def refill_indices(pool_size: int, key: Sequence[object], mixture: Mixture | None = None) -> list[int]:
    """Returns a permutation of the pool, from which a step takes its prompts beyond the batch.

    With a `mixture`, the next item is of a source with the probability of its share.
    """
    if mixture:
        sizes = np.bincount(mixture.sources, minlength=len(mixture.weights))
        weights = mixture.shares[mixture.sources] / sizes[mixture.sources]
        return weighted_indices(list(weights), pool_size, key)
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
