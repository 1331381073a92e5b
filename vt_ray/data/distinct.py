"""The different questions of a source: copies are merged, and rows that contradict an earlier row are refused.

rows --question_digest--> first row of a question: kept | same answer: a copy | another answer: ContradictionError
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from vt_ray.data.layouts.layout import question_digest
from vt_ray.data.problem_rows import Row
from vt_ray.import_path import import_object
from vt_ray.records import Problem
from vt_ray.verify.kinds import kind_entry
from vt_ray.verify.limits import Limits

_ID_FIELDS = {"question_id", "unique_id", "id", "uuid"}
# At least so many different answers, and less than one question for two of them: the question was misread.
_COLLAPSED_ANSWERS = 20
# Python stores 15 bytes in 48, 16 bytes in 64.
KEY_BYTES = 15


class DistinctProblems:
    """The problems of one source, one for each question.

    `copies` counts the rows that were merged into an earlier one. A copy adds its worked solutions to it.
    """

    def __init__(self, same_gold: GoldEquality) -> None:
        self.copies = 0
        self._same_gold = same_gold
        # In the order of the rows. The two tables take about 125 bytes for a question, beside the problem itself.
        self._first: dict[bytes, Problem] = {}
        self._by_id: dict[str, Problem] = {}
        # Answers of the rows that are no problem of their own: few, unless the question was misread.
        self._other_answers: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._first)

    @property
    def problems(self) -> list[Problem]:
        return list(self._first.values())

    def add(self, row: Row, problem: Problem) -> None:
        """Raises ContradictionError for a known question with another answer, RowError for the id of another row."""
        key = question_digest(problem)[:KEY_BYTES]
        first = self._first.get(key)
        if first is None:
            self._add_new(key, row, problem)
            return
        self._other_answers.add(_answer_digest(problem))
        if not self._same_gold(first, problem):
            raise row.contradiction(
                f"the question of row {first.row}{_file(first, problem)} with another answer: delete one of the two "
                "rows, or correct its answer"
            )
        self.copies += 1
        if more := tuple(s for s in problem.solutions if s not in first.solutions):
            merged = replace(first, solutions=first.solutions + more)
            self._first[key] = self._by_id[first.question_id] = merged

    def _add_new(self, key: bytes, row: Row, problem: Problem) -> None:
        first = self._by_id.setdefault(problem.question_id, problem)
        if first is not problem:
            self._other_answers.add(_answer_digest(problem))
            raise row.error(
                f"question_id {problem.question_id!r} is already that of row {first.row}{_file(first, problem)}: make "
                "them differ, or delete one row"
            )
        self._first[key] = problem

    @property
    def collapsed(self) -> int:
        """The number of different answers if many rows with different answers have the same few questions, else 0."""
        most = len(self) + len(self._other_answers)
        if most < _COLLAPSED_ANSWERS or 2 * len(self) >= most:
            return 0
        answers = len(self._other_answers.union(map(_answer_digest, self._first.values())))
        return answers if answers >= _COLLAPSED_ANSWERS and 2 * len(self) < answers else 0


class GoldEquality:
    """Compares the gold answers of two rows of one question; math in different notation is compared by value.

    Tests of a program are no answer: two sets of tests of one question may both be right, and the first is kept.
    The process that compares algebra takes seconds to start, so all pairs share one; `close` ends it.
    """

    def __init__(self) -> None:
        self._grader: Any = None

    def __call__(self, one: Problem, other: Problem) -> bool:
        if _gold(one) == _gold(other) or one.kind == other.kind == "code":
            return True
        if one.kind != "math" or other.kind != "math":
            return False
        self._grader = self._grader or import_object(kind_entry("math").grader)(Limits())
        return bool(self._grader.verdict(one.answer, other.answer).status == "correct")

    def close(self) -> None:
        if self._grader:
            self._grader.close()


def _gold(problem: Problem) -> tuple[object, ...]:
    fields = problem.fields and {name: value for name, value in problem.fields.items() if name not in _ID_FIELDS}
    return problem.kind, problem.answer, problem.tests, fields


def _answer_digest(problem: Problem) -> bytes:
    return hashlib.sha256(repr(_gold(problem)).encode("utf-8", "surrogatepass")).digest()[:16]


def _file(first: Problem, problem: Problem) -> str:
    return "" if first.source == problem.source else f" of {first.source}"
