"""Compares the words of two texts that share a hash. Only a confirmed pair is reported, with the words they share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from vt_ray.data.decontamination.text import sentence_tokens, tokens, words

# Fewer words or operators are no evidence inside a longer text: "find x" is in many texts.
LEAST_TOKENS = 4
# Places of one n-gram in a text: a text that repeats one word a million times must not take long.
_MOST_PLACES = 20


def shared_words(training: str, evaluation: str, ngram: int) -> str:
    """Returns the longest run of words that both texts contain, "" if it has fewer than `ngram` words."""
    ours, places = words(training), _places(evaluation, ngram)
    best, start, last = 0, 0, -1
    runs: dict[int, int] = {}
    for place, gram in enumerate(_grams(ours, ngram)):
        if gram in places:
            # runs[p]: words of the run that ends with the n-gram at `place` here and at p in the evaluation text.
            runs = {p: (runs.get(p - 1, ngram - 1) if last == place - 1 else ngram - 1) + 1 for p in places[gram]}
            last, longest = place, max(runs.values())
            if longest > best:
                best, start = longest, place + ngram - longest
    return " ".join(ours[start : start + best])


@lru_cache(maxsize=4096)
def _places(text: str, ngram: int) -> dict[tuple[str, ...], list[int]]:
    """Returns {n-gram of words: its places in the text}."""
    places: dict[tuple[str, ...], list[int]] = {}
    for place, gram in enumerate(_grams(words(text), ngram)):
        found = places.setdefault(gram, [])
        if len(found) < _MOST_PLACES:
            found.append(place)
    return places


def _grams(said: list[str], ngram: int) -> Iterator[tuple[str, ...]]:
    return zip(*(said[start:] for start in range(ngram)), strict=False)


def contains_question(training: str, evaluation: str) -> bool:
    """Whether a short evaluation text is the whole training text, or whole sentences of it.

    Operators count: `What is 12 + 3?` and `What is 12 - 3?` differ.
    """
    question = tokens(evaluation)
    if tokens(training) == question:
        return True
    if len(question) < LEAST_TOKENS:
        return False
    sentences = sentence_tokens(training)
    for first in range(len(sentences)):
        joined: list[str] = []
        for sentence in sentences[first:]:
            joined += sentence
            if joined == question:
                return True
            if len(joined) >= len(question):
                break
    return False


def are_renamed(training: str, evaluation: str) -> bool:
    """Whether two texts differ in their numbers alone."""
    return _without_numbers(training) == _without_numbers(evaluation)


def _without_numbers(text: str) -> list[str]:
    return ["#" if token[0].isdigit() else token for token in tokens(text)]
