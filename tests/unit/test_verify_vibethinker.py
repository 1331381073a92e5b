"""The second grader: the rules of the evaluation of VibeThinker's authors."""

from __future__ import annotations

import json
import time

import pytest

from vt_ray.records import Problem
from vt_ray.verify.files.rows import read_row
from vt_ray.verify.kinds import KINDS, kind_names
from vt_ray.verify.verifier import Verifier
from vt_ray.verify.vibethinker.answer_rules import boxed_answer, compared, gold_answer
from vt_ray.verify.vibethinker.latex_to_text import latex_to_text


@pytest.fixture(scope="module")
def verifier():
    with Verifier() as one:
        yield one


def status(verifier: Verifier, gold: str, response: str) -> str:
    return verifier.verify(Problem("q", "math", "vibethinker", "?", answer=gold), response).status


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<think>a</think> \\boxed{5}", "5"),
        ("a</think> \\boxed{4} or \\boxed{5}", "5"),
        ("</think>\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("a</think>\\boxed{4}</think>\\boxed{5}", "4"),
        ("\\boxed{5}", None),
        ("<think>\\boxed{5}</think> 5", None),
        ("<think>\\boxed{5}", None),
        ("</think>\\boxed{5", None),
        ("</think>\\boxed 5", None),
        ("</think>\\fbox{5}", None),
        ("</think>The answer is 5.", None),
        ("", None),
    ],
)
def test_the_box_after_the_thinking(response, answer):
    assert boxed_answer(response) == answer


EQUAL = [
    ("\\frac{1}{2}", "0.5"),
    ("\\frac12", "1/2"),
    ("\\dfrac{3}{4}", "3/4"),
    ("0.25", "\\frac{1}{4}"),
    ("5", "5.0"),
    ("5", "\\text{5}"),
    ("5", "x=5"),
    ("5", "5 cm"),
    ("5", "5\\text{ cm}"),
    ("5", "\\$5"),
    ("10", "10\\%"),
    ("90", "90^\\circ"),
    ("1000", "1,000"),
    ("1000000", "1,000,000.0"),
    ("12345678901234567890", "12345678901234567891"),  # both are one float
    ("(1,2)", "(1, 2)"),
    ("(1,\\frac{1}{2})", "(1, 0.5)"),
    ("(0,\\infty)", "\\left(0, \\infty\\right)"),
    ("1 and 2", "1,2"),
    ("\\sqrt{2}", "\\sqrt2"),
    ("2\\sqrt{3}", "\\sqrt{12}"),
    ("2\\pi", "\\pi*2"),
    ("2\\pi", "2 \\cdot \\pi"),
    ("x+1", "1+x"),
    ("y^2", "y*y"),
    ("1\\frac{1}{2}", "\\frac{3}{2}"),
    ("2 million", "2 million"),
    ("\\boxed{7}", "7"),
    ("B", "b"),
    ("B", "\\text{B}"),
    ("\\text{Monday}", "monday"),
]
DIFFERENT = [
    ("5", "6"),
    ("5", ""),
    ("5", "5.00001"),
    ("\\frac{2}{4}", "\\frac{1}{2}"),  # not reduced as the gold answer
    ("(1,2)", "[1,2]"),
    ("(1,2)", "(1,2,3)"),
    ("\\{1,2\\}", "\\{2,1\\}"),
    ("\\pi", "3.14159"),
    ("\\frac{1}{3}", "0.333333333"),
    ("2^{10}", "1024"),
    ("a+b+c", "c+b+a"),  # more than two letters
    ("B", "B. mitochondria"),
    ("B", "C"),
]
# Text that is not an expression, and expressions that must neither run as Python nor take long.
HOSTILE = [
    "9**9**9**9",
    "9^9^9",
    "(" * 500 + "1" + ")" * 500,
    "re('1')",
    "x.x",
    "__",
    "\\",
    "\\frac",
    "\\frac{",
    "\\sqrt",
    "\\text{ a\\text{ b",
    "{" * 300,
    "=",
    "/",
    "nan",
    "inf",
    "1e999",
    "\0",
    "1" * 1_999,
    "1" * 5_000,
    "-" * 1_000,
    "\u0661",
]


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal_answers(verifier, gold, answer):
    assert status(verifier, gold, f"<think>a</think>\\boxed{{{answer}}}") == "correct"


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different_answers(verifier, gold, answer):
    assert status(verifier, gold, f"<think>a</think>\\boxed{{{answer}}}") == "wrong"


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_are_wrong(verifier, answer):
    begin = time.monotonic()
    assert status(verifier, "70", f"</think>\\boxed{{{answer}}}") == "wrong"
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("gold", ["", "\\boxed{5", "x" * 5_000])
def test_a_gold_answer_that_cannot_be_read_is_unverified(verifier, gold):
    assert status(verifier, gold, "</think>\\boxed{5}") == "unverified"


def test_the_rules_without_algebra():
    assert compared("0.5", "\\frac{1}{2}") is True
    assert compared("(1,3)", "[1,3]") is False
    assert compared("x+1", "1+x") == [("1+x", "x+1")]
    assert gold_answer("so \\boxed{7}") == "7"


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        ("\\frac{1}{2}", "1/2"),
        ("3\\tfrac12", "3 1/2"),
        ("\\sqrt[3]{x+1}", "sqrt(x+1)"),
        ("x^{10}", "x^10"),
        ("\\left(1,\\infty\\right)", "(1,inf)"),
        ("\\text{a b}\\,c", "a b c"),
        ("\\unknown{5}", "5"),
        ("\\pi*2", "pi*2"),
    ],
)
def test_latex_as_text(latex, text):
    assert latex_to_text(latex) == text


def test_the_second_grader_is_no_kind_of_rows():
    """A row of `vt-tools verify` with a gold answer is mathematics, unless it names this grader."""
    row = {"gold": "5", "response": "</think>\\boxed{5}"}
    assert read_row(json.dumps(row).encode(), 1).kind == "math"
    assert read_row(json.dumps({**row, "kind": "vibethinker"}).encode(), 1).kind == "vibethinker"
    assert "vibethinker" in KINDS and kind_names() == "math, choice, code"
