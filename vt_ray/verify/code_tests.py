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
from vt_ray.verify.code_answer import COMPARISONS, extract_program, outputs_match, results_match
from vt_ray.verify.examination import Examination, readable_tail
from vt_ray.verify.limits import Limits
from vt_ray.verify.sandbox.backends import Sandbox
from vt_ray.verify.sandbox.client import BrokerLost, Outcome
from vt_ray.verify.test_forms import MalformedTests, test_requests

_SIGKILL, _SIGSYS = 9, 31


def examine_program(tests: Any, text: str, sandbox: Sandbox, limits: Limits) -> Examination:
    """Correct only if there is a test and every test passes. Tests nobody can run are `unverified`."""
    try:
        requests = test_requests(tests)
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
            sizes = {"program": program, "output_bytes": _output_bytes(tests, case, limits)}
            outcome = sandbox.run(request | sizes, min(limits.test_timeout_s, left_s))
            failure = _failure(outcome, tests, case)
        except BrokerLost as error:
            return Examination(Verdict("unverified", str(error), retry=True))
        except MalformedTests as error:
            return _malformed(error)
        verdict = Verdict("wrong", failure) if failure else Verdict("correct")
        stderr = outcome.stderr.encode("utf-8", "surrogatepass")
        examination = Examination(verdict, readable_tail(outcome.stdout), readable_tail(stderr))
        if failure:
            break
    return examination


def _output_bytes(tests: dict[str, Any], case: Any, limits: Limits) -> int:
    """What a program may write: the limit, or at least twice what is expected, as a power of 2 that tells no length."""
    expected = ""
    if tests["type"] == "stdio":
        expected = case["output"]
    elif tests["type"] == "call":
        expected = json.dumps(case["expected"])
    return max(limits.output_kb << 10, 2 << len(expected.encode("utf-8", "surrogatepass")).bit_length())


def _malformed(error: MalformedTests) -> Examination:
    return Examination(Verdict("unverified", f"malformed tests: {error}"))


def _failure(outcome: Outcome, tests: dict[str, Any], case: Any) -> str:
    """Why a test is failed, "" if it is passed. Raises MalformedTests, BrokerLost."""
    if outcome.stopped:
        return outcome.stopped
    if tests["type"] == "check":
        return _check_failure(outcome)
    if outcome.exit_code != 0:
        return _why_it_ended(outcome)
    tolerance = tests.get("tolerance")
    if tests["type"] == "stdio":
        matches = outputs_match(case["output"], outcome.stdout, tolerance, tests.get("compare", COMPARISONS[0]))
        return "" if matches else "wrong_answer"
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
