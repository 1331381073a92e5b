"""Questions whose answer is true or false. They become a choice between A (yes) and B (no)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vt_ray.data.layouts.choice import choice_problem, with_listed_options
from vt_ray.data.layouts.layout import Layout
from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem

SUBDOMAIN = "yes/no"


def _is_yes_no(fields: Mapping[str, Any]) -> bool:
    return "question" in fields and isinstance(fields.get("answer"), bool) and "kind" not in fields


def _read(row: Row) -> Problem:
    passage = row.fields.get("passage")
    question = row.text("question")
    asked = f"{passage.strip()}\n\n{question}" if isinstance(passage, str) and passage.strip() else question
    right = 0 if row.fields["answer"] else 1
    return with_listed_options(choice_problem(row, asked, ("Yes", "No"), right, SUBDOMAIN, "qid", "id"))


LAYOUTS = (
    Layout(
        name="yes_no",
        about="StrategyQA, BoolQ: `answer` is true or false",
        url="https://github.com/eladsegal/strategyqa",
        matches=_is_yes_no,
        read=_read,
    ),
)
