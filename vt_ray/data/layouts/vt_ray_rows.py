"""Rows with the fields of `Problem`: vt_ray's own layout, and rows of a kind in the setting verify.kinds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from vt_ray.data.layouts.layout import DEFAULT_SUBDOMAIN, Layout, own_id
from vt_ray.data.problem_rows import Row, type_name
from vt_ray.records import Problem, Solution
from vt_ray.verify.kinds import KINDS, ProblemKind, kind_names


def custom_problem(row: Row) -> Problem:
    """Returns a row of a kind in verify.kinds: the user's function gets all its fields, so `answer` is optional."""
    try:
        json.dumps(row.fields)
    except (TypeError, ValueError) as error:
        raise row.error(f"its fields are not JSON ({error}): write dates and the like as text") from error
    answer = row.fields.get("answer")
    return replace(_problem(row, answer if isinstance(answer, str) else ""), fields=row.fields)


def _read(row: Row) -> Problem:
    kind = row.text("kind")
    if kind not in KINDS:
        raise row.error(f"kind={kind!r}: expected {kind_names()}, or a name in the setting verify.kinds")
    return _problem(row, _answer(row, KINDS[kind]))


def _problem(row: Row, answer: str) -> Problem:
    return Problem(
        question_id=own_id(row, "question_id"),
        subdomain=row.text("subdomain") if "subdomain" in row.fields else DEFAULT_SUBDOMAIN,
        kind=row.text("kind"),
        question=row.text("question"),
        answer=answer,
        solutions=tuple(_solutions(row)),
        level=_level(row),
        system=row.text("system") if row.fields.get("system") else "",
    )


def _answer(row: Row, kind: ProblemKind) -> str:
    answer = row.gold("answer", row.value("answer"))
    if kind.gold_pattern and not re.fullmatch(kind.gold_pattern, answer):
        raise row.error(f"answer={answer!r:.40} of a {row.text('kind')} problem: expected {kind.gold_form}")
    return answer


def _solutions(row: Row) -> Iterator[Solution]:
    found = row.fields.get("solutions") or ()
    if not isinstance(found, (list, tuple)):
        raise row.error(f"'solutions' is {type_name(found)}: expected a list of {{'style', 'text'}}")
    for solution in found:
        if not isinstance(solution, dict) or not all(isinstance(solution.get(n), str) for n in ("style", "text")):
            raise row.error(f"a solution is {solution!r:.80}: expected {{'style': text, 'text': text}}")
        yield Solution(solution["style"], solution["text"])


def _level(row: Row) -> int:
    level = row.fields.get("level", 1)
    if isinstance(level, bool) or not isinstance(level, int):
        raise row.error(f"level={level!r}: expected a whole number")
    return level


def _is_ours(fields: Mapping[str, Any]) -> bool:
    """Whether a row has `kind` or `subdomain`, or `question_id` without the question and answer of a public row."""
    alone = "question_id" in fields and not {"question", "answer"} <= fields.keys()
    return alone or bool({"kind", "subdomain"} & fields.keys())


VT_RAY = Layout(
    name="vt_ray",
    about="the fields of `Problem`: question_id, kind, question, answer",
    url="https://arxiv.org/abs/2511.06221",
    matches=_is_ours,
    read=_read,
)
LAYOUTS = (VT_RAY,)
