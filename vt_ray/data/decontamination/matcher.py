"""Finds the evaluation questions that a training text contains.

    evaluation questions --> HashIndex of n-grams, of short texts, of number-blind n-grams; NearIndex
    batch of training texts --hash_texts--> candidates --confirm--> Match

| reason | the training text |
|---|---|
| `ngram` | shares an n-gram of words with the evaluation text |
| `short_text` | has the evaluation text, of fewer than n words, as its whole or as whole sentences |
| `near_duplicate` | has nearly the same shingles of three words |
| `number_blind` | has most n-grams of the evaluation text, with one mark for each number |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vt_ray.data.decontamination import confirm
from vt_ray.data.decontamination.answer_form import own_words, useful_grams
from vt_ray.data.decontamination.hash_index import HashIndex, without_boilerplate
from vt_ray.data.decontamination.near import NearGate, NearIndex, sketches
from vt_ray.data.decontamination.options import DecontaminationOptions
from vt_ray.data.decontamination.rows import Question
from vt_ray.data.decontamination.word_hashes import HashedTexts, hash_texts

REASONS = ("ngram", "short_text", "near_duplicate", "number_blind")
# An n-gram in this many texts and this share of an evaluation set is an instruction, not a question.
BOILERPLATE_TEXTS = 5
BOILERPLATE_SHARE = 0.1
# A short question is looked for where its first words are.
_START_WORDS = 2
# A number-blind text of fewer words, such as "compute #", says too little.
LEAST_BLIND_WORDS = 6
# A number-blind text of at most this many words more than an n-gram is compared by its whole, with its operators.
BLIND_MARGIN = 5


@dataclass(frozen=True, slots=True)
class Match:
    """A training text (its number in the batch) contains an evaluation question (its number).

    score: share of the question's n-grams, or Jaccard similarity for near duplicates.
    shared: the longest run of shared words; "" for near duplicates and number-blind matches.
    others: number of further questions of the same evaluation file that match for the same reason.
    """

    text: int
    question: int
    reason: str
    score: float
    shared: str = ""
    others: int = 0


class Matcher:
    """Matches training texts against fixed evaluation questions. Pure: the same for one core and for Ray."""

    def __init__(self, questions: Sequence[Question], options: DecontaminationOptions):
        self.questions, self.options = questions, options
        self._blind, self._near = options.number_blind != "off", options.near_duplicates != "off"
        files = list(dict.fromkeys(question.file for question in questions))
        self._file = [files.index(question.file) for question in questions]
        hashed = hash_texts([question.text for question in questions])
        self._first = _first_copies(hashed, self._file)
        self.boilerplate = 0
        self._ngrams, self._sizes = self._gram_index(hashed, own_words([question.text for question in questions]))
        self._short, self._short_starts = self._short_index(hashed)
        if self._blind:
            blind = hashed.number_blind()
            self._blind_ngrams, self._blind_sizes = self._gram_index(blind)
            self._blind_by_whole = blind.lengths() < options.ngram + BLIND_MARGIN
            wanted = np.flatnonzero(self._blind_by_whole & (blind.lengths() >= LEAST_BLIND_WORDS) & self._first)
            self._blind_short = HashIndex(blind.whole().hashes[wanted], wanted)
        if self._near:
            self._near_index = NearIndex(options.near_threshold)
            self._near_gate = NearGate(hashed, options.near_threshold, self._first)
            for text, sketch in sketches(hashed):
                if self._first[text]:
                    self._near_index.add(text, sketch)

    def matches(self, texts: Sequence[str]) -> list[Match]:
        """Returns the matches of a batch of texts, the best one for each text, evaluation file and reason.

        A pair that shares words is not reported again as a near duplicate or as number-blind.
        """
        hashed = hash_texts(texts)
        found = [*self._exact(hashed, texts)]
        pairs = {(match.text, match.question) for match in found}
        if self._near:
            found += (m for m in self._near_duplicates(hashed) if (m.text, m.question) not in pairs)
        if self._blind:
            found += (m for m in self._number_blind(hashed, texts) if (m.text, m.question) not in pairs)
        return [self._with_words(match, texts[match.text]) for match in self._best(found)]

    def _exact(self, hashed: HashedTexts, texts: Sequence[str]) -> Iterator[Match]:
        starts = np.zeros(0, np.int64)
        for n, grams in hashed.ngrams(self.options.ngram):
            if n == _START_WORDS:
                starts = self._short_starts.possible(grams)
            if n == self.options.ngram:
                for text, question, shared in self._ngrams.shared(grams).tolist():
                    yield Match(text, question, "ngram", min(1.0, shared / self._sizes[question]))
            elif n in self._short:
                short = self._short[n].shared(grams.at(starts) if n > _START_WORDS else grams)
                for text, question, _ in short.tolist():
                    if confirm.contains_question(texts[text], self.questions[question].text):
                        yield Match(text, question, "short_text", 1.0)

    def _near_duplicates(self, hashed: HashedTexts) -> Iterator[Match]:
        for text, sketch in sketches(hashed, self._near_gate.candidates(hashed)):
            for question, similarity in self._near_index.similar(sketch):
                yield Match(text, question, "near_duplicate", similarity)

    def _number_blind(self, hashed: HashedTexts, texts: Sequence[str]) -> Iterator[Match]:
        blind = hashed.number_blind()
        *_, (_, grams) = blind.ngrams(self.options.ngram)
        for text, question, shared in self._blind_ngrams.shared(grams).tolist():
            score = min(1.0, shared / self._blind_sizes[question])
            if score >= self.options.number_blind_share and not self._blind_by_whole[question]:
                yield Match(text, question, "number_blind", score)
        for text, question, _ in self._blind_short.shared(blind.whole()).tolist():
            if confirm.are_renamed(texts[text], self.questions[question].text):
                yield Match(text, question, "number_blind", 1.0)

    def _best(self, found: Sequence[Match]) -> list[Match]:
        """Returns the match of the highest score for each text, evaluation file and reason."""
        groups: dict[tuple[int, int, str], list[Match]] = {}
        for match in found:
            groups.setdefault((match.text, self._file[match.question], match.reason), []).append(match)
        best = []
        for group in groups.values():
            top = max(group, key=lambda match: (match.score, -match.question))
            best.append(Match(top.text, top.question, top.reason, top.score, "", len(group) - 1))
        return sorted(best, key=lambda match: (match.text, match.question, match.reason))

    def _with_words(self, match: Match, text: str) -> Match:
        question = self.questions[match.question]
        if match.reason == "ngram":
            shared = confirm.shared_words(text, question.text, self.options.ngram)
        elif match.reason == "short_text":
            shared = " ".join(confirm.words(question.text))
        else:
            return match
        return Match(match.text, match.question, match.reason, match.score, shared, match.others)

    def _gram_index(self, hashed: HashedTexts, own: NDArray[np.bool_] | None = None) -> tuple[HashIndex, list[int]]:
        """Returns the index of the n-grams, and the number of different n-grams of each question.

        `own` [W] says which words are the question's own.
        """
        *_, (_, grams) = hashed.ngrams(self.options.ngram)
        starts = np.flatnonzero((grams.first == grams.last) & self._first[grams.first])
        owners = grams.first[starts]
        if own is not None:
            kept = useful_grams(own, self.options.ngram, owners, starts)
            starts, owners = starts[kept], owners[kept]
        hashes, owners, removed = without_boilerplate(
            grams.hashes[starts], owners, self._file, BOILERPLATE_TEXTS, BOILERPLATE_SHARE
        )
        self.boilerplate = max(self.boilerplate, removed)
        return HashIndex(hashes, owners), np.bincount(owners, minlength=hashed.count).tolist()

    def _short_index(self, hashed: HashedTexts) -> tuple[dict[int, HashIndex], HashIndex]:
        """Returns {n: index of the questions of n words} for questions that are shorter than an n-gram.

        The second index has the first words of the longer questions: few training words start so.
        """
        lengths, index = hashed.lengths(), {}
        starts = HashIndex(np.zeros(0, np.uint64), np.zeros(0, np.int64))
        for n, grams in hashed.ngrams(self.options.ngram - 1):
            hashes, owners = grams.inside()
            if n == _START_WORDS:
                longer = (lengths[owners] > n) & (lengths[owners] < self.options.ngram) & self._first[owners]
                starts = HashIndex(hashes[longer], owners[longer])
            whole = (lengths[owners] == n) & self._first[owners]
            if whole.any():
                index[n] = HashIndex(hashes[whole], owners[whole])
        return index, starts


def _first_copies(hashed: HashedTexts, files: Sequence[int]) -> NDArray[np.bool_]:
    """Whether each question is the first of its copies in its file: the others are not indexed."""
    seen: set[tuple[int, int]] = set()
    first = np.zeros(hashed.count, bool)
    for text, key in enumerate(zip(files, hashed.whole().hashes.tolist(), strict=True)):
        first[text] = key not in seen
        seen.add(key)
    return first
