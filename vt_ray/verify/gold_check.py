r"""Tests of gold answers by the verifier itself, before it grades any completion.

problem --math: read, and accepted in a box | choice: names an option | code: a reference program passes--> fault or ""
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from string import ascii_uppercase
from typing import cast

from vt_ray.records import Problem, Verdict
from vt_ray.verify.child.standby import ChildLost
from vt_ray.verify.mathematics.exact_numbers import exact_number
from vt_ray.verify.mathematics.grader import MathGrader
from vt_ray.verify.mathematics.latex_text import normalise, without_spaces
from vt_ray.verify.programs.extract_program import extract_program
from vt_ray.verify.verifier import Verifier

UNREADABLE = "the verifier cannot read the gold answer"
# The parser refuses this answer: the gold is parsed, but nothing is compared, so the time limit has no influence.
_NO_ANSWER = "?7919?"
_MAX_PROGRAMS = 3
# A program that was stopped proves nothing about its tests: this machine may be slow or small.
_STOPPED = ("timeout", "memory", "killed_sandbox")
# Nor does a program that cannot be loaded: it needs a package or a class that only its own judge has.
_NOT_LOADED = re.compile(r"^(?:ModuleNotFoundError|ImportError|NameError):", re.MULTILINE)


def gold_faults(problems: Iterable[Problem]) -> Iterator[str]:
    """Yields the fault of each problem's gold answer, in order; "" for a gold answer without a fault.

    A kind of the setting verify.kinds has no gold answer that can be tested here. Raises ValueError if the process
    that compares math cannot be started.
    """
    known: dict[str, str] = {}
    with Verifier() as verifier:
        for problem in problems:
            if problem.kind == "math":
                if problem.answer not in known:
                    known[problem.answer] = math_fault(verifier, problem)
                yield known[problem.answer]
            elif problem.kind == "choice":
                yield _choice_fault(verifier, problem)
            else:
                yield _code_fault(verifier, problem) if problem.kind == "code" else ""


def math_fault(verifier: Verifier, problem: Problem) -> str:
    """Returns the fault of a math problem's gold answer, "" for none. Raises ValueError as `gold_faults` does."""
    if exact_number(without_spaces(normalise(problem.answer))) is None and not _is_readable(verifier, problem):
        return UNREADABLE
    return _boxed_fault(verifier, problem)


def _is_readable(verifier: Verifier, problem: Problem) -> bool:
    try:
        read = cast(MathGrader, verifier.grader("math")).verdict(problem.answer, _NO_ANSWER)
    except ChildLost as error:
        raise ValueError(f"the gold answers cannot be checked: {error}") from error
    return read.status != "unverified"


def _choice_fault(verifier: Verifier, problem: Problem) -> str:
    letters = ascii_uppercase[: len(problem.options)]
    if letters and problem.answer not in letters:
        return f"the gold answer names none of the options {letters[0]} to {letters[-1]}"
    return _boxed_fault(verifier, problem)


def _boxed_fault(verifier: Verifier, problem: Problem) -> str:
    verdict = verifier.verify(problem, rf"\boxed{{{problem.answer}}}")
    return "" if verdict.status == "correct" else r"the verifier does not accept \boxed{gold answer}" + _why(verdict)


def _code_fault(verifier: Verifier, problem: Problem) -> str:
    """Returns how the first reference program fails if none passes; "" without a program or without a sandbox."""
    programs = [s.text for s in problem.solutions if extract_program(s.text) is not None][:_MAX_PROGRAMS]
    fault = ""
    for program in programs:
        result = verifier.grade(problem, program)
        verdict = result.verdict
        if verdict.status == "correct" or verdict.reason in _STOPPED or _NOT_LOADED.search(result.stderr_tail):
            return ""
        if verdict.status == "wrong" or verdict.reason.startswith("malformed tests"):
            fault = fault or "the reference program fails its tests" + _why(verdict)
    return fault


def _why(verdict: Verdict) -> str:
    return f" ({verdict.reason})" if verdict.reason else ""
