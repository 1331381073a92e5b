"""Math verdicts: extraction, exact arithmetic, forms, and algebra in a child process. No cluster."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.records import Problem, Verdict
from vt_ray.verify.extraction.final_answer import extract_answer
from vt_ray.verify.limits import Limits
from vt_ray.verify.mathematics.equality import ExactOnly, Undecided, same_answer
from vt_ray.verify.mathematics.exact_numbers import exact_number, exact_verdict
from vt_ray.verify.mathematics.latex_text import matching_braces, normalise, without_outer_braces
from vt_ray.verify.verifier import Verifier

CORPUS = Path(__file__).parents[1] / "data" / "verify" / "math.jsonl"
ROWS = [json.loads(line) for line in CORPUS.read_text().splitlines()]
BOMB_TIMEOUT_S = 3.0
LIGHT = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Limits(math_timeout_s=BOMB_TIMEOUT_S)) as one:
        yield one


def grade(verifier: Verifier, gold: str, answer: str) -> Verdict:
    problem = Problem("q", "algebra", "math", "?", answer=gold)
    return verifier.verify(problem, f"So it is $\\boxed{{{answer}}}$.")


# --- the corpus ---


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_corpus_row(verifier, row):
    problem = Problem(row["id"], "math", "math", "?", answer=row["gold"])
    assert verifier.verify(problem, row["response"]).status in row["expect"]


@pytest.mark.parametrize(
    ("gold", "text", "status"),
    [
        ("1", r"The answer is $\boxed{" + "9" * 200_000 + "}$.", "wrong"),
        ("1", r"The answer is $\boxed{\text{" + "a" * 200_000 + "}}$.", "wrong"),
        ("1", r"\boxed{" * 20_000, "wrong"),
        ("1", "the final answer is " * 20_000 + "1", "correct"),
        ("1", "$" * 20_000 + r"\boxed{1}", "correct"),
        ("1", r"\boxed{" * 500 + "1" + "}" * 500, "correct"),
        ("1", r"$\boxed{" + "1+" * 20_000 + "1}$", "wrong"),
        ("1", r"\boxed{" + "{" * 50_000 + "}" * 50_000 + "}", "wrong"),
        ("1", r"\boxed{" + "(" * 1_500 + "1" + ")" * 1_500 + "}", None),
        ("1", "the answer is" + " " * 200_000, "wrong"),
    ],
    ids=["digits", "words", "open", "anchors", "dollars", "nested", "sum", "braces", "brackets", "spaces"],
)
def test_giant_completion_is_answered_within_the_deadline(verifier, gold, text, status):
    begin = time.monotonic()
    verdict = verifier.verify(Problem("q", "m", "math", "?", answer=gold), text)
    assert time.monotonic() - begin < 10 * BOMB_TIMEOUT_S
    assert status is None or verdict.status == status


# --- shapes and values ---

SAME = [
    ("5", "5."),
    ("7", "7,"),
    ("5", r"\text{five}"),
    ("5", "five"),
    (r"\frac{1}{2}", r"\dfrac12"),
    (r"\frac{1}{2}", "1/2"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"\frac{2}{3}", "0.666667"),
    (r"3\frac{1}{2}", "3.5"),
    ("1234567", "1,234,567"),
    ("1000", r"1\,000"),
    ("x^2", "x²"),
    ("x^{10}", "x^10"),
    (r"90^\circ", "90"),
    (r"90^\circ", r"\frac{\pi}{2}"),
    (r"\frac{\pi}{2}", r"90^{\circ}"),
    (r"10\text{ cm}", r"10\,\mathrm{cm}"),
    (r"10\text{ cm}", "10 cm"),
    (r"10\text{ cm}^2", r"10\text{ square centimeters}"),
    ("12", r"12\text{ ways}"),
    (r"\$5", "5"),
    (r"50\%", r"\frac12"),
    (r"5\%", "5"),
    ("5", "5 percent"),
    ("42", "40+2=42"),
    ("x=5", "x=2+3=5"),
    (r"\sqrt{2}", r"\sqrt2\approx 1.414"),
    ("1,2", r"x=1 \text{ or } x=2"),
    (r"\pm 2", "-2, 2"),
    ("x=1,y=2", "(1,2)"),
    ("(1,2)", r"\left(1, 2\right)"),
    ("(1,2)", r"\langle 1,2\rangle"),
    ("(-1,2)", "-1<x<2"),
    (r"[-1,2)", r"x \in [-1,2)"),
    (r"(-\infty,-1)\cup(1,\infty)", r"x<-1 \text{ or } x>1"),
    (r"\mathbb{R}", r"(-\infty, \infty)"),
    ("x>1", "2x>2"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1 & 2 \\ 3 & \frac{8}{2}\end{bmatrix}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
    (r"\text{Tuesday}", "tuesday"),
    ("e^2", r"\mathrm{e}^2"),
    ("ab", "ba"),
    ("(1+i)^2", "2i"),
    (r"\sin^2 x+\cos^2 x", "1"),
    ("2^{100}", "1267650600228229401496703205376"),
    (r"\ln(x^2)", r"2\ln x"),
    ("0", r"\sqrt{2}+\sqrt{3}-\sqrt{5+2\sqrt{6}}"),
    (r"\sum_{k=1}^{10} k", "55"),
    (r"\log_2 8", "3"),
    ("0.5x", r"\frac{x}{2}"),
    (r"\text{(C)}", "C"),
    (r"101_2", r"101_{2}"),
    (r"\binom{10}{5}", "252"),
    (r"\$1,000", "1000"),
    (r"1,000\text{ cm}^2", "1000"),
    ("(x,y)=(1,2)", "(1,2)"),
    (r"0.\overline{3}", r"\frac13"),
    (r"\frac{1}{6}", r"0.1\overline{6}"),
    ("5", "5.0"),
    ("10", r"2.5\cdot 4"),
    (r"\sqrt{ab}", r"\sqrt{a}\sqrt{b}"),
    ("|x+5|", r"\sqrt{(x+5)^2}"),
    (r"\max(a,b)", r"\frac{a+b+|a-b|}{2}"),
    ("60", r"90^\circ-30^\circ"),
    (r"180^\circ-2x^\circ", r"(180-2x)^\circ"),
    (r"0.05+x", r"x+5\%"),
    ("100", r"\binom{5}{2}\binom{5}{2}"),
]

DIFFERENT = [
    ("3", "1=2=3"),
    ("42", "x+y=42"),
    ("42", r"42 \approx 41"),
    ("42", r"42\text{ is wrong}"),
    ("42", r"42\text{ or }43"),
    ("42", "42 or 43"),
    ("5", r"5\text{ million}"),
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    ("10^{-50}", "0"),
    ("0", "10^{-50}"),
    ("x", "x+10^{-50}"),
    ("10^{20}", r"\sqrt{10^{40}+1}"),
    ("0.0000001", "0.0000002"),
    ("10^{50}", "10^{50}+1"),
    (r"10\text{ cm}", r"10\text{ m}"),
    (r"10\text{ cm}", r"10\text{ cm}^2"),
    (r"\$5", "5€"),
    (r"5\text{ mW}", r"5\text{ MW}"),
    (r"0.5\%", "0.5"),
    ("1", "1 percent"),
    ("101_2", "101_3"),
    ("101_2", "101"),
    ("101_2", "5"),
    ("x", "X"),
    ("X^2+x", "x^2+x"),
    (r"f'(x)", "f(x)"),
    (r"\{3,4\}", "(3,4)"),
    ("(3,4)", "[3,4]"),
    ("[3,4)", "(3,4]"),
    ("(3,4)", "4,3"),
    (r"\{1,2\}", r"\{1,2,2\}"),
    ("AB", "BA"),
    (r"\text{listen}", r"\text{silent}"),
    ("even", "neve"),
    (r"\text{A}", r"\text{A and B}"),
    ("1", "True"),
    ("12:00", "12"),
    ("1:2", "2:1"),
    ("5", "x=5 or x=6"),
    ("x=5", "y=5"),
    ("x>1", "y>1"),
    ("x>1", "-x>-1"),
    ("x>1", "x<1"),
    ("x^2=1", "x=1"),
    ("x^2+1=0", "x^2+2=0"),
    ("56", "5 6"),
    ("11", "5 6"),
    ("n", "n!"),
    ("|x|", "x"),
    (r"\sqrt{x^2}", "x"),
    (r"5\pmod 7", "5"),
    (r"\frac{1}{0}", r"\frac{2}{0}"),
    ("1", "1+0.0001"),
    ("42", r"42\text{ (not sure)}"),
    ("12", r"12\text{k}"),
    ("7", "7'"),
    ("1,234", "1234.5"),
    (r"\{100,200\}", "100200"),
    (r"e^{\pi\sqrt{163}}", "262537412640768744"),
    ("1", ""),
    # An integer gold wants the integer.
    ("123456789", "123456788.9999999"),
    ("5", "4.9999999"),
    ("2", r"\sqrt{2}\cdot 1.41421356"),
    # Equal for every argument above some negative number, or of some signs.
    ("x+5", "|x+5|"),
    ("|x+5|", "x+5"),
    ("2x+1", "|2x+100|-99"),
    ("2x+1", "|2x+5000|-4999"),
    ("x+5", r"\sqrt{(x+5)^2}"),
    (r"\frac{b^2}{2|ac|}", r"\frac{b^2}{2ac}"),
    ("abc", "|abc|"),
    # Numbers that stand side by side are a product.
    ("20", r"\binom{5}{2}\binom{5}{2}"),
    ("9", r"\binom{4}{2}3"),
    ("4", "4 or"),
    # Dots say that more follows.
    ("1, 2, 3", "1, 2, 3, ..."),
    ("1, 2, 3", "1, 2, 3..."),
    ("3.14", "3.14..."),
    ("0.66", "0.66…"),
    # Degrees and percent of one term.
    ("32x+80", r"32x^\circ+80"),
    ("32x+80", r"32x+80^\circ"),
    ("x^2+8", r"x^2+8\%"),
    ("12", r"20-8\%"),
]


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_same(verifier, gold, answer):
    assert grade(verifier, gold, answer).status == "correct"


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(verifier, gold, answer):
    assert grade(verifier, gold, answer).status != "correct"


# --- extraction ---


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1}, \boxed{2}", "1, 2"),
        (r"\boxed{1}\boxed{2", None),
        (r"\boxed{2} \boxed{2}", "2"),
        (r"\boxed{x=\boxed{5}}", "x={5}"),
        (r"\boxed 5.", "5"),
        (r"\boxed {5}", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{\{1\}}", r"\{1\}"),
        (r"put it in \boxed{ ... so \boxed{42}", "42"),
        (r"\boxed{41} and then \boxed{42", None),
        (r"\boxed{}", None),
        ("The final answer is: 42.", "42"),
        (r"the answer is $\frac{1}{2}$, as said", r"\frac{1}{2}"),
        ("The answer is 0.5.", "0.5"),
        ("**Answer:** 7", "7"),
        ("the answer is 1. No, the answer is 2.", "2"),
        ("I do not know", None),
        ("", None),
    ],
)
def test_extract_answer(text, answer):
    assert extract_answer(text) == answer


@LIGHT
@given(st.text(alphabet="\\{}boxed 1$,", max_size=200))
def test_extraction_and_shapes_never_raise(text):
    answer = extract_answer("\\boxed{" + text)
    normalise(text)
    with contextlib.suppress(Undecided):
        same_answer("1", answer or "", ExactOnly())


@LIGHT
@given(st.text(alphabet="\\{}a", max_size=60))
def test_matching_braces_are_properly_nested(text):
    spans = sorted(matching_braces(text).items())
    assert all(text[start] == "{" and text[end] == "}" and start < end for start, end in spans)
    for (_, end), (start, later) in zip(spans, spans[1:], strict=False):
        assert start > end or later < end


def test_brace_matching_takes_linear_time():
    def seconds(size: int) -> float:
        text = "\\boxed{" * size + "}" * size
        begin = time.thread_time()
        extract_answer(text)
        without_outer_braces("{" * size + "}" * size)
        return time.thread_time() - begin

    seconds(1_000)
    assert seconds(40_000) < 40 * max(seconds(4_000), 0.01)


# --- exact arithmetic ---

INTEGERS = st.integers(-10_000, 10_000)
POSITIVE = st.integers(1, 10_000)


@LIGHT
@given(INTEGERS, POSITIVE, POSITIVE)
def test_a_fraction_equals_its_multiples(top, bottom, factor):
    assert exact_verdict(f"\\frac{{{top}}}{{{bottom}}}", f"{top * factor}/{bottom * factor}") is True


@LIGHT
@given(INTEGERS, POSITIVE, INTEGERS, POSITIVE)
def test_fractions_are_equal_as_numbers_are(a, b, c, d):
    verdict = exact_verdict(f"\\frac{{{a}}}{{{b}}}", f"\\dfrac{{{c}}}{{{d}}}")
    assert verdict is (Fraction(a, b) == Fraction(c, d))


@LIGHT
@given(st.decimals(-1000, 1000, places=4))
def test_decimals_equal_their_fraction(value):
    fraction = Fraction(str(value))
    assert exact_verdict(f"{fraction.numerator}/{fraction.denominator}", f"{value:f}") is True


@LIGHT
@given(INTEGERS, INTEGERS)
def test_exact_verdict_is_symmetric_on_numbers(a, b):
    assert exact_verdict(str(a), str(b)) is exact_verdict(str(b), str(a)) is (a == b)


@pytest.mark.parametrize("text", ["9" * 5_000, "1/0", r"\frac{1}{0}", "2^{99}", "1e9", "nan", "", "١٢"])
def test_no_exact_number(text):
    assert exact_number(text) is None or text == "١٢"


# --- verdicts ---


@pytest.mark.parametrize("gold", [r"\foo{\bar", "", r"\begin{pmatrix}a&b\\c&d\end{pmatrix}^{100000}"])
def test_unreadable_gold_is_unverified(verifier, gold):
    verdict = grade(verifier, gold, "x+1")
    assert verdict.status == "unverified"
    assert "gold unreadable" in verdict.reason


@pytest.mark.parametrize("gold", ["...", "$$", ".", r"\text{ }", "()", r"\ ", ";", r"\boxed{}"])
def test_a_gold_that_holds_no_answer_is_unverified(verifier, gold):
    for answer in (";", "...", r"\text{}", "5"):
        verdict = grade(verifier, gold, answer)
        assert verdict.status == "unverified"
        assert "gold unreadable" in verdict.reason


@pytest.mark.parametrize("gold", [r"\{\}", "<", "+", r"\emptyset", "0"])
def test_a_gold_of_one_sign_is_an_answer(verifier, gold):
    assert grade(verifier, gold, gold).status == "correct"
    assert grade(verifier, gold, "7").status == "wrong"


def test_a_number_for_an_equation_is_wrong_though_the_equation_is_hard_to_read(verifier):
    assert grade(verifier, r"y^{\prime}+ry-rx(t)=0", "7").status == "wrong"


def test_no_answer(verifier):
    verdict = verifier.verify(Problem("q", "m", "math", "?", answer="1"), "I give up.")
    assert (verdict.status, verdict.reason) == ("wrong", "no_answer")


def test_grading_needs_no_ray_and_no_torch():
    code = "import sys, vt_ray.verify.verifier; print({'ray', 'torch', 'vllm', 'sympy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "set()", done.stderr


# --- laws ---

WRITINGS = st.sampled_from([gold for pair in SAME for gold in pair])
OUTSIDE = st.sampled_from(
    ["{}", " {} ", "${}$", "$$ {} $$", r"\({}\)", "{}.", r"\displaystyle {}", "{{{}}}", r"\,{}\,", r"\left({}\right)"]
)


@LIGHT
@given(WRITINGS)
def test_a_gold_equals_itself(gold):
    assert same_answer(gold, f" {gold} ", ExactOnly())


@LIGHT
@given(st.sampled_from(SAME + DIFFERENT), OUTSIDE)
def test_what_stands_around_an_answer_changes_no_verdict(verifier, pair, outside):
    gold, answer = pair
    if outside.startswith(r"\left(") and not re.fullmatch(r"[\w.]+", answer):
        return  # brackets around a list make it a tuple
    assert grade(verifier, gold, answer).status == grade(verifier, gold, outside.format(answer)).status


@LIGHT
@given(st.sampled_from(SAME + DIFFERENT), st.sampled_from(SAME + DIFFERENT))
def test_a_verdict_does_not_depend_on_the_pair_before(verifier, before, pair):
    alone = grade(verifier, *pair).status
    grade(verifier, *before)
    assert grade(verifier, *pair).status == alone
    assert (alone == "correct") is (pair in SAME)
