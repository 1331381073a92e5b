"""The words of many texts as 64-bit hashes, computed with NumPy for a whole batch: no Python object for a word.

    texts --text.clean_buffer--> one buffer of bytes --classes--> words --> hash of each word --> hash of each n-gram

Hashes only find candidates: `confirm.py` compares the words themselves before a match is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vt_ray.data.decontamination.text import clean_buffer

Hashes = NDArray[np.uint64]

_WORD = np.uint64(0xD1B54A32D192ED03)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_NUMBER = np.uint64(0x2545F4914F6CDD1D)
_LETTER_CLASS, _DIGIT_CLASS = 1, 2


def _byte_classes() -> bytes:
    classes = np.zeros(256, np.uint8)
    classes[ord("a") : ord("z") + 1] = _LETTER_CLASS
    classes[ord("0") : ord("9") + 1] = _DIGIT_CLASS
    classes[128:] = _LETTER_CLASS  # UTF-8: symbols outside ASCII have been removed
    return classes.tobytes()


_CLASSES = _byte_classes()
# _FIRST_BYTES[n] keeps the first n bytes of eight, in the order of the memory.
_FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(9)], "<u8").astype(np.uint64)


@dataclass(frozen=True)
class Grams:
    """Hashes [G] of runs of words. A run from text `first[g]` to another text `last[g]` is none: `inside` omits it."""

    hashes: Hashes
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def inside(self) -> tuple[Hashes, NDArray[np.int64]]:
        """Returns (hashes, text of each hash) of the runs that are in one text."""
        kept = self.first == self.last
        return self.hashes[kept], self.first[kept]

    def at(self, starts: NDArray[np.int64]) -> Grams:
        """Returns the runs that start at these words, ascending; a run that would end after the last word is none."""
        starts = starts[: np.searchsorted(starts, len(self.hashes))]
        return Grams(self.hashes[starts], self.first[starts], self.last[starts])


@dataclass(frozen=True)
class HashedTexts:
    """The words of T texts. `hashes` [W], `text_of_word` [W] (from 0, ascending), `count` = T."""

    hashes: Hashes
    text_of_word: NDArray[np.int64]
    is_number: NDArray[np.bool_]
    count: int

    def lengths(self) -> NDArray[np.int64]:
        """Returns the number of words of each text, [T]."""
        return np.bincount(self.text_of_word, minlength=self.count)

    def number_blind(self) -> HashedTexts:
        """Returns the texts with one mark in place of each number, or of numbers in a row."""
        follows = np.zeros(len(self.hashes), bool)
        follows[1:] = self.is_number[:-1] & (self.text_of_word[1:] == self.text_of_word[:-1])
        kept = ~(self.is_number & follows)
        hashes = np.where(self.is_number, _NUMBER, self.hashes)[kept]
        return HashedTexts(hashes, self.text_of_word[kept], self.is_number[kept], self.count)

    def ngrams(self, longest: int) -> Iterator[tuple[int, Grams]]:
        """Yields (n, the n-grams that start at each word) for n = 1 ... `longest`."""
        total = self.hashes
        for n in range(1, longest + 1):
            if n > 1:
                total = total[:-1] * _WORD + self.hashes[n - 1 :]
            yield n, Grams(total, self.text_of_word[: len(total)], self.text_of_word[n - 1 :])

    def whole(self) -> Grams:
        """Returns one hash for each whole text, [T]."""
        first = np.searchsorted(self.text_of_word, np.arange(self.count + 1))
        position = np.arange(len(self.hashes)) - first[self.text_of_word]
        powers = _powers(int(_WORD), int(position.max(initial=0)) + 1)
        sums = np.zeros(len(self.hashes) + 1, np.uint64)
        np.cumsum(self.hashes * powers[position], out=sums[1:])
        lengths = (first[1:] - first[:-1]).astype(np.uint64)
        texts = np.arange(self.count)
        return Grams(_mixed(sums[first[1:]] - sums[first[:-1]]) + lengths, texts, texts)


def hash_texts(texts: Sequence[str]) -> HashedTexts:
    """Returns the words of raw texts as hashes."""
    buffer = clean_buffer(texts)
    classes = np.frombuffer(b"\0" + buffer.translate(_CLASSES) + b"\0", np.uint8)
    bounds = np.flatnonzero(classes[1:] != classes[:-1])
    kind = classes[bounds + 1]
    # A run of symbols ends where a word starts: the two of neighbouring words would be one bound otherwise.
    is_word = np.flatnonzero(kind)
    starts, ends, kind = bounds[is_word], bounds[np.minimum(is_word + 1, len(bounds) - 1)], kind[is_word]
    breaks = np.flatnonzero(np.frombuffer(buffer, np.uint8) == 0)
    first = np.searchsorted(starts, breaks)
    text_of_word = np.repeat(np.arange(len(texts)), np.diff(first, prepend=0, append=len(starts)))
    return HashedTexts(_word_hashes(buffer, starts, ends - starts), text_of_word, kind == _DIGIT_CLASS, len(texts))


def _word_hashes(buffer: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Hashes:
    """Returns the hash of each word: eight of its bytes at a time."""
    padded = np.frombuffer(buffer + b"\0" * 8, np.uint8)
    eights = np.ndarray(len(buffer) + 1, np.uint64, padded, strides=(1,))
    hashes = _mixed(eights[starts] & _FIRST_BYTES[np.minimum(lengths, 8)])
    longer = np.flatnonzero(lengths > 8)
    place = 8
    while len(longer):
        rest = eights[starts[longer] + place] & _FIRST_BYTES[np.minimum(lengths[longer] - place, 8)]
        hashes[longer] = _mixed(hashes[longer] * _WORD + rest)
        place += 8
        longer = longer[lengths[longer] > place]
    return hashes


def _mixed(hashes: Hashes) -> Hashes:
    hashes = (hashes ^ (hashes >> np.uint64(33))) * _MIX
    return hashes ^ (hashes >> np.uint64(29))


def _powers(base: int, count: int) -> Hashes:
    """Returns base^0 ... base^(count - 1) modulo 2^64."""
    size = 1 << max(count - 1, 1).bit_length()
    return _cached_powers(base, size)[:count]


@lru_cache(maxsize=64)
def _cached_powers(base: int, size: int) -> Hashes:
    powers = np.full(size, np.uint64(base % 2**64), np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)
