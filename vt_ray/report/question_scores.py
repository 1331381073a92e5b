"""The scores of a model by question, and the paired difference of two models on their common questions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from vt_ray.algorithms.pass_at_k import pass_at_k

# The bootstrap interval over fewer questions is too narrow.
MIN_QUESTIONS = 10


@dataclass(frozen=True, slots=True)
class QuestionScore:
    """`correct` of the `valid` answers (at least one) are correct. Answers without a verdict are not counted."""

    subdomain: str
    correct: int
    valid: int

    def pass_at(self, k: int) -> float:
        return pass_at_k(self.valid, self.correct, min(k, self.valid))


Scores = Mapping[str, QuestionScore]


def question_scores(record: Mapping[str, Any]) -> Scores:
    """{question id: score} of a file in evaluation/ or probe/. Questions without any verdict are left out."""
    return {
        s["question_id"]: QuestionScore(s["subdomain"], s["correct"], s["valid"])
        for s in record.get("scores") or []
        if s["valid"]
    }


def change(
    before: Scores | None, after: Scores | None, k: int, subdomains: Collection[str] = ()
) -> dict[str, float] | None:
    """Pass@k of `after` minus Pass@k of `before` as {mean, low, high}, a 95% interval paired by question.

    Uses the common questions in `subdomains` (empty: all). Returns None if there are fewer than `MIN_QUESTIONS`.
    """
    from vt_ray.evaluation.statistics import paired_difference, widened

    before, after = before or {}, after or {}
    shared = [q for q in before.keys() & after.keys() if not subdomains or before[q].subdomain in subdomains]
    if len(shared) < MIN_QUESTIONS:
        return None
    old, new = ({q: scores[q].pass_at(k) for q in shared} for scores in (before, after))
    return widened(paired_difference(old, new), len(shared)).as_dict()
