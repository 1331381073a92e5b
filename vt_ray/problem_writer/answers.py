"""The gold answer of a written problem: the majority of the model's own answers, as the verifier compares them.

replies --extract_answer--> answers --equal by the verifier--> classes --the largest--> gold answer, agreement
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from vt_ray.data.chat_model import ChatReply
from vt_ray.evaluation.answers import answer_equality
from vt_ray.evaluation.voting import answer_classes
from vt_ray.records import Problem
from vt_ray.verify.extraction.final_answer import extract_answer
from vt_ray.verify.gold_check import math_fault
from vt_ray.verify.mathematics.grader import MathGrader
from vt_ray.verify.verifier import Verifier


@dataclass(frozen=True)
class Vote:
    """The gold answer that the replies agree on; or the fault, which says why there is none.

    agreement: the share of all replies, refused and cut-off ones included, that the verifier accepts with this gold.
    answers: the answer in each reply, None for a reply without one.
    """

    gold: str
    agreement: float
    answers: tuple[str | None, ...]
    fault: str = ""


def vote(problem: Problem, replies: Sequence[ChatReply | None], least_agreement: float, verifier: Verifier) -> Vote:
    """Returns the answer of the most replies, if the verifier reads it and accepts enough of the replies with it."""
    texts = [reply.text if reply and reply.finished else "" for reply in replies]
    answers = tuple(extract_answer(text) or None for text in texts)
    spellings = _largest_class(answers, cast(MathGrader, verifier.grader("math")))
    if not any(answers):
        return Vote("", 0.0, answers, "no reply has an answer")
    if not spellings:
        return Vote("", 0.0, answers, "two answers have the most votes")
    fault = ""
    for gold in spellings:
        solved = replace(problem, answer=gold)
        if unreadable := math_fault(verifier, solved):
            fault = fault or unreadable
            continue
        agreement = sum(verifier.verify(solved, text).status == "correct" for text in texts) / len(texts)
        low = "too few replies agree" if agreement < least_agreement else ""
        return Vote(gold, agreement, answers, low)
    return Vote(spellings[0], 0.0, answers, fault)


def _largest_class(answers: Sequence[str | None], grader: MathGrader) -> list[str]:
    """Returns the different texts of the answer with the most votes, the most frequent first; [] after a tie."""
    classes = answer_classes(answers, ["unverified"] * len(answers), answer_equality(grader))
    sizes = Counter(number for number in classes if number is not None).most_common(2)
    if not sizes or (len(sizes) == 2 and sizes[0][1] == sizes[1][1]):
        return []
    members = [a.strip() for a, number in zip(answers, classes, strict=True) if a and number == sizes[0][0]]
    return [text for text, _ in Counter(members).most_common()]
