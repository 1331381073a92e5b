"""Layouts of code problems with inputs and outputs, and the layout of rllm, HumanEval and LeetCodeDataset."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping
from typing import Any

from vt_ray.data.layouts.chats import system_and_question
from vt_ray.data.layouts.code_problem import (
    SUBDOMAIN,
    code_problem,
    level_of_difficulty,
    programs,
    question_with_starter,
    refuse_special_judge,
    with_limits,
)
from vt_ray.data.layouts.code_tests import function_name, normal_tests, parsed_tests
from vt_ray.data.layouts.layout import Layout, RowLeftOut, has, own_id
from vt_ray.data.layouts.verl import ground_truth
from vt_ray.data.layouts.wrappers import without_wrapper
from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem, Solution

_PROGRAM_FIELDS = ("tests", "test", "entry_point", "canonical_solution", "public_tests", "private_tests")
# LeetCodeDataset has the statement in `query`; its `prompt` holds import lines only.
_QUESTION_FIELDS = ("question", "problem", "query")
_CODE_KINDS = ("code", "coding", "programming")
_PYTHON_3 = 3  # the language of a solution of CodeContests


def _is_code(fields: Mapping[str, Any]) -> bool:
    """Whether the row's answer is a program."""
    said = (fields.get(name) for name in ("kind", "ability"))
    return any(fields.get(name) is not None for name in _PROGRAM_FIELDS) or any(
        isinstance(value, str) and value.lower() in _CODE_KINDS for value in said
    )


def _read_code(row: Row) -> Problem:
    level = row.fields.get("level", 1)
    name = next((name for name in _QUESTION_FIELDS if name in row.fields), "prompt")
    tests = _tests(row)
    said = row.fields.get("subdomain")
    return code_problem(
        row,
        _code_question(row, name),
        tests,
        own_id(row, "question_id", "task_id"),
        subdomain=said if isinstance(said, str) and said else SUBDOMAIN,
        solutions=_solutions(row),
        level=level if type(level) is int else 1,
    )


def _code_question(row: Row, name: str) -> str:
    """Returns the statement; with the starter code if the row has its tests in a list, as LiveCodeBench."""
    in_list = isinstance(row.fields.get("tests"), list) or str(row.fields.get("tests")).lstrip().startswith("[")
    if not in_list:
        return row.text(name)
    return question_with_starter(without_wrapper(row.text(name)), row.fields.get("starter_code"))


def _tests(row: Row) -> dict[str, Any]:
    fields = row.fields
    if "test" in fields and "entry_point" in fields:
        entry_point = row.text("entry_point")
        helpers = _helpers(row.text("prompt"), entry_point, row.text("test"))
        return {"type": "check", "entry_point": entry_point, "test": f"{helpers}\n\n{row.text('test')}"}
    starter = str(fields.get("starter_code") or "")
    tests = normal_tests(row, parsed_tests(row, fields.get("tests")), starter, function_name(fields))
    limits = re.search(r"^Time Limit: *(.*)\nMemory Limit: *(.*)", str(fields.get("problem")), re.MULTILINE)
    return with_limits(tests, limits[1], limits[2]) if limits and isinstance(fields["tests"], list) else tests


def _helpers(prompt: str, entry_point: str, test: str) -> str:
    """Returns the other functions of the prompt. A test gets its own copy of a helper, not the candidate's.

    Imports of packages that the sandbox does not have are left out if neither the helpers nor the test need them.
    """
    try:
        body = [node for node in ast.parse(prompt).body if getattr(node, "name", "") != entry_point]
        parsed_test = ast.parse(test)
    except SyntaxError:
        return ""
    used = {n.id for part in (*body, parsed_test) for n in ast.walk(part) if isinstance(n, ast.Name)}
    return "\n".join(ast.unparse(node) for node in body if not _is_idle_import(node, used))


