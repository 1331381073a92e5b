"""Text in, verdict out: the grading of completions inside one worker process.

    problem, text --kind--> math_process | choice | code_tests --> Verdict(status, reason, seconds)

Work that needs a time limit happens in two child processes, each started when first needed: one for algebra, one for
programs. A failure of a child is `unverified`, never a wrong answer, and never raises.
"""

from __future__ import annotations

import time
from dataclasses import replace
from types import TracebackType

from vt_ray.records import Problem, Verdict
from vt_ray.verify.choice import choice_verdict
from vt_ray.verify.code_tests import examine_program, fault_of_check
from vt_ray.verify.examination import Examination
from vt_ray.verify.final_answer import extract_answer
from vt_ray.verify.limits import Limits
from vt_ray.verify.math_process import MathLost, MathProcess
from vt_ray.verify.sandbox.backends import Choice, NoSandbox, Sandbox, choose_backend, open_sandbox
from vt_ray.verify.sandbox.client import BrokerLost
from vt_ray.verify.test_forms import MalformedTests

_MAX_FAULTS = 100_000

__all__ = ["Examination", "Limits", "Verifier"]


class Verifier:
    """Grades one completion at a time; for use by one thread. A context manager, or call `close`."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits if limits is not None else Limits()
        self._math = MathProcess(self._limits)
        self._sandbox: Sandbox | None = None
        self._faults: dict[int, str] = {}  # of `check` tests whose problem has a solution, "" for sound ones

    @property
    def backend(self) -> str:
        """How programs are confined here, see `sandbox/backends.py`. Raises NoSandbox where code is refused."""
        return self._choice().backend

    @property
    def backend_notes(self) -> tuple[str, ...]:
        """How that backend was found, in plain words. Raises NoSandbox."""
        return self._choice().notes

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Grade `text`, a whole completion, as an answer to `problem`. Never raises."""
        return self.examine(problem, text).verdict

    def examine(self, problem: Problem, text: str) -> Examination:
        """As `verify`, with what the program wrote."""
        begin = time.monotonic()
        try:
            examination = self._examination(problem, text)
        except MathLost as error:
            examination = Examination(Verdict("unverified", str(error), retry=True))
        except NoSandbox as error:
            examination = Examination(Verdict("unverified", str(error)))
        except Exception as error:  # a bug in here must not become a wrong answer, nor end a run of days
            reason = f"the verifier failed: {type(error).__name__}: {str(error)[:200]}"
            examination = Examination(Verdict("unverified", reason, retry=True))
        return replace(examination, verdict=replace(examination.verdict, seconds=time.monotonic() - begin))

    def close(self) -> None:
        """End the child processes. They would start again with the next problem."""
        self._math.close()
        if self._sandbox is not None:
            self._sandbox.close()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _choice(self) -> Choice:
        return choose_backend(self._limits)

    def _examination(self, problem: Problem, text: str) -> Examination:
        if problem.kind == "code":
            return self._examine_program(problem, text)
        return Examination(self._verdict(problem, text))

    def _verdict(self, problem: Problem, text: str) -> Verdict:
        if problem.kind == "choice":
            return choice_verdict(problem.answer, text)
        if problem.kind != "math":
            return Verdict("unverified", f"kind {problem.kind!r} is none of math, choice and code")
        return self._math.verdict(problem.answer, extract_answer(text))

    def _examine_program(self, problem: Problem, text: str) -> Examination:
        if self._sandbox is None:
            self._sandbox = open_sandbox(self._choice(), self._limits)
        fault = self._fault_of_test(problem, self._sandbox)
        if fault:
            return Examination(Verdict("unverified", f"malformed tests: {fault}"))
        return examine_program(problem.tests, text, self._sandbox, self._limits)

    def _fault_of_test(self, problem: Problem, sandbox: Sandbox) -> str:
        """Why a `check` test must be malformed. The problem's own solution is tried once, not for each answer."""
        if not problem.solutions or not problem.tests or problem.tests.get("type") != "check":
            return ""
        key = hash((problem.tests.get("test"), problem.tests.get("entry_point"), problem.solutions))
        if key not in self._faults:
            try:
                fault = fault_of_check(problem, sandbox, self._limits)
            except (BrokerLost, MalformedTests):  # examine_program says which
                return ""
            if len(self._faults) >= _MAX_FAULTS:
                self._faults.clear()
            self._faults[key] = fault
        return self._faults[key]
