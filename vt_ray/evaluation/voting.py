"""Votes over the answers to one problem: the majority (self-consistency, arXiv 2203.11171), or a weighted vote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import fsum, inf

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


def majority_score(
    classes: Sequence[int | None], verdicts: Sequence[Status], weights: Sequence[float] | None = None
) -> float:
    """Returns the score of the class with the most votes: 1.0 if its answers are correct, 0.0 if not.

    Each sample has one vote, or the vote `weights` gives it. If several classes have the most votes, the score is their
    mean. Samples without an answer or without a verdict do not vote. If all weights are 0, each sample has one vote.
    Without any vote the score is 0.0. Raises ValueError for a weight that is negative or not finite.
    """
    weights = [1.0] * len(verdicts) if weights is None else weights
    if not all(0 <= weight < inf for weight in weights):
        raise ValueError(f"weights {list(weights)} of a vote must be finite and at least 0")
    votes: dict[tuple[int, Status], list[float]] = {}
    for number, verdict, weight in zip(classes, verdicts, weights, strict=True):
        if number is not None and verdict != "unverified":
            votes.setdefault((number, verdict), []).append(weight)
    if not votes:
        return 0.0
    # fsum is exact: the order of the samples cannot break a tie.
    sums = {key: fsum(given) for key, given in votes.items()}
    if not any(sums.values()):
        sums = {key: float(len(given)) for key, given in votes.items()}
    top = [verdict for (_, verdict), total in sums.items() if total == max(sums.values())]
    return top.count("correct") / len(top)
