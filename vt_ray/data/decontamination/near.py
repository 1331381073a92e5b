"""Near-duplicates: texts whose shingles of three words overlap, found with MinHash and LSH of datasketch.

Reordered sentences share nearly all shingles, although they may share no 10-gram.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vt_ray.data.decontamination.hash_index import HashIndex
from vt_ray.data.decontamination.word_hashes import HashedTexts

SHINGLE_WORDS = 3
# A text with fewer shingles says too little: "find the value of x" is similar to many texts.
LEAST_SHINGLES = 6
PERMUTATIONS = 128
# LSH proposes pairs from a lower similarity on, so that it rarely misses a pair at the threshold.
_LSH_MARGIN = 0.15


class NearIndex:
    """Finds indexed texts with a Jaccard similarity of at least `threshold`.

    With `exact`, the similarity is computed from the shingles themselves; otherwise it is MinHash's estimate, with a
    standard error of 0.04, and the shingles are not stored: about 6 KB for a text.
    """

    def __init__(self, threshold: float, exact: bool = True):
        try:
            from datasketch import MinHashLSH
        except ModuleNotFoundError as error:
            raise ValueError(
                f"near duplicates need datasketch ({error}): pip install datasketch==2.0.0, or turn this pass off"
            ) from error
        self._threshold = threshold
        self._exact = exact
        self._lsh = MinHashLSH(threshold=max(threshold - _LSH_MARGIN, 0.05), num_perm=PERMUTATIONS)
        self._known: dict[int, Any] = {}

    def add(self, text: int, sketch: Sketch) -> None:
        self._lsh.insert(text, sketch.minhash)
        self._known[text] = sketch.shingles if self._exact else sketch.minhash

    def similar(self, sketch: Sketch) -> list[tuple[int, float]]:
        """Returns [(text, similarity), ...] of the similar texts in the index, in the order of the texts."""
        scored = ((text, self._similarity(sketch, text)) for text in sorted(self._lsh.query(sketch.minhash)))
        return [(text, similarity) for text, similarity in scored if similarity >= self._threshold]

    def _similarity(self, sketch: Sketch, text: int) -> float:
        if not self._exact:
            return float(sketch.minhash.jaccard(self._known[text]))
        other = self._known[text]
        return len(sketch.shingles & other) / len(sketch.shingles | other)


class Sketch:
    """The shingles of one text, and their MinHash."""

    __slots__ = ("shingles", "minhash")

    def __init__(self, shingles: frozenset[int], minhash: Any):
        self.shingles = shingles
        self.minhash = minhash


# A text must share so many of the rarest shingles with an indexed text to need a MinHash.
_GATE_SHINGLES = 3


class NearGate:
    """Finds the texts that may be near duplicates, so that few texts need a MinHash, which takes 40 us.

    A text with a similarity of at least t to an indexed text of n shingles shares at least t n of them, and so at least
    k of any (1 - t) n + k: the gate has so many, the rarest ones, and k is 3 (prefix filtering).
    """

    def __init__(self, texts: HashedTexts, threshold: float, wanted: NDArray[np.bool_]):
        *_, (_, grams) = texts.ngrams(SHINGLE_WORDS)
        hashes, owners = grams.inside()
        pairs = np.unique(np.stack([owners.astype(np.uint64), hashes], axis=1), axis=0)
        owners, hashes = pairs[:, 0].astype(np.int64), pairs[:, 1]
        _, members, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        order = np.lexsort((counts[members.reshape(-1)], owners))
        owners, hashes = owners[order], hashes[order]
        sizes = np.bincount(owners, minlength=texts.count)
        place = np.arange(len(owners)) - (np.cumsum(sizes) - sizes)[owners]
        shared = np.ceil(threshold * sizes - 1e-9).astype(np.int64)
        self._least = np.minimum(_GATE_SHINGLES, shared)
        kept = (wanted & (sizes >= LEAST_SHINGLES))[owners] & (place < (sizes - shared + self._least)[owners])
        self._index = HashIndex(hashes[kept], owners[kept])

    def candidates(self, texts: HashedTexts) -> list[int]:
        """Returns the texts that share enough of the rarest shingles with an indexed text, ascending."""
        *_, (_, grams) = texts.ngrams(SHINGLE_WORDS)
        text, indexed, shared = self._index.shared(grams).T
        return list(np.unique(text[shared >= self._least[indexed]]).tolist())


def sketches(texts: HashedTexts, chosen: Sequence[int] | None = None) -> Iterator[tuple[int, Sketch]]:
    """Yields (text, its Sketch) for each text, or each of the `chosen`, with at least LEAST_SHINGLES shingles."""
    from datasketch import MinHash

    *_, (_, grams) = texts.ngrams(SHINGLE_WORDS)
    shingles, owners = grams.inside()
    shingles >>= np.uint64(32)  # MinHash permutes 32-bit values
    bounds = np.searchsorted(owners, np.arange(texts.count + 1)).tolist()
    numbers = range(texts.count) if chosen is None else chosen
    parts = [(text, frozenset(shingles[bounds[text] : bounds[text + 1]].tolist())) for text in numbers]
    wanted = [(text, part) for text, part in parts if len(part) >= LEAST_SHINGLES]
    minhashes = MinHash.generator((part for _, part in wanted), num_perm=PERMUTATIONS, seed=1, hashfunc=int)
    for (text, part), minhash in zip(wanted, minhashes, strict=True):
        yield text, Sketch(part, minhash)
