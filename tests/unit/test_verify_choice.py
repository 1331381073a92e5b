"""Multiple choice: which letter a completion settled on."""

from __future__ import annotations

import time

import pytest

from vt_ray.records import Problem
from vt_ray.verify.choice import choice_verdict, extract_choice
from vt_ray.verify.verifier import Verifier


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (r"\boxed{B}", "B"),
        (r"\boxed{b}", "B"),
        (r"\boxed{(B)}", "B"),
        (r"\boxed{\text{B}}", "B"),
        (r"\boxed{\text{(B)}}", "B"),
        (r"\boxed{\textbf{(B) } 42}", "B"),
        (r"\boxed{\mathrm{B}.}", "B"),
        (r"\boxed{B. 42}", "B"),
        (r"\boxed{B) five apples}", "B"),
        (r"First \boxed{A}, no: after all it is clearly \boxed{C}", "C"),
        ("So the answer is (B).", "B"),
        ("So the answer is B.", "B"),
        ("The correct answer is: **B**", "B"),
        ("Answer: B", "B"),
        ("the answer is option (d)", "D"),
        (r"The answer is $\text{(C)}$.", "C"),
        ("the answer is (B) because (A) is too small.", "B"),
        ("the answer is A. Wait, the answer is B.", "B"),
        (r"$\boxed{\text{Option B}}$", "B"),
        (r"\boxed{Choice (C)}", "C"),
        (r"\boxed{Answer: D}", "D"),
        (r"\boxed{[A]}", "A"),
        (r"\boxed{\(A\)}", "A"),
        (r"\boxed{A,}", "A"),
        ('\\boxed{"A"}', "A"),
        ("\\boxed{\uff21}", "A"),
        (r"\boxed{A, because B is wrong}", "A"),
        (r"\boxed{D) None of the above}", "D"),
        (r"The answer is \(B\).", "B"),
        ("The answer is **B) five**", "B"),
        ("The answer is I.", "I"),
    ],
)
def test_a_letter(text, letter):
    assert extract_choice(text) == letter


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I do not know",
        r"\boxed{}",
        r"\boxed{42}",
        r"\boxed{A and B}",
        r"\boxed{A, B}",
        r"\boxed{A or B}",
        r"\boxed{(A) or (B)}",
        r"\boxed{A} \boxed{B}",
        r"\boxed{A}, \boxed{B}, \boxed{C}",
        r"the answer is (B) \boxed{",
        r"\boxed{Apple}",
        "the answer is a number",
        "the answer is A or B",
        "the answer is (A), (B)",
        "the answer is Apple",
        "the answer is I think C",
        "the answer is not A.",
        "the answer is both A and B",
        r"\boxed{not A}",
        r"\boxed{A. B}",
        r"\boxed{A: B}",
        r"\boxed{A, B, C}",
        r"\boxed{Both A and C}",
        r"\boxed{AB}",
        "\\boxed{\u0410}",
        "\\boxed{" * 1000,
    ],
)
def test_no_letter(text):
    assert extract_choice(text) is None


@pytest.mark.parametrize("gold", ["B", "(B)", "b", r"\text{(B)}"])
def test_verdict(gold):
    assert choice_verdict(gold, r"\boxed{B}").status == "correct"
    assert choice_verdict(gold, r"\boxed{C}").reason == "wrong_answer"
    assert choice_verdict(gold, "no idea").reason == "no_answer"


@pytest.mark.parametrize("gold", ["", "42", "A or B"])
def test_a_gold_that_is_no_letter_is_unverified(gold):
    assert choice_verdict(gold, r"\boxed{A}").status == "unverified"


@pytest.mark.parametrize("piece", ["the answer is ", "answer: ( ", "the answer is " + "{" * 50, "\\text{", " "])
def test_giant_completion_is_read_fast(piece):
    begin = time.monotonic()
    extract_choice(piece * (200_000 // len(piece)))
    assert time.monotonic() - begin < 1


def test_through_the_verifier():
    with Verifier() as verifier:
        verdict = verifier.verify(Problem("q", "s", "choice", "?", answer="D"), r"$\boxed{D}$")
        assert verdict.status == "correct"
        assert verdict.seconds >= 0
