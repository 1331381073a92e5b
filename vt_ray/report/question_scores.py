"""What a model got on each question, and how much two models differ on the questions they share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from vt_ray.algorithms.pass_at_k import pass_at_k

# A bootstrap over fewer questions is too narrow to tell luck from a change.
MIN_QUESTIONS = 10


@dataclass(frozen=True, slots=True)
class QuestionScore:
    """Of the `valid` answers that have a verdict, at least one, `correct` are right."""

    subdomain: str
    correct: int
    valid: int

    def pass_at(self, k: int) -> float:
        return pass_at_k(self.valid, self.correct, min(k, self.valid))


Scores = Mapping[str, QuestionScore]


def question_scores(record: Mapping[str, Any]) -> Scores:
    """By question id, from a file of scores as evaluation/ and probe/ hold them; unanswerable ones are left out."""
    return {
        s["question_id"]: QuestionScore(s["subdomain"], s["correct"], s["valid"])
        for s in record.get("scores") or []
        if s["valid"]
    }


def change(
    before: Scores | None, after: Scores | None, k: int, subdomains: Collection[str] = ()
) -> dict[str, float] | None:
    """Pass@k of `after` minus that of `before`, {mean, low, high} with its 95% interval, paired by question.

    Over the shared questions of `subdomains` (empty: all); None where there are fewer than `MIN_QUESTIONS`. Where every
    question changed alike, the bootstrap has no width: up to 3/n of all questions may still change otherwise (the rule
    of three), by up to 1.
    """
    from vt_ray.evaluation.statistics import paired_difference

    before, after = before or {}, after or {}
    shared = [q for q in before.keys() & after.keys() if not subdomains or before[q].subdomain in subdomains]
    if len(shared) < MIN_QUESTIONS:
        return None
    old, new = ({q: scores[q].pass_at(k) for q in shared} for scores in (before, after))
    found = paired_difference(old, new).as_dict()
    if found["low"] == found["high"]:
        found |= {"low": max(-1.0, found["mean"] - 3 / len(shared)), "high": min(1.0, found["mean"] + 3 / len(shared))}
    return found
