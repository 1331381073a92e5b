"""Finds completions that end in a repetition loop, and measures repeated n-grams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# A loop is a unit of at most MAX_PERIOD tokens that fills at least the last MIN_TOKENS tokens, MIN_REPEATS times.
MAX_PERIOD = 512
MIN_TOKENS = 256
MIN_REPEATS = 4


def ends_in_loop(token_ids: Sequence[int] | np.ndarray) -> bool:
    """Whether the last tokens repeat one unit: at least MIN_REPEATS times and over at least MIN_TOKENS tokens.

    `token_ids` has shape [tokens]. Only its end is read: a model that leaves its loop is not counted.
    """
    tail = np.asarray(token_ids)[-max(MIN_TOKENS, MIN_REPEATS * MAX_PERIOD) :]
    for period in range(1, min(MAX_PERIOD, len(tail) // MIN_REPEATS) + 1):
        needed = max(MIN_TOKENS, MIN_REPEATS * period)
        if needed > len(tail):
            continue
        end = tail[len(tail) - needed :]
        if np.array_equal(end[period:], end[:-period]):
            return True
    return False


def repeated_share(token_ids: Sequence[int] | np.ndarray, n: int) -> float:
    """The share of the n-grams of `token_ids`, shape [tokens], that occur earlier in it; 0 with at most n tokens."""
    ids = np.asarray(token_ids)
    if len(ids) <= n:
        return 0.0
    ngrams = np.lib.stride_tricks.sliding_window_view(ids, n)
    return 1 - len({ngram.tobytes() for ngram in ngrams}) / len(ngrams)
