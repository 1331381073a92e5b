"""Text in, verdict out: the grading of completions inside one worker process.

    problem, text --problem.kind, kinds.py--> Grader.grade --> Verdict(status, reason, seconds)

Work that needs a time limit happens in child processes, which start when they are first needed: one for algebra, one
for programs, one for each of the user's functions. A failure of a child is `unverified`, never a wrong answer, and
never raises.
"""

from __future__ import annotations

import time
from dataclasses import replace
from types import TracebackType
from typing import Protocol

from vt_ray.import_path import import_object
from vt_ray.records import Problem, Verdict
from vt_ray.verify.child.standby import ChildLost
from vt_ray.verify.extraction.final_text import whole_response
from vt_ray.verify.grading_result import GradingResult
from vt_ray.verify.kinds import CUSTOM, KINDS, kind_names
from vt_ray.verify.limits import Limits
from vt_ray.verify.sandbox.backends import ChosenBackend, NoSandbox, choose_backend

__all__ = ["GradingResult", "Limits", "Verifier"]


class Grader(Protocol):
    """Grades the completions of one kind of problems."""

    def grade(self, problem: Problem, text: str) -> GradingResult: ...

    def close(self) -> None: ...


class UnknownKind(Exception):
    """A problem's kind is neither in the table of kinds nor in the setting verify.kinds."""


class Verifier:
    """Grades one completion at a time; for use by one thread. A context manager, or call `close`."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits if limits is not None else Limits()
        self._graders: dict[str, Grader] = {}

    @property
    def backend(self) -> str:
        """How programs are confined here, see `sandbox/backends.py`. Raises NoSandbox if code is refused here."""
        return self._choice().backend

    @property
    def backend_notes(self) -> tuple[str, ...]:
        """How that backend was found, in plain words. Raises NoSandbox."""
        return self._choice().notes

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Grade `text`, a whole completion, as an answer to `problem`. Never raises."""
        return self.grade(problem, text).verdict

    def grade(self, problem: Problem, text: str) -> GradingResult:
        """As `verify`, with the end of the program's output."""
        begin = time.monotonic()
        try:
            result = self.grader(problem.kind).grade(problem, whole_response(problem, text))
        except ChildLost as error:
            result = GradingResult(Verdict("unverified", str(error), retry=True))
        except (NoSandbox, UnknownKind) as error:
            result = GradingResult(Verdict("unverified", str(error)))
        except Exception as error:  # a bug of the verifier must not become a wrong answer, nor end a run of days
            reason = f"the verifier failed: {type(error).__name__}: {str(error)[:200]}"
            result = GradingResult(Verdict("unverified", reason, retry=True))
        return replace(result, verdict=replace(result.verdict, seconds=time.monotonic() - begin))

    def grader(self, kind: str) -> Grader:
        """The grader of `kind`, created at its first use. Raises UnknownKind."""
        if kind not in self._graders:
            self._graders[kind] = self._open_grader(kind)
        return self._graders[kind]

    def close(self) -> None:
        """End the child processes. The next problem starts new ones."""
        for grader in self._graders.values():
            grader.close()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _choice(self) -> ChosenBackend:
        return choose_backend(self._limits)

    def _open_grader(self, kind: str) -> Grader:
        if kind in KINDS:
            return import_object(KINDS[kind].grader)(self._limits)
        if kind in self._limits.kinds:
            return import_object(CUSTOM.grader)(self._limits, kind)
        raise UnknownKind(f"kind {kind!r} is not one of {kind_names(self._limits.kinds)}")
