"""The shares of the sources in a mixture of examples or questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mixture:
    """The source of each item of a pool, and the weight of each source: `weight` in its settings."""

    sources: Sequence[int]
    weights: Sequence[float]

    @property
    def shares(self) -> np.ndarray:
        """The share of each source in a batch; 0 for a source without an item in the pool."""
        there = np.bincount(self.sources, minlength=len(self.weights)) > 0
        weights = np.where(there, self.weights, 0.0)
        return weights / weights.sum()
