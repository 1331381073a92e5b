"""Grades by the rules of VibeThinker's own evaluation, for figures beside those of the paper.

replace(problem, kind="vibethinker"), response --answer_rules--> verdict
                                               --algebra: child.py, within the deadline--> verdict
"""

from __future__ import annotations

import json

from vt_ray.records import Problem, Verdict
from vt_ray.verify.child.process import ChildProcess
from vt_ray.verify.child.standby import ChildEnded, StandbyChild
from vt_ray.verify.grading_result import GradingResult
from vt_ray.verify.limits import Limits
from vt_ray.verify.mathematics.grader import CHILD_ENVIRONMENT
from vt_ray.verify.vibethinker.answer_rules import boxed_answer, compared, gold_answer

_MAX_CHARS = 2_000


class VibeThinkerGrader:
    """Compares the box after `</think>` with the gold answer, of mathematics or of a choice. For use by one thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._child = StandbyChild(self._start, "sympy process", "is sympy installed (pip install sympy)?")

    def grade(self, problem: Problem, text: str) -> GradingResult:
        """Returns the verdict on a whole response. Raises ChildLost if no child process starts."""
        gold = gold_answer(problem.answer)
        if not gold or len(gold) > _MAX_CHARS:
            return GradingResult(Verdict("unverified", f"gold unreadable: {problem.answer[:40]!r}"))
        answer = boxed_answer(text)
        if answer is None:
            return GradingResult(Verdict("wrong", "no_answer"))
        if len(answer) > _MAX_CHARS:
            return GradingResult(Verdict("wrong", "wrong_answer"))
        result = compared(answer, gold)
        if isinstance(result, bool):
            return GradingResult(Verdict("correct") if result else Verdict("wrong", "wrong_answer"))
        for pair in result:
            outcome = self._ask(*pair)
            if outcome != "equal":
                return GradingResult(Verdict("wrong", "timeout" if outcome == "timeout" else "wrong_answer"))
        return GradingResult(Verdict("correct"))

    def close(self) -> None:
        """End the child processes. The next pair starts new ones."""
        self._child.close()

    def _ask(self, gold: str, answer: str) -> str:
        try:
            reply = self._child.ask(json.dumps({"gold": gold, "answer": answer}).encode() + b"\n")
        except ChildEnded:  # the answer ended the process twice
            return "crash"
        return str(reply["outcome"])

    def _start(self) -> ChildProcess:
        limits = self._limits
        module = "vt_ray.verify.vibethinker.child"
        return ChildProcess(module, (), limits.math_timeout_s, limits.memory_mb, CHILD_ENVIRONMENT)