def _is_idle_import(node: ast.stmt, used: set[str]) -> bool:
    """Whether a statement imports a package outside the standard library without use of its names."""
    if not isinstance(node, (ast.Import, ast.ImportFrom)):
        return False
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    names = {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return not used & names and any(module.split(".")[0] not in sys.stdlib_module_names for module in modules)


def _solutions(row: Row) -> list[Solution]:
    """Returns the programs that solve the problem, in the form of completions."""
    written = "completion" if "query" in row.fields else "canonical_solution"
    found = row.fields.get(written, row.fields.get("solutions"))
    if isinstance(found, str) and found.strip():
        before = row.text("prompt") + "\n" if "canonical_solution" in row.fields else ""
        return [Solution("reference", f"```python\n{before}{found.strip(chr(10))}\n```")]
    return programs(found)


def _read_apps(row: Row) -> Problem:
    """Returns a problem of APPS or TACO: stdio tests, or calls where `input_output` has a `fn_name`."""
    starter, question = row.fields.get("starter_code"), row.text("question")
    if not row.fields.get("input_output"):
        raise row.missing_gold("field 'input_output' is empty: expected the tests")
    tests = normal_tests(row, parsed_tests(row, row.fields["input_output"], "input_output"), str(starter or ""))
    if tests.get("type") == "stdio":
        refuse_special_judge(row, question)
    return code_problem(
        row,
        question_with_starter(question, starter),
        with_limits(tests, row.fields.get("time_limit"), row.fields.get("memory_limit")),
        own_id(row, "problem_id", "id"),
        solutions=programs(row.fields.get("solutions")),
        level=level_of_difficulty(row),
    )


def _read_code_contests(row: Row) -> Problem:
    question = row.text("description")
    refuse_special_judge(row, question)
    if row.fields.get("input_file") or row.fields.get("output_file"):
        raise RowLeftOut("it reads or writes a file: only standard input and output are tested")
    groups = [row.fields.get(f"{name}_tests") or {} for name in ("public", "private", "generated")]
    inputs = [text for group in groups for text in group.get("input") or ()]
    outputs = [text for group in groups for text in group.get("output") or ()]
    tests = normal_tests(row, {"inputs": inputs, "outputs": outputs})
    found = row.fields.get("solutions") or {}
    written = zip(found.get("language") or (), found.get("solution") or (), strict=False)
    return code_problem(
        row,
        question,
        with_limits(tests, row.fields.get("time_limit"), row.fields.get("memory_limit_bytes")),
        own_id(row, "name"),
        solutions=programs([text for language, text in written if language == _PYTHON_3]),
    )


def _has_verl_tests(fields: Mapping[str, Any]) -> bool:
    truth = ground_truth(fields)
    said = str(fields.get("ability")).lower() in _CODE_KINDS
    return said and (isinstance(truth, (dict, list)) or (isinstance(truth, str) and truth.lstrip()[:1] in ("{", "[")))


def _read_verl_code(row: Row) -> Problem:
    system, question = system_and_question(row, "prompt")
    tests = normal_tests(row, parsed_tests(row, ground_truth(row.fields), "reward_model.ground_truth"), question)
    if tests.get("type") == "stdio":
        refuse_special_judge(row, question)
    return code_problem(row, question, tests, system=system)


LAYOUTS = (
    Layout(
        name="code_contests",
        about="CodeContests on the hub",
        url="https://huggingface.co/datasets/deepmind/code_contests",
        matches=has("description", "public_tests", "private_tests"),
        read=_read_code_contests,
    ),
    Layout(
        name="apps",
        about="APPS and TACO: tests in `input_output`",
        url="https://huggingface.co/datasets/codeparrot/apps",
        matches=has("question", "input_output"),
        read=_read_apps,
    ),
    Layout(
        name="verl_code",
        about="verl rows with tests as the ground truth: Eurus-2-RL code, Skywork-OR1 code, DeepCoder of rllm",
        url="https://huggingface.co/datasets/PRIME-RL/Eurus-2-RL-Data",
        matches=_has_verl_tests,
        read=_read_verl_code,
    ),
    Layout(
        name="code",
        about="vt_ray, rllm and DeepCoder (`tests`), HumanEval and LeetCodeDataset (`test`, `entry_point`)",
        url="https://huggingface.co/datasets/agentica-org/DeepCoder-Preview-Dataset",
        matches=_is_code,
        read=_read_code,
    ),
)
