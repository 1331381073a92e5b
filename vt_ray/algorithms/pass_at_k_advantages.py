"""Advantages that maximise Pass@K instead of Pass@1: PKPO, Pass-at-k policy optimization (arXiv 2505.15201)."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import NDArray


def pass_at_k_advantages(rewards: Sequence[float], valid: Sequence[bool], k: int) -> NDArray[np.float64]:
    """A_i = k C(n-c, k-1) / C(n-1, k-1) for a correct completion, 0 for a wrong one: [G] float64.

    Source: the estimator s^(loo-1) for binary rewards, times n (arXiv 2505.15201, equation 33): the mean, over all sets
    of k of the n valid completions that include i, of the rise of the best reward by i. So E[1/n sum_i A_i grad log
    p(y_i)] is the gradient of Pass@K, without bias. Neither a mean nor a standard deviation enters, which would bias
    it. All are 0 if fewer than k - 1 completions are wrong, or with fewer than k valid ones. `rewards` are binary.
    """
    counted = np.asarray(valid, dtype=bool)
    correct = (np.asarray(rewards, dtype=np.float64) == 1) & counted
    n, c = int(counted.sum()), int(correct.sum())
    share = comb(n - c, k - 1) / comb(n - 1, k - 1) if n >= k else 0.0
    return np.where(correct, k * share, 0.0)
