r"""Another order of the options of a choice, in the text of the question.

question with "A. red\nB. blue", gold "B"  -->  question with "A. blue\nB. red", gold "A"
"""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random
from string import ascii_uppercase

from vt_ray.records import Problem

# An option that names other options, or its own place.
_NAMES_OPTIONS = re.compile(
    r"\b(?:above|below|preceding|following|previous|both|neither|either|options?|choices?|answers?|all of|none of"
    r"|any of|[A-J]\s*(?:,|and|or|&)\s*[A-J])\b",
    re.IGNORECASE,
)


def with_reordered_options(problem: Problem, rng: Random) -> Problem | None:
    """Puts the options in another order. The letter of the answer follows its option.

    Returns None for a problem without options, for options that name each other ("all of the above"), or if the options
    are not found in the question.
    """
    spans = _option_spans(problem)
    if len(spans) < 2 or any(_NAMES_OPTIONS.search(text) for text in problem.options):
        return None
    order = list(range(len(spans)))
    while order == sorted(order):
        rng.shuffle(order)
    options = tuple(problem.options[i] for i in order)
    question = problem.question
    for (start, end), text in reversed(list(zip(spans, options, strict=True))):
        question = question[:start] + text + question[end:]
    answer = ascii_uppercase[order.index(ascii_uppercase.index(problem.answer))]
    return replace(problem, question=question, options=options, answer=answer)


def stem_end(problem: Problem) -> int | None:
    """Where the label of option A begins, or the end of a question without options; None if options are not found."""
    if not problem.options:
        return len(problem.question)
    spans = _option_spans(problem)
    return _label_start(problem.question, spans[0][0], "A") if spans else None


def _option_spans(problem: Problem) -> list[tuple[int, int]]:
    """[(start, end)] of the text of each option in the question, from its end; empty if one has no label before it."""
    spans: list[tuple[int, int]] = []
    limit: int | None = len(problem.question)
    for letter, text in reversed(list(zip(ascii_uppercase, problem.options, strict=False))):
        start = problem.question.rfind(text, 0, limit) if text else -1
        limit = _label_start(problem.question, start, letter) if start >= 0 else None
        if limit is None:
            return []
        spans.append((start, start + len(text)))
    return spans[::-1]


def _label_start(question: str, start: int, letter: str) -> int | None:
    """Where the label of an option begins, as "A. ", "(A) " or r"\textbf{(A)}\\ "; None without a label."""
    label = re.search(rf"(?:\\\w+\{{)?(?<![A-Za-z])\(?{letter}[.):][}}\\\s]*\Z", question[max(0, start - 30) : start])
    return max(0, start - 30) + label.start() if label else None
