"""Majority vote over the answers to one problem (self-consistency, arXiv 2203.11171)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from vt_ray.records import Status


def answer_classes(
    answers: Sequence[str | None], verdicts: Sequence[Status], equal: Callable[[str, str], bool]
) -> list[int | None]:
    """Returns the class of each answer: equal answers have the same number; None for no answer.

    Class 0 holds all correct answers. The other classes are numbered from 1 in the order of their first answer. An
    answer joins the first class whose first answer is the same text or `equal` to it. Only answers with the same
    verdict are compared, so n answers cost at most one comparison per answer and class.
    """
    classes: list[int | None] = []
    # The verdict and the first answer of each class; no answer is compared with class 0.
    firsts: list[tuple[Status, str]] = [("correct", "")]
    known: dict[tuple[Status, str], int] = {}
    for answer, verdict in zip(answers, verdicts, strict=True):
        if verdict == "correct" or answer is None:
            classes.append(0 if verdict == "correct" else None)
            continue
        key = (verdict, answer.strip())
        if key not in known:
            same = (n for n, (v, text) in enumerate(firsts) if v == verdict and equal(text, key[1]))
            known[key] = next(same, len(firsts))
            if known[key] == len(firsts):
                firsts.append(key)
        classes.append(known[key])
    return classes


def majority_score(classes: Sequence[int | None], verdicts: Sequence[Status]) -> float:
    """Returns the score of the most frequent class: 1.0 if its answers are correct, 0.0 if not.

    If several classes are the most frequent, the score is their mean. Samples without an answer or without a verdict
    do not vote. Without any vote the score is 0.0.
    """
    votes = Counter(
        (number, verdict)
        for number, verdict in zip(classes, verdicts, strict=True)
        if number is not None and verdict != "unverified"
    )
    if not votes:
        return 0.0
    most = max(votes.values())
    top = [verdict for (_, verdict), count in votes.items() if count == most]
    return top.count("correct") / len(top)
