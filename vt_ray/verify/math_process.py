r"""The owner of the algebra processes: sends one a pair, kills it when it does not answer, has a spare ready.

    pair --exact text comparison--> verdict
         `--undecided--> MathWorker (exec'ed, own session) --outcome within the deadline--> verdict
                              ^-- a second one, warm already, takes its place when it is killed

An answer that exhausts time or memory is a wrong answer, unless the gold answer alone does the same.
"""

from __future__ import annotations

import contextlib
import json
import re

from vt_ray.records import Verdict
from vt_ray.verify.latex_text import normalise
from vt_ray.verify.limits import Limits
from vt_ray.verify.math_answer import MAX_ANSWER_CHARS
from vt_ray.verify.math_guards import ExactOnly, Undecided, same_answer
from vt_ray.verify.math_worker import MathWorker, NotStarted

# After these the child is replaced: what was interrupted may have left sympy's caches half filled.
_SPOILING = ("timeout", "memory")
_MAX_KNOWN_GOLDS = 4_096
_MAX_GOLD_CHARS = 8_000  # with an answer of twice that, a line still fits into a pipe that is not read
_EXACT_CHARS = 400  # longer pairs go to the process that can be stopped, shape and all
# A gold answer without a letter, a digit, a sign or a set, such as "..." or "$$". An answer must not equal it.
_NOTHING = re.compile(r"(?:\\(?:text|mathrm|boxed|[lc]?dots)(?![A-Za-z])|\\(?![{A-Za-z])|[\s.,;:$(){}\[\]~&?'\"_^])*")


class MathLost(Exception):
    """The child could not be started, or ended without an answer."""


class ChildEnded(MathLost):
    """The child ended twice over the same pair."""


class MathProcess:
    """One child process and a warm spare, started when first needed. Not for use by several threads at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._worker: MathWorker | None = None
        self._spare: MathWorker | None = None
        self._gold_is_readable: dict[str, bool] = {}

    def verdict(self, gold: str, answer: str | None) -> Verdict:
        """Whether `answer` equals `gold` (both LaTeX); None is a completion without an answer.

        An answer that ends the child twice is wrong, because the answer must not decide that nothing counts. Raises
        MathLost where the gold answer by itself ends the child twice too, or where no child starts.
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
        """The outcome of a pair that the child ended over twice: a crash where it ends again, though the gold answer by
        itself can be compared. Raises ChildEnded where it ends over the gold answer too."""
        self._gold_is_readable.pop(gold, None)
        if not self._readable(gold):
            return "gold_unreadable"
        try:
            return self._ask(gold, answer)
        except ChildEnded:
            return "crash"

    def close(self) -> None:
        """End both children. The next pair would start others."""
        for worker in (self._worker, self._spare):
            if worker is not None:
                worker.close()
        self._worker = self._spare = None

    def _verdict_of(self, outcome: str, gold: str) -> Verdict:
        if outcome == "equal":
            return Verdict("correct")
        if outcome == "different":
            return Verdict("wrong", "wrong_answer")
        if outcome == "gold_unreadable" or not self._readable(gold):
            return Verdict("unverified", "gold unreadable")
        return Verdict("wrong", "wrong_answer" if outcome == "crash" else outcome)

    def _readable(self, gold: str) -> bool:
        """Whether the gold answer can be compared with a small number at all."""
        if gold not in self._gold_is_readable:
            if len(self._gold_is_readable) >= _MAX_KNOWN_GOLDS:
                self._gold_is_readable.clear()
            self._gold_is_readable[gold] = self._ask(gold, "7919/7907") in ("equal", "different")
        return self._gold_is_readable[gold]

    def _ask(self, gold: str, answer: str) -> str:
        """The child's outcome, "timeout" if it had to be killed; a child found dead is replaced once."""
        line = json.dumps({"gold": gold, "answer": answer}).encode() + b"\n"
        for _ in range(2):
            worker = self._ready_worker()
            try:
                outcome = worker.ask(line) or "timeout"
            except (OSError, EOFError, ValueError):
                self._replace()
                continue
            if outcome in _SPOILING:
                self._replace()
            return outcome
        raise ChildEnded("the math process ended twice without an answer")

    def _ready_worker(self) -> MathWorker:
        """The worker; and a spare behind it, started once this one no longer needs the core for its imports."""
        if self._worker is None:
            self._worker = self._started()
        try:
            self._worker.wait_until_ready()
        except NotStarted as error:
            self.close()
            reason = "the math process did not start: is math-verify installed (pip install math-verify)?"
            raise MathLost(f"{reason} {error}".strip()) from error
        if self._spare is None:
            with contextlib.suppress(MathLost):  # without a spare it is slower, no more
                self._spare = self._started()
        return self._worker

    def _replace(self) -> None:
        """End the worker, put the spare in its place, and start the next spare, all without waiting."""
        if self._worker is not None:
            self._worker.close()
        self._worker, self._spare = self._spare, None
        if self._worker is not None:
            with contextlib.suppress(MathLost):
                self._spare = self._started()

    def _started(self) -> MathWorker:
        try:
            return MathWorker(self._limits.math_timeout_s, self._limits.memory_mb)
        except OSError as error:
            raise MathLost(f"the math process cannot start: {error}") from error
