r"""Grades math answers: decides equal texts and numbers itself, and asks a child process for algebra.

    gold, answer --exact text comparison--> verdict
                 `--undecided--> StandbyChild (sympy) --outcome within the deadline--> verdict

An answer that exhausts time or memory is a wrong answer, unless the gold answer alone does the same.
"""

from __future__ import annotations

import json
import re

from vt_ray.records import Problem, Verdict
from vt_ray.verify.child.process import ChildProcess
from vt_ray.verify.child.standby import ChildEnded, StandbyChild
from vt_ray.verify.extraction.final_answer import extract_answer
from vt_ray.verify.grading_result import GradingResult
from vt_ray.verify.limits import Limits
from vt_ray.verify.mathematics.equality import ExactOnly, Undecided, same_answer
from vt_ray.verify.mathematics.exact_numbers import MAX_ANSWER_CHARS
from vt_ray.verify.mathematics.latex_text import normalise
from vt_ray.verify.mathematics.tolerance import within_tolerance

CHILD_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # sympy orders some terms by their hash: the same pair must get the same verdict
    "MPMATH_NOGMPY": "1",  # gmpy2 computes for minutes without looking at signals
    "SYMPY_GROUND_TYPES": "python",
    "LANG": "C.UTF-8",
}
_MAX_KNOWN_GOLDS = 4_096
_MAX_GOLD_CHARS = 8_000  # together with an answer of twice this length, a request still fits into the buffer of a pipe
_EXACT_CHARS = 400  # longer pairs are parsed and compared in the child process, which can be stopped
# A gold answer without a letter, a digit, a sign or a set, such as "..." or "$$". An answer must not equal it.
_NOTHING = re.compile(r"(?:\\(?:text|mathrm|boxed|[lc]?dots)(?![A-Za-z])|\\(?![{A-Za-z])|[\s.,;:$(){}\[\]~&?'\"_^])*")


class MathGrader:
    """Compares the final answer of a completion with the gold answer. For use by one thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._child = StandbyChild(self._start, "math process", "is math-verify installed (pip install math-verify)?")
        self._gold_is_readable: dict[str, bool] = {}

    def grade(self, problem: Problem, text: str) -> GradingResult:
        """Returns the verdict on the final answer in `text`. Raises ChildLost as `verdict` does."""
        answer = extract_answer(text)
        verdict = self.verdict(problem.answer, answer)
        if problem.tolerance and answer and verdict.status == "wrong":
            verdict = Verdict("correct") if within_tolerance(problem.answer, answer, problem.tolerance) else verdict
        return GradingResult(verdict)

    def verdict(self, gold: str, answer: str | None) -> Verdict:
        """Returns the verdict on `answer` (LaTeX, None for a completion without an answer).

        An answer that ends the child process twice is wrong: an answer must not be able to make itself unverified.
        Raises ChildLost if the gold answer alone ends the child twice too, or if no child starts.
        """
        if not 0 < len(gold.strip()) <= _MAX_GOLD_CHARS:
            reason = f"gold unreadable: {len(gold)} characters, the limits are 1 and {_MAX_GOLD_CHARS}"
            return Verdict("unverified", reason)
        if _NOTHING.fullmatch(normalise(gold)):
            return Verdict("unverified", f"gold unreadable: {gold!r} holds no answer")
        if not answer:
            return Verdict("wrong", "no_answer")
        if gold.strip() == answer.strip():
            return Verdict("correct")
        if len(answer) > max(MAX_ANSWER_CHARS, 2 * len(gold)):
            return Verdict("wrong", "wrong_answer")
        try:
            if len(gold) + len(answer) <= _EXACT_CHARS:
                equal = same_answer(gold, answer, ExactOnly())
                return Verdict("correct") if equal else Verdict("wrong", "wrong_answer")
        except Undecided:
            pass
        try:
            outcome = self._ask(gold, answer)
        except ChildEnded:
            outcome = self._ask_again(gold, answer)
        return self._verdict_of(outcome, gold)

    def _ask_again(self, gold: str, answer: str) -> str:
        """Returns the outcome of a pair that ended the child twice.

        It is "crash" if the pair ends the child again although the gold answer alone can be compared. Raises ChildEnded
        if the gold answer ends the child too.
        """
        self._gold_is_readable.pop(gold, None)
        if not self._readable(gold):
            return "gold_unreadable"
        try:
            return self._ask(gold, answer)
        except ChildEnded:
            return "crash"

    def close(self) -> None:
        """End the child processes. The next pair starts new ones."""
        self._child.close()

    def _verdict_of(self, outcome: str, gold: str) -> Verdict:
        if outcome == "equal":
            return Verdict("correct")
        if outcome == "different":
            return Verdict("wrong", "wrong_answer")
        if outcome == "gold_unreadable" or not self._readable(gold):
            return Verdict("unverified", "gold unreadable")
        return Verdict("wrong", "wrong_answer" if outcome == "crash" else outcome)

    def _readable(self, gold: str) -> bool:
        """Whether the gold answer can be compared with a small number."""
        if gold not in self._gold_is_readable:
            if len(self._gold_is_readable) >= _MAX_KNOWN_GOLDS:
                self._gold_is_readable.clear()
            self._gold_is_readable[gold] = self._ask(gold, "7919/7907") in ("equal", "different")
        return self._gold_is_readable[gold]

    def _ask(self, gold: str, answer: str) -> str:
        """Returns the child's outcome, "timeout" if the child had to be killed."""
        line = json.dumps({"gold": gold, "answer": answer}).encode() + b"\n"
        return str(self._child.ask(line)["outcome"])

    def _start(self) -> ChildProcess:
        return start_math_child(self._limits.math_timeout_s, self._limits.memory_mb)


def start_math_child(timeout_s: float, memory_mb: int) -> ChildProcess:
    """Start the process that compares answers with sympy. Raises OSError if no process can be started."""
    return ChildProcess("vt_ray.verify.mathematics.child", (), timeout_s, memory_mb, CHILD_ENVIRONMENT)
