"""Runs a program on the tests of its problem, one after the other, up to the first failure.

    problem.tests + text --extract_program--> program --each test: sandbox--> Outcome --compare here--> verdict

`stdio` and `call` outputs are compared here, so that the expected values stay in this process. A `check` test compares
in its own code, in a process next to the program's process (see `sandbox/inside/check_test_side.py`).

Only the problem decides whether its tests are malformed: they cannot be read (`test_forms`), or the problem's own
solution fails them. The behaviour of a program makes it correct or wrong, never unverified.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from vt_ray.records import Problem, Verdict
from vt_ray.verify.grading_result import GradingResult, readable_tail
from vt_ray.verify.limits import Limits
from vt_ray.verify.programs.compare_outputs import COMPARISONS, outputs_match, results_match
from vt_ray.verify.programs.extract_program import extract_program
from vt_ray.verify.programs.live_code_bench import (
    fenced_program,
    outputs_are_equal,
    profile_limits,
    results_are_equal,
)
from vt_ray.verify.programs.long_integer_json import dumps, loads
from vt_ray.verify.programs.test_forms import MalformedTests, test_requests, unpacked
from vt_ray.verify.sandbox.backends import Sandbox
from vt_ray.verify.sandbox.broker_client import BrokerLost, Outcome

_SIGKILL, _SIGSYS = 9, 31
_MAX_SOLUTIONS = 3


def grade_program(tests: Any, text: str, sandbox: Sandbox, limits: Limits) -> GradingResult:
    """Returns `correct` only if every test passes, `unverified` if the tests cannot be run."""
    try:
        tests = unpacked(tests)
        requests = test_requests(tests)
    except MalformedTests as error:
        return GradingResult(Verdict("unverified", f"malformed tests: {error}"))
    program = fenced_program(text) if tests.get("profile") else extract_program(text)
    if program is None:
        return GradingResult(Verdict("wrong", "no_answer"))
    limits = _own_limits(tests, limits)
    deadline = time.monotonic() + limits.completion_timeout_s
    result = GradingResult(Verdict("correct"))
    cases = [None] if tests["type"] == "check" else tests["cases"]
    for request, case in zip(requests, cases, strict=True):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return GradingResult(Verdict("wrong", "timeout"))
        try:
            sizes = {"output_bytes": _output_bytes(tests, case, limits), "memory_mb": limits.memory_mb}
            outcome = sandbox.run(request | sizes | {"program": program}, min(limits.test_timeout_s, left_s))
        except BrokerLost as error:
            return GradingResult(Verdict("unverified", str(error), retry=True))
        failure = _failure(outcome, tests, case)
        verdict = Verdict("wrong", failure) if failure else Verdict("correct")
        stderr = outcome.stderr.encode("utf-8", "surrogatepass")
        result = GradingResult(verdict, readable_tail(outcome.stdout), readable_tail(stderr))
        if failure:
            break
    return result


def fault_of_check(problem: Problem, sandbox: Sandbox, limits: Limits) -> str:
    """Returns why a problem's `check` test is malformed: all its own solutions fail it. Returns "" if it is not.

    A solution that cannot be loaded (for instance, it imports a missing package) or that is stopped does not count. A
    solution must fail twice.
    """
    failures = []
    for solution in problem.solutions[:_MAX_SOLUTIONS]:
        for _ in range(2):
            failure = _check_of_solution(problem, solution.text, sandbox, limits)
            if failure is None:
                return ""
        failures.append(failure)
    return f"the problem's own solution fails its test ({failures[0]})" if failures else ""


def _check_of_solution(problem: Problem, text: str, sandbox: Sandbox, limits: Limits) -> str | None:
    """Returns how a solution fails the test; None if it passes, cannot be loaded or is stopped."""
    program = extract_program(text)
    if program is None:
        return None
    request = test_requests(problem.tests)[0]
    limits = _own_limits(problem.tests or {}, limits)
    sizes = {"output_bytes": limits.output_kb << 10, "memory_mb": limits.memory_mb}
    outcome = sandbox.run(request | sizes | {"program": program}, limits.test_timeout_s)
    if outcome.stopped:
        return None
    failed = _report(outcome).get("failed", "ended")
    return None if _report(outcome).get("passed") is True or failed == "ended" else str(failed)


def _own_limits(tests: dict[str, Any], limits: Limits) -> Limits:
    """Returns the limits with the problem's own seconds, and its own memory if that is more; or those of its profile.

    The sandbox limits the address space, which exceeds the memory that a problem's limit means.
    """
    if tests.get("profile"):
        return profile_limits(limits, len(tests["cases"]))
    seconds = tests.get("time_limit_s", limits.test_timeout_s)
    total_s = max(limits.completion_timeout_s, seconds)
    memory_mb = int(max(tests.get("memory_mb", 0), limits.memory_mb))
    return replace(limits, test_timeout_s=seconds, completion_timeout_s=total_s, memory_mb=memory_mb)


def _output_bytes(tests: dict[str, Any], case: Any, limits: Limits) -> int:
    """Returns the output limit of a program: the configured limit, or at least twice the expected size. The result is
    a power of 2, so that a program cannot infer the expected length."""
    expected = ""
    if tests["type"] == "stdio":
        expected = case["output"]
    elif tests["type"] == "call":
        expected = dumps(case["expected"])
    return max(limits.output_kb << 10, 2 << len(expected.encode("utf-8", "surrogatepass")).bit_length())


def _failure(outcome: Outcome, tests: dict[str, Any], case: Any) -> str:
    """Returns why a test failed, "" if it passed."""
    if outcome.stopped:
        return outcome.stopped
    if tests["type"] == "check":
        return _check_failure(outcome)
    if outcome.exit_code != 0:
        return _why_it_ended(outcome)
    if tests["type"] == "stdio":
        return "" if _output_matches(tests, case, outcome.stdout) else "wrong_answer"
    if outcome.result is None:
        return "runtime_error"  # it ended without returning, for instance by sys.exit(0)
    try:
        actual = loads(outcome.result)
        expected = loads(dumps(case["expected"]))  # tuples become lists, as in the result
        return "" if _result_matches(tests, expected, actual) else "wrong_answer"
    except (ArithmeticError, ValueError, RecursionError):  # not JSON, or nested without end
        return "wrong_answer"


def _output_matches(tests: dict[str, Any], case: Any, stdout: bytes) -> bool:
    if tests.get("profile"):
        return outputs_are_equal(case["output"], stdout)
    return outputs_match(case["output"], stdout, tests.get("tolerance"), tests.get("compare", COMPARISONS[0]))


def _result_matches(tests: dict[str, Any], expected: Any, actual: Any) -> bool:
    if tests.get("profile"):
        return results_are_equal(expected, actual)
    return results_match(expected, actual, tests.get("tolerance"))


def _check_failure(outcome: Outcome) -> str:
    """Returns the failure that the process of the test code reports. The program's process cannot write this report.

    If that process ended without a report, the program may be the cause: it can return data that fill its memory.
    """
    report = _report(outcome)
    if report.get("passed") is True:
        return ""
    failed = str(report.get("failed", "ended"))
    return _why_it_ended(outcome) if failed == "ended" else failed


def _report(outcome: Outcome) -> dict[str, Any]:
    try:
        report = loads(outcome.result) if outcome.result and outcome.exit_code == 0 else {}
    except ValueError:
        report = {}
    return report if isinstance(report, dict) else {}


def _why_it_ended(outcome: Outcome) -> str:
    code = outcome.candidate_exit_code
    if code == -_SIGSYS:
        return "killed_sandbox"
    # Only the kernel can kill a program in the sandbox, when memory runs out.
    if code == -_SIGKILL or _ran_out_of_memory(outcome.stderr):
        return "memory"
    return "runtime_error"


def _ran_out_of_memory(stderr: str) -> bool:
    lines = stderr.strip().splitlines()
    return bool(lines) and lines[-1].startswith("MemoryError")
