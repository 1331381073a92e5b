"""A program against all tests of its problem, one after the other, up to the first that it fails.

problem.tests + text --extract_program--> program --each test: broker--> Outcome --compare here--> Verdict
"""

from __future__ import annotations

import json
import time
from typing import Any

from vt_ray.records import Verdict
from vt_ray.verify.code_answer import extract_program, outputs_match, results_match
from vt_ray.verify.limits import Limits
from vt_ray.verify.sandbox.client import BrokerClient, BrokerLost, Outcome


class MalformedTests(Exception):
    """The problem's tests cannot be run as they are."""


def code_verdict(tests: Any, text: str, client: BrokerClient, limits: Limits) -> Verdict:
    """Correct only if there is a test and every test passes. Tests nobody can run are `unverified`."""
    if isinstance(tests, dict) and tests.get("type") == "check":
        return Verdict("unverified", "check tests need the sandbox")
    try:
        requests = _requests(tests)
    except MalformedTests as error:
        return Verdict("unverified", f"malformed tests: {error}")
    program = extract_program(text)
    if program is None:
        return Verdict("wrong", "no_answer")
    deadline = time.monotonic() + limits.completion_timeout_s
    for request, case in zip(requests, tests["cases"], strict=True):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return Verdict("wrong", "timeout")
        try:
            outcome = client.run(request | {"program": program}, min(limits.test_timeout_s, left_s))
        except BrokerLost as error:
            return Verdict("unverified", str(error))
        failure = _failure(outcome, tests, case)
        if failure:
            return Verdict("wrong", failure)
    return Verdict("correct")


def _requests(tests: Any) -> list[dict[str, Any]]:
    """What the broker gets for each test: the input, never the expected output."""
    if not isinstance(tests, dict):
        raise MalformedTests(f"a dict with a type and cases is needed, not {type(tests).__name__}")
    kind, cases = tests.get("type"), tests.get("cases")
    if kind not in ("stdio", "call"):
        raise MalformedTests(f"type {kind!r} is neither stdio nor call")
    if not isinstance(cases, list) or not cases:
        raise MalformedTests("there is no case, and no program passes none")
    tolerance = tests.get("tolerance")
    if tolerance is not None and (type(tolerance) not in (int, float) or not 0 <= tolerance < 1):
        raise MalformedTests(f"tolerance {tolerance!r} is not a number from 0 to 1")
    return [_stdio_request(case) if kind == "stdio" else _call_request(tests, case) for case in cases]


def _stdio_request(case: Any) -> dict[str, Any]:
    if not isinstance(case, dict) or not all(isinstance(case.get(key), str) for key in ("input", "output")):
        raise MalformedTests("a stdio case needs an input and an output, both strings")
    return {"type": "stdio", "input": case["input"]}


def _call_request(tests: dict[str, Any], case: Any) -> dict[str, Any]:
    function, owner = tests.get("function"), tests.get("class")
    if not isinstance(function, str) or not function.isidentifier():
        raise MalformedTests(f"function {function!r} is no name")
    if owner is not None and not (isinstance(owner, str) and owner.isidentifier()):
        raise MalformedTests(f"class {owner!r} is no name")
    if not isinstance(case, dict) or not isinstance(case.get("args"), list) or "expected" not in case:
        raise MalformedTests("a call case needs args, a list, and expected")
    try:
        arguments = json.dumps(case["args"])
        json.dumps(case["expected"])
    except (TypeError, ValueError) as error:
        raise MalformedTests(f"a call case is not JSON: {error}") from error
    return {"type": "call", "function": function, "class": owner, "args": arguments}


def _failure(outcome: Outcome, tests: dict[str, Any], case: dict[str, Any]) -> str:
    """Why a test is failed, "" if it is passed."""
    if outcome.stopped:
        return outcome.stopped
    if outcome.exit_code != 0:
        return "memory" if _ran_out_of_memory(outcome.stderr) else "runtime_error"
    tolerance = tests.get("tolerance")
    if tests["type"] == "stdio":
        return "" if outputs_match(case["output"], outcome.stdout, tolerance) else "wrong_answer"
    if outcome.result is None:
        return "runtime_error"  # it left without returning, sys.exit(0) or the like
    try:
        actual = json.loads(outcome.result)
        expected = json.loads(json.dumps(case["expected"]))  # tuples to lists, as the result went
        return "" if results_match(expected, actual, tolerance) else "wrong_answer"
    except (ValueError, RecursionError):  # not JSON, a huge integer, nested without end
        return "wrong_answer"


def _ran_out_of_memory(stderr: str) -> bool:
    lines = stderr.strip().splitlines()
    return bool(lines) and lines[-1].startswith("MemoryError")
