"""Text in, verdict out: what grades completions inside one worker process.

    problem, text --kind--> math_process | choice | code_tests --> Verdict(status, reason, seconds)

Whatever needs a time limit happens in two child processes, each started when first needed: one for algebra,
one that runs programs. A failure of theirs is `unverified`, never a wrong answer, and never raises.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from types import TracebackType

from vt_ray.records import BUILTIN_SOURCE, Problem, Verdict
from vt_ray.verify.choice import choice_verdict
from vt_ray.verify.code_tests import code_verdict
from vt_ray.verify.limits import Limits
from vt_ray.verify.math_answer import extract_answer
from vt_ray.verify.math_process import MathLost, MathProcess
from vt_ray.verify.sandbox.client import BrokerClient

__all__ = ["Examination", "Limits", "Verifier"]


@dataclass(frozen=True, slots=True)
class Examination:
    """A verdict, and the end of what the program of the last test wrote: escaped, for people to read."""

    verdict: Verdict
    stdout_tail: str = ""
    stderr_tail: str = ""


class Verifier:
    """Grades one completion at a time; for use by one thread. A context manager, or call `close`."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits if limits is not None else Limits()
        self._math = MathProcess(self._limits)
        self._broker = BrokerClient(self._limits)

    @property
    def backend(self) -> str:
        """How far programs are confined: "unsandboxed" has time and memory limits, but no walls."""
        return "unsandboxed"

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Grade `text`, a whole completion, as an answer to `problem`. Never raises."""
        return self.examine(problem, text).verdict

    def examine(self, problem: Problem, text: str) -> Examination:
        """As `verify`, with what the program wrote."""
        begin = time.monotonic()
        try:
            verdict = self._verdict(problem, text)
        except MathLost as error:
            verdict = Verdict("unverified", str(error))
        except Exception as error:  # a bug in here must not become a wrong answer, nor end a run of days
            verdict = Verdict("unverified", f"the verifier failed: {type(error).__name__}: {str(error)[:200]}")
        return Examination(replace(verdict, seconds=time.monotonic() - begin))

    def close(self) -> None:
        """End the child processes. They would start again with the next problem."""
        self._math.close()
        self._broker.close()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _verdict(self, problem: Problem, text: str) -> Verdict:
        if problem.kind == "choice":
            return choice_verdict(problem.answer, text)
        if problem.kind == "code":
            return self._code_verdict(problem, text)
        if problem.kind != "math":
            return Verdict("unverified", f"kind {problem.kind!r} is none of math, choice and code")
        answer = extract_answer(text)
        if not answer:
            return Verdict("wrong", "no_answer")
        return self._math.verdict(problem.answer, answer)

    def _code_verdict(self, problem: Problem, text: str) -> Verdict:
        if problem.source != BUILTIN_SOURCE:
            return Verdict("unverified", "refused: unsandboxed backend runs built-in problems only")
        return code_verdict(problem.tests, text, self._broker, self._limits)
