"""A program against all tests of its problem, one after the other, up to the first that it fails.

    problem.tests + text --extract_program--> program --each test: sandbox--> Outcome --compare here--> verdict

`stdio` and `call` are judged here, where the expected values stay. `check` is judged by the test's own code, in a
process beside the candidate's (see `sandbox/inside/examiner.py`).
"""

from __future__ import annotations

import json
import time
from typing import Any

from vt_ray.records import Verdict
from vt_ray.verify.code_answer import extract_program, outputs_match, results_match
from vt_ray.verify.examination import Examination, readable_tail
from vt_ray.verify.limits import Limits
from vt_ray.verify.sandbox.backends import Sandbox
from vt_ray.verify.sandbox.client import BrokerLost, Outcome

_SIGKILL, _SIGSYS = 9, 31


class MalformedTests(Exception):
    """The problem's tests cannot be run as they are."""


def examine_program(tests: Any, text: str, sandbox: Sandbox, limits: Limits) -> Examination:
    """Correct only if there is a test and every test passes. Tests nobody can run are `unverified`."""
    try:
        requests = _requests(tests)
    except MalformedTests as error:
        return _malformed(error)
    program = extract_program(text)
    if program is None:
        return Examination(Verdict("wrong", "no_answer"))
    deadline = time.monotonic() + limits.completion_timeout_s
    examination = Examination(Verdict("correct"))
    for request, case in zip(requests, tests.get("cases", [None]), strict=True):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return Examination(Verdict("wrong", "timeout"))
        try:
            outcome = sandbox.run(request | {"program": program}, min(limits.test_timeout_s, left_s))
            failure = _failure(outcome, tests, case)
        except BrokerLost as error:
            return Examination(Verdict("unverified", str(error)))
        except MalformedTests as error:
            return _malformed(error)
        verdict = Verdict("wrong", failure) if failure else Verdict("correct")
        stderr = outcome.stderr.encode("utf-8", "surrogatepass")
        examination = Examination(verdict, readable_tail(outcome.stdout), readable_tail(stderr))
        if failure:
            break
    return examination


def _malformed(error: MalformedTests) -> Examination:
    return Examination(Verdict("unverified", f"malformed tests: {error}"))


def _requests(tests: Any) -> list[dict[str, Any]]:
    """What the sandbox gets for each test: the input, never the expected output."""
    if not isinstance(tests, dict):
        raise MalformedTests(f"a dict with a type and cases is needed, not {type(tests).__name__}")
    kind, cases = tests.get("type"), tests.get("cases")
    if kind == "check":
        return [_check_request(tests)]
    if kind not in ("stdio", "call"):
        raise MalformedTests(f"type {kind!r} is none of stdio, call and check")
    if not isinstance(cases, list) or not cases:
        raise MalformedTests("there is no case, and no program passes none")
    tolerance = tests.get("tolerance")
    if tolerance is not None and (type(tolerance) not in (int, float) or not 0 <= tolerance < 1):
        raise MalformedTests(f"tolerance {tolerance!r} is not a number from 0 to 1")
    return [_stdio_request(case) if kind == "stdio" else _call_request(tests, case) for case in cases]


def _check_request(tests: dict[str, Any]) -> dict[str, Any]:
    test, entry_point = tests.get("test"), tests.get("entry_point")
    if not isinstance(test, str) or not test.strip():
        raise MalformedTests("a check test needs a test, the code that calls the program")
    if entry_point is not None and not isinstance(entry_point, str):
        raise MalformedTests(f"entry_point {entry_point!r:.80} is no name")
    return {"type": "check", "test": test, "entry_point": entry_point}


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


def _failure(outcome: Outcome, tests: dict[str, Any], case: Any) -> str:
    """Why a test is failed, "" if it is passed."""
    if outcome.stopped:
        return outcome.stopped
    if tests["type"] == "check":
        return _check_failure(outcome)
    if outcome.exit_code != 0:
        return _why_it_ended(outcome)
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


def _check_failure(outcome: Outcome) -> str:
    """What the test code's process reports; the candidate's has no way to. Raises MalformedTests, BrokerLost."""
    report = json.loads(outcome.result) if outcome.result and outcome.exit_code == 0 else {}
    if "malformed" in report:
        raise MalformedTests(report["malformed"])
    if report.get("passed") is True:
        return ""
    if report.get("failed") == "ended":
        return _why_it_ended(outcome)
    if "failed" not in report:
        raise BrokerLost("the test code's process ended without a report")
    return str(report["failed"])


def _why_it_ended(outcome: Outcome) -> str:
    code = outcome.candidate_exit_code
    if code == -_SIGSYS:
        return "killed_sandbox"
    # Nothing in the sandbox can kill a program but the kernel, when memory runs out.
    if code == -_SIGKILL or _ran_out_of_memory(outcome.stderr):
        return "memory"
    return "runtime_error"


def _ran_out_of_memory(stderr: str) -> bool:
    lines = stderr.strip().splitlines()
    return bool(lines) and lines[-1].startswith("MemoryError")
