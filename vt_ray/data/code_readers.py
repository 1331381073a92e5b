"""Code problems from a file: tests of every layout below become one of the forms of `verify/programs/test_forms.py`.

| layout | known by | becomes |
|---|---|---|
| ours | `kind: code`, `tests` with a `type` | itself |
| rllm | `tests.inputs` and `tests.outputs` | stdio |
| rllm, TACO | the same, with `tests.fn_name` | call |
| rllm (LeetCode) | `tests.functional`, code that calls the candidate | check |
| HumanEval | `prompt`, `entry_point`, `test` | check |
| LeetCodeDataset | the same, with the statement in `query` and a solution in `completion` | check |

At its start, a run checks whether the sandbox can confine programs on this machine.
"""

from __future__ import annotations

import ast
from typing import Any

from vt_ray.data.json_text import loads
from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem, Solution
from vt_ray.verify.programs.test_forms import MalformedTests, test_requests

SUBDOMAIN = "code"

_PROGRAM_FIELDS = ("tests", "test", "entry_point", "canonical_solution", "public_tests", "private_tests")
# LeetCodeDataset has the statement in `query`; its `prompt` holds import lines only.
_QUESTION_FIELDS = ("question", "problem", "query")
_CODE_KINDS = ("code", "coding", "programming")


def is_code(row: Row) -> bool:
    """Whether the row's answer is a program."""
    said = (row.fields.get(name) for name in ("kind", "ability"))
    return any(row.fields.get(name) is not None for name in _PROGRAM_FIELDS) or any(
        isinstance(value, str) and value.lower() in _CODE_KINDS for value in said
    )


def code_problem(row: Row, subdomain: str | None) -> Problem:
    """Returns the row as a Problem with tests that can be run. Raises ProblemFileError."""
    tests = _tests(row)
    try:
        test_requests(tests)
    except MalformedTests as error:
        raise row.error(f"its tests cannot be run: {error}") from error
    level = row.fields.get("level", 1)
    return Problem(
        question_id=_question_id(row),
        subdomain=subdomain or _said_subdomain(row) or SUBDOMAIN,
        kind="code",
        question=row.text(next((name for name in _QUESTION_FIELDS if name in row.fields), "prompt")),
        tests=tests,
        solutions=tuple(_solutions(row)),
        level=level if type(level) is int else 1,
        source=str(row.path),
    )


def _question_id(row: Row) -> str:
    names = [name for name in ("question_id", "task_id") if name in row.fields]
    if names and type(row.fields[names[0]]) is int:
        return str(row.fields[names[0]])
    return row.text(names[0]) if names else row.question_id()


def _tests(row: Row) -> dict[str, Any]:
    fields = row.fields
    if "test" in fields and "entry_point" in fields:
        entry_point = row.text("entry_point")
        helpers = _helpers(row.text("prompt"), entry_point)
        return {"type": "check", "entry_point": entry_point, "test": f"{helpers}\n\n{row.text('test')}"}
    tests = fields.get("tests")
    if isinstance(tests, str):  # parquet has no free-form column
        try:
            tests = loads(tests)
        except ValueError as error:
            raise row.error(f"'tests' is text but not JSON ({error})") from None
    if not isinstance(tests, dict):
        raise row.error("this is a code problem without 'tests': expected a dict, or that dict as a JSON string")
    if tests.get("functional"):
        return {"type": "check", "test": tests["functional"]}
    if "inputs" in tests and "outputs" in tests:
        return _from_inputs_and_outputs(row, tests)
    return tests


def _from_inputs_and_outputs(row: Row, tests: dict[str, Any]) -> dict[str, Any]:
    """Returns stdio tests with LiveCodeBench's comparison, as in this layout's grader; call tests for a `fn_name`."""
    inputs, outputs, function = tests["inputs"], tests["outputs"], tests.get("fn_name")
    if not (isinstance(inputs, list) and isinstance(outputs, list) and len(inputs) == len(outputs)):
        raise row.error("'tests' needs as many inputs as outputs")
    if function is None:
        cases = [{"input": given, "output": expected} for given, expected in zip(inputs, outputs, strict=True)]
        return {"type": "stdio", "compare": "decimal", "cases": cases}
    owner = "Solution" if "class Solution" in str(row.fields.get("starter_code") or "") else None
    calls = [_call(row, given, expected) for given, expected in zip(inputs, outputs, strict=True)]
    if all(isinstance(given, list) for given in inputs) and all(_is_wrapped(expected) for _, expected in calls):
        calls = [(given, expected[0]) for given, expected in calls]
    cases = [{"args": given, "expected": expected} for given, expected in calls]
    return {"type": "call", "function": function, "class": owner, "cases": cases}


def _call(row: Row, given: Any, expected: Any) -> tuple[list[Any], Any]:
    """Returns arguments and result of one call: values (TACO) or JSON, one argument per line (LiveCodeBench)."""
    if isinstance(given, list):
        return given, expected
    if isinstance(given, str) and isinstance(expected, str):
        return [_json(row, line) for line in given.splitlines() if line.strip()], _json(row, expected)
    raise row.error(
        f"a test of fn_name has the input {given!r:.80} and the output {expected!r:.80}: expected a list of arguments "
        "and a value, or two JSON texts"
    )


def _is_wrapped(expected: Any) -> bool:
    """Whether each result is a list of one, as TACO wraps its results."""
    return isinstance(expected, list) and len(expected) == 1


def _json(row: Row, text: str) -> Any:
    try:
        return loads(text)
    except ValueError as error:
        raise row.error(f"a test of fn_name has {text!r:.80}, which is not JSON ({error})") from None


def _helpers(prompt: str, entry_point: str) -> str:
    """Returns the other functions of the prompt. A test gets its own copy of a helper, not the candidate's."""
    try:
        body = ast.parse(prompt).body
    except SyntaxError:
        return ""
    return "\n".join(ast.unparse(node) for node in body if getattr(node, "name", "") != entry_point)


def _said_subdomain(row: Row) -> str | None:
    said = row.fields.get("subdomain")
    return said if isinstance(said, str) and said else None


def _solutions(row: Row) -> list[Solution]:
    """Returns the programs that solve the problem, in the form of completions."""
    written = "completion" if "query" in row.fields else "canonical_solution"
    found = row.fields.get(written, row.fields.get("solutions"))
    if isinstance(found, str) and found.strip():
        before = row.text("prompt") + "\n" if "canonical_solution" in row.fields else ""
        return [Solution("reference", f"```python\n{before}{found.strip(chr(10))}\n```")]
    return []
