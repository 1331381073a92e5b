"""Which verdicts another worker might give otherwise: asked of the verifier's own, so that the reasons stay true."""

from __future__ import annotations

import pytest

from vt_ray.records import Problem, Verdict
from vt_ray.verify.retrying import worth_retrying
from vt_ray.verify.verifier import Verifier

ANSWER = "\\boxed{7}"
CODE = "```python\nprint(3)\n```"
CASE = {"input": "", "output": "3\n"}


@pytest.fixture(scope="module")
def verifier():
    with Verifier() as one:
        yield one


@pytest.mark.parametrize(
    "problem",
    [
        Problem("q", "algebra", "math", "?", answer=""),
        Problem("q", "algebra", "math", "?", answer="\\frac{1}{"),
        Problem("q", "algebra", "choice", "?", answer="neither"),
        Problem("q", "algebra", "essay", "?", answer="7"),
        Problem("q", "code", "code", "?", tests=None),
        Problem("q", "code", "code", "?", tests={"type": "stdio", "cases": []}),
        Problem("q", "code", "code", "?", tests={"type": "call", "function": "1", "cases": [CASE]}),
    ],
    ids=lambda problem: f"{problem.kind} {problem.answer or problem.tests}",
)
def test_a_problem_that_nobody_can_grade_is_not_worth_another_try(verifier, problem):
    verdict = verifier.verify(problem, CODE if problem.kind == "code" else ANSWER)
    assert verdict.status == "unverified"
    assert not worth_retrying(verdict)


@pytest.mark.parametrize(
    "reason",
    [
        "worker lost",
        "the sandbox broker was lost (EOFError: it ended)",
        "the math process ended twice without an answer",
        "the verifier failed: OSError: no space left",
    ],
)
def test_the_verifiers_own_failure_is(reason):
    assert worth_retrying(Verdict("unverified", reason))


def test_what_has_a_verdict_is_not_graded_again():
    assert not worth_retrying(Verdict("wrong", "timeout"))
    assert not worth_retrying(Verdict("correct"))
