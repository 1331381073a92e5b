"""Grades programs: owns one sandbox, and tries each `check` test on the problem's own solution first."""

from __future__ import annotations

from vt_ray.records import Problem, Verdict
from vt_ray.verify.grading_result import GradingResult
from vt_ray.verify.limits import Limits
from vt_ray.verify.programs.run_tests import fault_of_check, grade_program
from vt_ray.verify.programs.test_forms import MalformedTests
from vt_ray.verify.sandbox.backends import Sandbox, choose_backend, open_sandbox
from vt_ray.verify.sandbox.broker_client import BrokerLost

_MAX_FAULTS = 100_000


class CodeGrader:
    """Runs a completion's program on the problem's tests. The sandbox starts with the first program."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sandbox: Sandbox | None = None
        self._faults: dict[int, str] = {}  # faults of `check` tests whose problem has a solution, "" for no fault

    def grade(self, problem: Problem, text: str) -> GradingResult:
        """The verdict on the program in `text`. Raises NoSandbox if programs cannot be confined on this machine."""
        if self._sandbox is None:
            self._sandbox = open_sandbox(choose_backend(self._limits), self._limits)
        fault = self._fault_of_test(problem, self._sandbox)
        if fault:
            return GradingResult(Verdict("unverified", f"malformed tests: {fault}"))
        return grade_program(problem.tests, text, self._sandbox, self._limits)

    def close(self) -> None:
        """End the sandbox's processes. The next program starts new ones."""
        if self._sandbox is not None:
            self._sandbox.close()

    def _fault_of_test(self, problem: Problem, sandbox: Sandbox) -> str:
        """Returns why a `check` test is malformed, "" if it is not.

        The problem's own solution is tried once per problem, not once per completion.
        """
        if not problem.solutions or not problem.tests or problem.tests.get("type") != "check":
            return ""
        key = hash((problem.tests.get("test"), problem.tests.get("entry_point"), problem.solutions))
        if key not in self._faults:
            try:
                fault = fault_of_check(problem, sandbox, self._limits)
            except (BrokerLost, MalformedTests):  # grade_program reports the cause
                return ""
            if len(self._faults) >= _MAX_FAULTS:
                self._faults.clear()
            self._faults[key] = fault
        return self._faults[key]
