"""Looks up hashes in a fixed set of hashes: which evaluation texts contain this n-gram?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vt_ray.data.decontamination.word_hashes import Grams, Hashes

# Slots of the bit table for each hash: about 1 of 16 other hashes passes it and needs a binary search.
_SLOTS_PER_HASH = 16


class HashIndex:
    """Maps each hash to the evaluation texts that contain it. 16 bytes for a hash, and 16 for its table slots."""

    def __init__(self, hashes: Hashes, texts: NDArray[np.int64]):
        order = np.lexsort((texts, hashes))
        self._hashes, self._texts = hashes[order], texts[order].astype(np.uint64)
        bits = max(8, int(_SLOTS_PER_HASH * max(len(hashes), 1)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        self._table[self._hashes >> self._shift] = True

    def possible(self, grams: Grams) -> NDArray[np.int64]:
        """Returns the places of the n-grams that may be in the index, ascending."""
        return np.flatnonzero(self._table[grams.hashes >> self._shift])

    def shared(self, grams: Grams) -> NDArray[np.int64]:
        """Returns [(training text, evaluation text, number of different hashes that both contain), ...], [P, 3]."""
        possible = self.possible(grams)
        possible = possible[grams.first[possible] == grams.last[possible]]
        if len(possible) == 0:
            return np.zeros((0, 3), np.int64)
        hashes, texts = grams.hashes[possible], grams.first[possible]
        first = np.searchsorted(self._hashes, hashes, "left")
        counts = np.searchsorted(self._hashes, hashes, "right") - first
        if counts.sum() == 0:
            return np.zeros((0, 3), np.int64)
        offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        found = np.repeat(first, counts) + offset
        triples = np.stack([np.repeat(texts, counts).astype(np.uint64), self._texts[found], self._hashes[found]], 1)
        different = np.unique(triples, axis=0)[:, :2].astype(np.int64)
        pairs, number = np.unique(different, axis=0, return_counts=True)
        return np.concatenate([pairs, number[:, None]], axis=1)


def without_boilerplate(
    hashes: Hashes, texts: NDArray[np.int64], sources: Sequence[int], least_texts: int, least_share: float
) -> tuple[Hashes, NDArray[np.int64], int]:
    """Removes hashes that many texts of one source contain: the instructions around its questions.

    `sources` [T] is the evaluation set of each text. A hash is removed if at least `least_texts` texts of a set and at
    least `least_share` of them contain it. A text that would lose more than half of its hashes keeps them all, so that
    it can still be found. Returns (hashes, texts, number of different hashes that were removed).
    """
    source_of_text = np.asarray(sources, np.int64)
    once = np.unique(np.stack([hashes, texts.astype(np.uint64)], axis=1), axis=0)
    hashes, texts = once[:, 0], once[:, 1].astype(np.int64)
    size = np.bincount(source_of_text, minlength=1)
    groups, members, counts = np.unique(
        np.stack([hashes, source_of_text[texts].astype(np.uint64)], axis=1),
        axis=0,
        return_inverse=True,
        return_counts=True,
    )
    common = (counts >= least_texts) & (counts >= least_share * size[groups[:, 1].astype(np.int64)])
    removed = common[members.reshape(-1)]
    total, lost = (np.bincount(texts, weights, minlength=len(sources)) for weights in (None, removed))
    removed &= lost[texts] <= 0.5 * total[texts]
    return hashes[~removed], texts[~removed], len(np.unique(hashes[removed]))
