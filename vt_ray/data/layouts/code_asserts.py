"""Layouts of code problems whose tests are Python assertions: MBPP, AceCode, KodCode."""

from __future__ import annotations

import ast
import re

from vt_ray.data.layouts.code_problem import code_problem, programs
from vt_ray.data.layouts.code_tests import assertions
from vt_ray.data.layouts.layout import Layout, RowLeftOut, has, own_id
from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem

_LEVELS = {"easy": 1, "medium": 2, "hard": 3}


def _lines(row: Row, name: str) -> list[str]:
    lines = row.value(name)
    if not isinstance(lines, list) or not lines or not all(isinstance(line, str) for line in lines):
        raise row.error(f"field {name!r} is {lines!r:.40}: expected a list of assertions as text")
    return lines


def _read_mbpp(row: Row) -> Problem:
    """Returns a problem of MBPP. The assertions belong to the question, as in its paper: they name the function."""
    lines = _lines(row, "test_list")
    question = row.text("text" if "text" in row.fields else "prompt")
    imports = row.fields.get("test_imports") or []
    setup = "\n".join([*imports, str(row.fields.get("test_setup_code") or "")])
    return code_problem(
        row,
        f"{question}\n\nYour code should pass these tests:\n\n" + "\n".join(lines),
        assertions(lines, setup),
        own_id(row, "task_id"),
        solutions=programs(str(row.fields.get("code") or "").replace("\r\n", "\n")),
    )


def _read_acecode(row: Row) -> Problem:
    return code_problem(row, row.text("question"), assertions(_lines(row, "test_cases")), own_id(row, "id"))


def _read_kodcode(row: Row) -> Problem:
    name = "test_code" if "test_code" in row.fields else "test"
    difficulty = next((row.fields[n] for n in ("gpt_difficulty", "difficulty") if row.fields.get(n)), "")
    return code_problem(
        row,
        row.text("question"),
        {"type": "check", "test": _without_pytest(row, name)},
        own_id(row, "question_id", "id"),
        solutions=programs(row.fields.get("solution")),
        level=_LEVELS.get(str(difficulty).lower(), 1),
    )


def _without_pytest(row: Row, name: str) -> str:
    """Returns the test functions of a pytest module with a call of each. The sandbox has only the standard library.

    Raises RowLeftOut for a test that uses pytest otherwise, as `pytest.raises`.
    """
    try:
        body = ast.parse(row.text(name)).body
    except SyntaxError as error:
        raise row.error(f"field {name!r} is not Python (line {error.lineno}: {error.msg})") from error
    kept = [node for node in body if not _is_scaffold(node)]
    code = "\n\n".join(ast.unparse(node) for node in kept)
    if re.search(r"\bpytest\b", code):
        raise RowLeftOut("its tests need pytest, which the sandbox does not have")
    tests = [n for n in kept if isinstance(n, ast.FunctionDef) and n.name.startswith("test")]
    if any(test.args.args for test in tests):
        raise RowLeftOut("its tests need fixtures of pytest, which the sandbox does not have")
    return code + "\n\n" + "\n".join(f"{test.name}()" for test in tests)


def _is_scaffold(node: ast.stmt) -> bool:
    """Whether a statement imports pytest or the program, or is the block `if __name__ == "__main__"`."""
    if isinstance(node, ast.ImportFrom):
        return node.module in ("solution", "pytest")
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} <= {"solution", "pytest"}
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


LAYOUTS = (
    Layout(
        name="mbpp",
        about="MBPP, full and sanitized",
        url="https://huggingface.co/datasets/google-research-datasets/mbpp",
        matches=has("test_list", "code"),
        read=_read_mbpp,
    ),
    Layout(
        name="acecode",
        about="AceCode: assertions in `test_cases`",
        url="https://huggingface.co/datasets/TIGER-Lab/AceCode-87K",
        matches=lambda fields: has("question", "test_cases")(fields) and isinstance(fields["test_cases"], list),
        read=_read_acecode,
    ),
    Layout(
        name="kodcode",
        about="KodCode: a pytest module in `test` or `test_code`",
        url="https://huggingface.co/datasets/KodCode/KodCode-V1",
        matches=lambda fields: (
            has("question", "solution")(fields)
            and isinstance(fields.get("test_code", fields.get("test")), str)
            and "entry_point" not in fields
        ),
        read=_read_kodcode,
    ),
)
