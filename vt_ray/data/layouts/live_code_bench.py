"""The layout of LiveCodeBench: files `test.jsonl`, `test2.jsonl`, ... of release_v1, release_v2, ...

    row --public tests + unpacked private tests--> tests with profile="livecodebench", graded by LiveCodeBench's rules
        --statement and starter code--> `Problem.prompt`, the official user message

A file of statements, starter codes and public tests only, as rllm publishes it, is read with `layout: live_code_bench`.
"""

from __future__ import annotations

import base64
import binascii
import io
import pickle
import pickletools
import zlib
from typing import Any

from vt_ray.data.json_text import loads
from vt_ray.data.layouts.code_problem import code_problem, level_of_difficulty
from vt_ray.data.layouts.code_tests import function_name, normal_tests, parsed_tests
from vt_ray.data.layouts.layout import Layout, has, own_id
from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem
from vt_ray.verify.programs.live_code_bench import PROFILE
from vt_ray.verify.programs.packed_cases import with_packed_cases

_MAX_BYTES = 1 << 30  # of the unpacked private tests of one problem
# The operations of a pickle that make text, lists, dicts and integers. No other operation is carried out, so that no
# class is imported and no function is called.
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
_OPERATIONS = (
    *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", *_MEMO, "GET", "BINGET", "LONG_BINGET"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
)

# The prompt of lcb_runner/prompts/code_generation.py, in one user message as in the evaluation of arXiv 2511.06221.
_TASK = (
    "You are an expert Python programmer. You will be given a question (problem specification) and will generate a "
    "correct Python program that matches the specification and passes all tests. You will NOT return anything except "
    "for the program."
)
_WITH_STARTER = (
    "You will use the following starter code to write the solution to the problem and enclose your code within "
    "delimiters."
)
_WITHOUT_STARTER = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on the sample "
    "inputs). Enclose your code within delimiters as follows."
)


def official_prompt(question: str, starter: str) -> str:
    """Returns LiveCodeBench's user message for a statement and its starter code, "" for none."""
    form, code = (_WITH_STARTER, starter) if starter else (_WITHOUT_STARTER, "# YOUR CODE HERE")
    return (
        f"{_TASK}\n\n### Question:\n{question}\n\n### Format: {form}\n```python\n{code}\n```\n\n"
        "### Answer: (use the provided format with backticks)\n\n"
    )


def private_tests(value: Any) -> list[Any]:
    """Returns LiveCodeBench's private tests: a JSON list, or its pickled, compressed form in base 64.

    Raises ValueError if `value` is neither.
    """
    if value in (None, ""):
        return []
    tests = value
    if isinstance(value, str):
        try:
            tests = loads(value)
        except ValueError:
            tests = _unpickled(_inflated(value))
    if isinstance(tests, str):
        tests = loads(tests)
    if not isinstance(tests, list):
        raise ValueError(f"it holds a value of type {type(tests).__name__}: expected a list")
    return tests


def _inflated(text: str) -> bytes:
    """Returns the bytes of a compressed text in base 64. Raises ValueError if they are damaged or over the limit."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(base64.b64decode(text), _MAX_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        more = f"it has more than {_MAX_BYTES >> 20} MiB" if unpacker.unconsumed_tail else "it ends early"
        raise ValueError(more)
    return data


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles text, lists, dicts and integers."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _unpickled(data: bytes) -> Any:
    """Returns the pickled text, list, dict or integer. Raises ValueError for other pickles, before they are loaded."""
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name not in _OPERATIONS:
                raise ValueError(f"it asks for the operation {operation.name}: expected text, lists, dicts, integers")
            if operation.name in _MEMO and int(argument or 0) > len(data):
                # The unpickler would reserve that many places.
                raise ValueError(f"it asks for place {argument} in a pickle of {len(data)} bytes")
        return _PlainUnpickler(io.BytesIO(data)).load()
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle can raise almost any error
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _read(row: Row) -> Problem:
    official = "question_content" in row.fields
    question = row.text("question_content" if official else "problem")
    starter = str(row.fields.get("starter_code") or "")
    public = parsed_tests(row, row.value("public_test_cases" if official else "tests"), "public_test_cases")
    try:
        cases = [*public, *private_tests(row.fields.get("private_test_cases"))]
    except ValueError as error:
        raise row.error(f"'private_test_cases' cannot be unpacked ({error}): copy the file again") from error
    tests = normal_tests(row, cases, starter, function_name(row.fields))
    tests.pop("compare", None)  # the profile decides how outputs are compared
    return code_problem(
        row,
        question,
        with_packed_cases(tests | {"profile": PROFILE}),
        own_id(row, "question_id"),
        level=level_of_difficulty(row),
        prompt=official_prompt(question, starter),
    )


LAYOUTS = (
    Layout(
        name="live_code_bench",
        about="LiveCodeBench, private tests included",
        url="https://huggingface.co/datasets/livecodebench/code_generation_lite",
        matches=has("question_content", "public_test_cases"),
        read=_read,
    ),
)
