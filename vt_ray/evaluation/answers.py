"""The final answers of completions, and their equality by the verifier's own rules: the votes of cons@n."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType
from typing import TypeVar

from vt_ray.evaluation.voting import answer_classes
from vt_ray.records import Problem, Rollouts, Status
from vt_ray.verify.child.standby import ChildLost
from vt_ray.verify.choice import extract_choice
from vt_ray.verify.extraction.final_answer import extract_answer
from vt_ray.verify.extraction.final_text import whole_response
from vt_ray.verify.limits import Limits
from vt_ray.verify.mathematics.grader import MathGrader
from vt_ray.verify.verifier import Verifier

# The rules of the paper's own evaluation, for a figure that can be held against the paper's.
SECOND_GRADER = "vibethinker"
# Seconds of comparisons for one problem. Without a limit, 64 wrong answers with long formulas would hold the whole
# evaluation for hours: each of 2,016 pairs may take `math_timeout_s`.
COMPARISON_S = 20.0
# Problems whose answers are compared at once, each in a thread with child processes of its own.
READERS = 2
# Problems that wait for a reader at most: their completions are in memory.
WAITING = 16
# Seconds that the caller waits for one problem before it takes the next completions. Most problems take milliseconds.
SOON_S = 0.5

In = TypeVar("In")
Out = TypeVar("Out")


def has_answers(kind: str) -> bool:
    """Whether completions of this kind have a final answer that can be voted on. Programs have none."""
    return kind in ("math", "choice")


def final_answer(problem: Problem, text: str) -> str | None:
    """The final answer in a completion, as the problem's grader reads it: LaTeX or a letter; None for no answer."""
    response = whole_response(problem, text)
    if problem.kind == "choice":
        return extract_choice(response, problem.options)
    return extract_answer(response) if problem.kind == "math" else None


def answer_equality(grader: MathGrader, seconds: float = COMPARISON_S) -> Callable[[str, str], bool]:
    """The equality of two answers by the rules of the math grader. A pair that it cannot compare is different, and so
    is each pair of unlike texts after `seconds` of comparisons."""
    left = seconds

    def equal(first: str, second: str) -> bool:
        nonlocal left
        if first == second or left <= 0:
            return first == second
        start = time.monotonic()
        try:
            return grader.verdict(first, second).status == "correct"
        except ChildLost:
            return False
        finally:
            left -= time.monotonic() - start

    return equal


class AnswerReader:
    """The answers of whole groups, and the verdicts of the second grader. For use by one thread at a time."""

    def __init__(self, limits: Limits):
        self._grader = MathGrader(limits)
        self._verifier = Verifier(limits)

    def close(self) -> None:
        """End the child processes, which compare two answers."""
        self._grader.close()
        self._verifier.close()

    def read(self, rollouts: Rollouts, verdicts: Sequence[Status]) -> tuple[list[str | None], list[int | None]]:
        """The answer of each completion and its class, see `ProblemResult`. A completion that was cut off has none.

        Both are empty for problems without answers to vote on.
        """
        problem = rollouts.problem
        if not has_answers(problem.kind):
            return [], []
        answers = [None if c.finish_reason == "length" else final_answer(problem, c.text) for c in rollouts.completions]
        return answers, answer_classes(answers, verdicts, answer_equality(self._grader))

    def second_verdicts(self, rollouts: Rollouts) -> list[Status]:
        """The verdict of SECOND_GRADER on each completion; empty for problems that it does not grade.

        It reads completions that were cut off too, as the paper's evaluation does.
        """
        problem = rollouts.problem
        if not has_answers(problem.kind):
            return []
        asked = replace(problem, kind=SECOND_GRADER)
        return [self._verifier.verify(asked, c.text).status for c in rollouts.completions]


class AnswerReaders:
    """READERS readers in threads. A context manager.

    One problem may take COMPARISON_S: the thread that feeds the generators does not wait for it.
    """

    def __init__(self, limits: Limits):
        self._readers = [AnswerReader(limits) for _ in range(READERS)]
        self._idle: SimpleQueue[AnswerReader] = SimpleQueue()
        for reader in self._readers:
            self._idle.put(reader)
        self._pool = ThreadPoolExecutor(READERS, "answers")

    def __enter__(self) -> AnswerReaders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        for reader in self._readers:
            reader.close()

    def map(self, work: Callable[[AnswerReader, In], Out], items: Iterable[In]) -> Iterator[Out]:
        """`work` of each item, in the order in which it ends. Raises the first error of `work`."""
        waiting: set[Future[Out]] = set()
        for item in items:
            waiting.add(self._pool.submit(self._with_reader, work, item))
            ended, waiting = wait(waiting, SOON_S if len(waiting) < WAITING else None, FIRST_COMPLETED)
            yield from (future.result() for future in ended)
        yield from (future.result() for future in as_completed(waiting))

    def _with_reader(self, work: Callable[[AnswerReader, In], Out], item: In) -> Out:
        reader = self._idle.get()
        try:
            return work(reader, item)
        finally:
            self._idle.put(reader)
