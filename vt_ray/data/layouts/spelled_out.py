"""A layout that the settings spell out: `fields: {question: q, answer: a, id: uuid}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vt_ray.data.layouts.choice import choice_problem, letter_index, with_listed_options
from vt_ray.data.layouts.code_problem import code_problem
from vt_ray.data.layouts.code_tests import normal_tests, parsed_tests
from vt_ray.data.layouts.layout import DEFAULT_SUBDOMAIN, Layout, own_id
from vt_ray.data.layouts.math_problems import reference
from vt_ray.data.layouts.wrappers import bare_question
from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem

NAMES = ("question", "answer", "id", "subdomain", "level", "solution", "system", "options", "tests")


def spelled_out_layout(fields: Mapping[str, str]) -> Layout:
    """Returns the layout whose fields are named here. Dots reach into objects: "reward_model.ground_truth".

    With `tests` the rows are code, with `options` a choice, else math. Raises ValueError for an unknown or missing
    name.
    """
    unknown = sorted(fields.keys() - set(NAMES))
    if unknown:
        raise ValueError(f"fields has {unknown[0]!r}: expected names among {', '.join(NAMES)}")
    if "question" not in fields or not {"answer", "tests"} & fields.keys():
        raise ValueError(f"fields={dict(fields)}: expected at least question and answer, or question and tests")

    def read(row: Row) -> Problem:
        flat = Row(row.path, row.number, {name: _reached(row, path) for name, path in fields.items()})
        return _read(flat)

    return Layout("fields", "the fields that the settings name", "", lambda _: True, read)


def _read(row: Row) -> Problem:
    question, own = bare_question(row, "question", row.text("question")), own_id(row, "id")
    subdomain = row.text("subdomain") if row.fields.get("subdomain") else ""
    system = row.text("system") if row.fields.get("system") else ""
    level = row.fields["level"] if type(row.fields.get("level")) is int else 1
    solutions = reference(row.fields.get("solution"))
    if "tests" in row.fields:
        tests = normal_tests(row, parsed_tests(row, row.fields["tests"]))
        return code_problem(row, question, tests, own, subdomain or "code", solutions, level, system)
    if "options" in row.fields:
        given = row.fields["answer"]
        right = given if type(given) is int else letter_index(row, given)
        found = choice_problem(row, question, row.fields["options"] or (), right, subdomain or "choice", "id")
        return with_listed_options(found)
    return Problem(
        question_id=own,
        subdomain=subdomain or DEFAULT_SUBDOMAIN,
        kind="math",
        question=question,
        answer=row.gold("answer", row.fields["answer"]),
        solutions=solutions,
        level=level,
        system=system,
    )


def _reached(row: Row, path: str) -> Any:
    """Returns the value at a path of names. Raises ProblemFileError if a name is missing."""
    value: Any = row.fields
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            raise row.error(f"field {path!r} is missing: the row has {sorted(row.fields)}; correct it in fields")
        value = value[name]
    return value
