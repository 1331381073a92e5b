"""Numbers within a relative tolerance: SciBench's rule."""

from __future__ import annotations

import pytest

from vt_ray.records import Problem
from vt_ray.verify.mathematics.tolerance import leading_number
from vt_ray.verify.verifier import Verifier


@pytest.mark.parametrize(
    ("latex", "number"),
    [
        ("15.425", 15.425),
        (r"15.425 \mathrm{eV}", 15.425),
        (r"9.13 \times 10^{-35} \mathrm{~J}", 9.13e-35),
        (r"-2.5\cdot 10^{3}", -2500),
        ("1,234.5", 1234.5),
        (r"E = 3.2\text{ kJ}", 3.2),
        (r"x \approx 0.5", 0.5),
        (r"99\%", 99),
        (r"\frac{1}{4}", 0.25),
        ("1.5e-3", 0.0015),
        ("5 m", 5),
        ("3 + 4", None),
        ("2^{10}", None),
        ("about 5", None),
        ("", None),
        (".", None),
        (r"1\times 10^{999}", None),
        ("9" * 5000, None),
    ],
)
def test_the_number_at_the_beginning_of_an_answer(latex: str, number: float | None) -> None:
    assert leading_number(latex) == (None if number is None else pytest.approx(number))


@pytest.mark.parametrize(
    ("gold", "answer", "correct"),
    [
        (r"15.425 \mathrm{eV}", r"\boxed{15.0}", True),
        (r"15.425 \mathrm{eV}", r"\boxed{14.5}", False),
        (r"15.425 \mathrm{eV}", r"\boxed{-15.425}", False),
        (r"9.13 \times 10^{-35} \mathrm{~J}", r"\boxed{9.1 \times 10^{-35}}", True),
        (r"9.13 \times 10^{-35} \mathrm{~J}", r"\boxed{9.13}", False),
        (r"9.13 \times 10^{-35} \mathrm{~J}", r"\boxed{9.2\times 10^{-35}\ \mathrm{J}}", True),
        ("0", r"\boxed{0.01}", False),
        ("5", r"\boxed{5 or 7}", False),
        ("5", "No number.", False),
    ],
)
def test_a_number_within_the_tolerance_is_correct(gold: str, answer: str, correct: bool) -> None:
    problem = Problem("q", "science", "math", "?", gold, tolerance=0.05)
    with Verifier() as verifier:
        assert (verifier.verify(problem, answer).status == "correct") == correct


def test_without_a_tolerance_the_number_must_be_equal() -> None:
    with Verifier() as verifier:
        assert verifier.verify(Problem("q", "science", "math", "?", "15.425"), r"\boxed{15.4}").status == "wrong"
