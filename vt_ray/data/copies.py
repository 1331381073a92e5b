"""Questions that several sources of a set have: the first one is kept, and the others are counted as copies.

problems of all sources --merge_copies--> MergedCopies: problems | copies | rows with another answer
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from vt_ray.data.distinct import KEY_BYTES, GoldEquality
from vt_ray.data.layouts.layout import question_digest
from vt_ray.data.problem_rows import ContradictionError
from vt_ray.data.source_report import SourceReport, report_of, without
from vt_ray.records import Problem

COPY = "question of an earlier source"


@dataclass(frozen=True)
class MergedCopies:
    """`problems` without the `copies` of questions of an earlier source, and without the rows of `contradictions`."""

    problems: list[Problem]
    copies: Sequence[Problem] = ()
    contradictions: Sequence[tuple[Problem, ContradictionError]] = ()

    def counted(self, reports: Sequence[SourceReport], split: str) -> list[SourceReport]:
        """The reports with the rows that were left out of the set `split`. Raises ContradictionError without
        on_bad_row=skip."""
        changed = without(reports, split, self.copies, COPY)
        for problem, error in self.contradictions:
            at = report_of(changed, split, problem)
            if changed[at].source.on_bad_row != "skip":
                raise error
            report = changed[at]
            changed[at] = replace(report, questions=report.questions - 1, bad=(*report.bad, error))
        return changed


def merge_copies(problems: Sequence[Problem]) -> MergedCopies:
    """Merges problems with the same words, also with different ids. A copy adds its worked solutions to the first."""
    with closing(GoldEquality()) as same_gold:
        return _merged(problems, same_gold)


def _merged(problems: Sequence[Problem], same_gold: GoldEquality) -> MergedCopies:
    first_places: dict[bytes, int] = {}
    kept: list[Problem] = []
    copies: list[Problem] = []
    contradictions: list[tuple[Problem, ContradictionError]] = []
    for problem in problems:
        place = first_places.setdefault(question_digest(problem)[:KEY_BYTES], len(kept))
        if place == len(kept):
            kept.append(problem)
            continue
        first = kept[place]
        if not same_gold(first, problem):
            contradictions.append((problem, _contradiction(first, problem)))
            continue
        copies.append(problem)
        if more := tuple(s for s in problem.solutions if s not in first.solutions):
            kept[place] = replace(first, solutions=first.solutions + more)
    return MergedCopies(kept, copies, contradictions)


def _contradiction(first: Problem, problem: Problem) -> ContradictionError:
    return ContradictionError(
        problem.source,
        problem.row,
        f"the question of {first.place} with another answer: delete one of the two rows, or correct its answer; "
        "on_bad_row=skip leaves this one out",
    )
