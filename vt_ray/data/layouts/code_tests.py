"""The tests of public code sets, brought to the forms of `verify/programs/test_forms.py`.

| form in the row | becomes |
|---|---|
| {"inputs", "outputs"} (APPS, TACO, Eurus) | stdio; call with a `fn_name` |
| [{"input", "output", "testtype"?}, ...] (LiveCodeBench, DeepCoder, rllm) | stdio; call for "functional" tests |
| {"input": [...], "output": [...]} (CodeContests) | stdio |
| {"functional": code} (rllm) | check |
| {"entry_point", "test_code", "import_prefix"?} (Skywork-OR1) | check |
| ["assert ...", ...] (AceCode, MBPP) | check |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vt_ray.data.json_text import loads
from vt_ray.data.problem_rows import Row

_FUNCTION = re.compile(r"class Solution\b.*?^\s+def (\w+)", re.DOTALL | re.MULTILINE)


def parsed_tests(row: Row, value: Any, name: str = "tests") -> Any:
    """Returns a dict or list of tests; text is read as JSON. Raises ProblemFileError for anything else."""
    if isinstance(value, str):  # parquet has no free-form column
        try:
            value = loads(value)
        except ValueError as error:
            raise row.error(f"{name!r} is text but not JSON ({error})") from None
    if not isinstance(value, (dict, list)) or not value:
        raise row.error(f"this is a code problem without {name!r}: expected a dict, or that dict as a JSON string")
    return value


def normal_tests(row: Row, tests: Any, starter: str = "", function: str = "") -> dict[str, Any]:
    """Returns tests in vt_ray's form. `function` is the tested function, from the row's metadata.

    A dict in no known form is returned unchanged: `test_forms` names its fault.
    """
    if isinstance(tests, list):
        return _from_list(row, tests, starter, function)
    if tests.get("functional"):
        return {"type": "check", "test": tests["functional"]}
    if tests.get("test_code"):
        code = f"{tests.get('import_prefix') or ''}\n{tests['test_code']}".strip()
        return {"type": "check", "test": code, "entry_point": tests.get("entry_point")}
    if "inputs" in tests and "outputs" in tests:
        return _from_columns(row, tests["inputs"], tests["outputs"], tests.get("fn_name"), starter)
    if "type" not in tests and "input" in tests and "output" in tests:
        return _from_columns(row, tests["input"], tests["output"], None, starter)
    return tests


def function_name(fields: Mapping[str, Any]) -> str:
    """Returns `metadata.func_name` of LiveCodeBench, "" without it."""
    metadata = fields.get("metadata")
    if isinstance(metadata, str) and metadata.strip():
        try:
            metadata = loads(metadata)
        except ValueError:
            return ""
    return str(metadata.get("func_name") or "") if isinstance(metadata, dict) else ""


def assertions(lines: list[str], setup: str = "") -> dict[str, Any]:
    """Returns a check test of one assertion a line; the name of the program's function is found in them."""
    return {"type": "check", "test": "\n".join([setup, *lines] if setup.strip() else lines)}


def _from_list(row: Row, tests: list[Any], starter: str, function: str) -> dict[str, Any]:
    if all(isinstance(test, str) for test in tests):
        return assertions(tests)
    if not all(isinstance(test, dict) and {"input", "output"} <= test.keys() for test in tests):
        raise row.error("'tests' is a list: expected assertions as text, or objects with 'input' and 'output'")
    kinds = {str(test.get("testtype") or test.get("type") or "stdin") for test in tests}
    inputs, outputs = [test["input"] for test in tests], [test["output"] for test in tests]
    if kinds <= {"stdin", "stdin_stdout"}:
        return _from_columns(row, inputs, outputs, None, starter)
    if not kinds <= {"functional", "function_call"}:
        raise row.error(f"its tests are of the types {sorted(kinds)}: expected stdin, or functional, for all of them")
    named = function or next((test["fn_name"] for test in tests if test.get("fn_name")), "") or _metadata_name(tests)
    found = _FUNCTION.search(starter)
    if not named and found is None:
        raise row.error("its tests call a function without a name: expected fn_name, func_name or a starter code")
    return _from_columns(row, inputs, outputs, named or (found[1] if found else ""), starter)


def _metadata_name(tests: list[dict[str, Any]]) -> str:
    metadata = tests[0].get("metadata")
    return str(metadata.get("func_name") or "") if isinstance(metadata, dict) else ""


def _from_columns(row: Row, inputs: Any, outputs: Any, function: str | None, starter: str) -> dict[str, Any]:
    """Returns stdio tests with LiveCodeBench's comparison, as in this layout's grader; call tests for a function."""
    if not (isinstance(inputs, list) and isinstance(outputs, list) and len(inputs) == len(outputs)):
        raise row.error("'tests' needs as many inputs as outputs")
    if function is None:
        cases = [
            {"input": _stdio_text(given), "output": _stdio_text(expected)}
            for given, expected in zip(inputs, outputs, strict=True)
        ]
        return {"type": "stdio", "compare": "decimal", "cases": cases}
    owner = "Solution" if "class Solution" in starter else None
    calls = [_call(row, given, expected) for given, expected in zip(inputs, outputs, strict=True)]
    if all(isinstance(given, list) for given in inputs) and all(_is_wrapped(expected) for _, expected in calls):
        calls = [(given, expected[0]) for given, expected in calls]
    cases = [{"args": given, "expected": expected} for given, expected in calls]
    return {"type": "call", "function": function, "class": owner, "cases": cases}


def _stdio_text(value: Any) -> Any:
    """Returns the text of an input or output; APPS writes some as a list of lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return value


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
