r"""The words of an evaluation question that say nothing about it: the form of the answer, and the code of a diagram.

    "... is \frac{m}{n}, where m and n are relatively prime positive integers. Find m+n." --own_words--> the first part

Many questions of a contest end with the same such sentence, so that it is no evidence of a leak.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from vt_ray.data.decontamination.text import word_spans

# Every repetition is bounded: a text of many single letters must not take long.
_VARIABLES = r"(?:[a-z]{1,2} ){0,8}(?:and )?[a-z]{1,2}"
_NUMBERS = (
    r"(?:(?:relatively prime|coprime|positive|nonnegative|non negative|nonzero|real|rational|distinct) ){0,4}"
    r"(?:integers|numbers|constants)"
)
_PROPERTIES = (
    r"(?:(?: with| such that| and)?(?: (?:and )?[a-z]){0,4} (?:is|are) (?:not divisible by the square of any prime"
    r"(?: number)?|relatively prime|coprime|prime|square free|as small as possible)){0,3}"
)
_FIND = r"(?: (?:find|compute|determine|evaluate|what is)(?: the (?:value|sum) of)?(?: (?:[a-z]|\d+)\b){0,9})?"
_AS = r"(?:(?:can|may) be (?:written|expressed) )?(?:uniquely )?(?:(?:as|in the form) )?"
_TERM = r"(?:(?:frac|sqrt|pi|[a-z]{1,2}|\d+) ){0,9}"
# Of the words alone, with one space between them.
_WORDS = re.compile(
    rf"\b{_AS}{_TERM}where {_VARIABLES} are {_NUMBERS}{_PROPERTIES}{_FIND}"
    rf"|\b(?:[a-z] )?(?:is|are) not divisible by the square of any prime(?: number)?{_FIND}"
    rf"|\blet {_VARIABLES} be {_NUMBERS}(?: such that| satisfying| with)?"
    r"|\bfind the remainder when (?:[a-z]\b ?){1,5} ?is divided by \d+"
    r"|\ba line b circle c (?:[a-z]+ ){0,12}enter the letter of the correct option"
)
# Of the text, in lower case.
_TEXT = re.compile(
    r"\[asy\].*?(?:\[/asy\]|$)"
    r"|\b(?:express|enter|write|give|state|round|leave)\s+(?:your|the|all)\s+(?:final\s+)?answers?\b[^.?!]*"
    r"|\benter the letters? of the correct options?\b",
    re.DOTALL,
)


def own_words(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each word of the texts says something about its question. [W], the words of `hash_texts(texts)`."""
    return np.array([own for text in texts for own in _own_words(text)], bool)


def _own_words(text: str) -> list[bool]:
    cleaned, spans = word_spans(text)
    taken = bytearray(len(cleaned) + 1)
    for found in _TEXT.finditer(cleaned):
        taken[found.start() : found.end()] = b"\1" * (found.end() - found.start())
    own = [not taken[start] for start, _ in spans]
    words = [cleaned[start:end] for start, end in spans]
    first = {place: word for word, place in enumerate(accumulate((len(word) + 1 for word in words), initial=0))}
    for found in _WORDS.finditer(" ".join(words)):
        count = found[0].count(" ") + 1
        own[first[found.start()] : first[found.start()] + count] = [False] * count
    return own


def useful_grams(
    own: NDArray[np.bool_], ngram: int, owners: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each n-gram is evidence: at least half of its words are the question's own.

    `owners` [G] is the text of each n-gram and `starts` [G] its first word. A text without such an n-gram keeps all,
    so that it can still be found.
    """
    before = np.zeros(len(own) + 1, np.int64)
    np.cumsum(own, out=before[1:])
    useful = 2 * (before[starts + ngram] - before[starts]) >= ngram
    texts = int(owners.max(initial=-1)) + 1
    return useful | (np.bincount(owners, useful, texts) == 0)[owners]
