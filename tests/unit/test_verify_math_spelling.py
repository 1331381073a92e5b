r"""Equal answers in many spellings, and different answers that look alike: powers, roots, sets, matrices, words."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.records import Problem
from vt_ray.verify.extraction.final_answer import extract_answer
from vt_ray.verify.limits import Limits
from vt_ray.verify.mathematics.exact_numbers import exact_number
from vt_ray.verify.mathematics.form_reader import parse_form
from vt_ray.verify.mathematics.forms import Expression, Sequence, Union
from vt_ray.verify.mathematics.latex_text import normalise, without_spaces
from vt_ray.verify.mathematics.named_values import in_order_of_names
from vt_ray.verify.mathematics.set_difference import without
from vt_ray.verify.mathematics.unicode_to_latex import to_latex
from vt_ray.verify.verifier import Verifier

LIGHT = settings(max_examples=80, deadline=None)

# Each line: a gold answer, then answers that are worth the same, separated by " @ ".
SAME = {
    "powers": r"""
10^{-3} @ 10^-3 @ 10⁻³ @ 10^{-3}
x^{-2} @ x^-2 @ x^−2 @ x⁻²
0.000032 @ 3.2\times10^-5 @ 3.2 × 10⁻⁵ @ 3.2*10^-5 @ 3.2e-05
\sqrt2 @ 2^0.5 @ 2**0.5 @ 2^(1/2) @ 2^{\frac12} @ 2^\frac12
e^{-x} @ e^-x @ exp(-x) @ \exp(-x)
1.05^{T} @ 1.05^T
P(1+r)^T @ P(1+r)^{T} @ P \cdot (1+r)^T
x^{23} @ x²³ @ x^23
e^{2x} @ exp(2x) @ \exp{2x}
""",
    "roots": r"""
2\sqrt{3} @ 2√3 @ 2√(3) @ √12 @ \sqrt12 @ 2sqrt(3)
\sqrt{3.5} @ √3.5
\sqrt{\pi} @ √π
2 @ ∛8 @ \sqrt[3]8
i @ √-1
\frac{\sqrt3}{2} @ √3/2 @ {\sqrt{3} \over 2}
\sqrt{a+b} @ √(a+b) @ \sqrt(a+b)
""",
    "unicode": r"""
\frac16 @ ⅙ @ 1⁄6 @ ¹⁄₆
3\frac{3}{8} @ 3⅜
101_2 @ 101₂
-2 @ ‐2 @ ‑2 @ −2 @ ﹣2
42 @ 4​2 @ ﻿42
145^\circ @ 145º @ 145˚ @ 145°
5.4\text{ cents} @ 5.4¢
\mathbb{R} @ ℝ
x @ 𝑥
""",
    "thousands": r"""
11,\! 111,\! 111,\! 100 @ 11111111100 @ 11{,}111{,}111{,}100 @ 11\,111\,111\,100 @ 11,111,111,100
\{1000, 2\} @ \{1{,}000, 2\} @ \{1,\!000, 2\}
(2,\,100) @ (2,100)
""",
    "named values": r"""
5 @ f(10)=5 @ f(-1)=5 @ f(\frac12)=5 @ f^{(3)}(0)=5 @ E[X]=5 @ \mathbb{E}[X]=5 @ \operatorname{Var}(X)=5 @ |S|=5
5 @ |AB|=5 @ |\vec{v}|=5 @ |z|=5 @ [ABC]=5 @ [\triangle ABC]=5 @ x_{\max}=5 @ x_{\text{max}}=5 @ a_{n+1}=5
5 @ \text{Area of }ABC=5 @ \text{number of ways}=5 @ \gcd(a,b)=5 @ \det(A)=5 @ \hat{\theta}=5 @ n(S)=5 @ \max f=5
\frac12 @ P(A)=\frac12 @ P(A\mid B)=\frac12 @ P(X\le 2)=\frac12 @ \Pr[X=1]=\frac12 @ P(\text{win})=\frac12
3:5 @ x:y=3:5 @ x = 3:5
5 @ Answer: 5 @ \text{Ans: }5 @ \Rightarrow 5 @ \implies x=5
""",
    "text and style": r"""
\frac12 @ \text{1/2} @ \mathrm{\frac{1}{2}} @ \textbf{1/2} @ {1\over2} @ \nicefrac{1}{2}
(3,4) @ \text{(3, 4)}
5\text{ cm} @ \text{5 cm} @ \textnormal{5 cm}
5 @ \bf 5 @ {\large 5} @ \texttt{5} @ \strut 5 @ 5\checkmark @ \mbox{$5$} @ \ensuremath{5} @ `5` @ \vphantom{\frac12}5
5 @ \color{red} 5 @ \textcolor{red}{5} @ \colorbox{yellow}{5} @ \fbox{5} @ 5\nonumber @ \mathbf{$5.$}
\boxed{5} @ 5 @ x = 5
x=\boxed{\frac{1}{2}} @ 0.5
\frac{x^{2}+1}{2} @ {x^{2}+1 \over 2} @ x^2+1 \over 2
\frac{1}{\frac{a}{b}} @ \frac{1}{a \over b}
""",
    "words": r"""
\text{east} @ EAST @ \text{EAST} @ East @ \operatorname{east} @ \textsc{East}
\text{Evelyn} @ EVELYN
\text{ellipse} @ \text{an ellipse} @ an ellipse
\text{October 30} @ October 30 @ October 30th @ \text{October }30
\text{30 October} @ 30 October
\text{No} @ \text{NO} @ no
""",
    "sets": r"""
\{1\pm\sqrt5,-2\} @ -2, 1\pm\sqrt5 @ \{1+\sqrt5,1-\sqrt5,-2\} @ -2, 1+\sqrt5, 1-\sqrt5
(1,2),(1,-2) @ (1,\pm2)
(0,9)\cup(9,36) @ (0,36)\setminus\{9\} @ 0<x<36, x\ne9 @ x\in(0,36), x\ne 9 @ (0,36)-\{9\}
(-\infty,1)\cup(1,2)\cup(2,\infty) @ x\ne1,2 @ x\ne1 \text{ and } x\ne2 @ x\notin\{1,2\} @ \mathbb{R}\backslash\{2,1\}
(-\infty,2)\cup(3,\infty) @ \mathbb{R}\setminus[2,3] @ (-\infty,2)U(3,\infty) @ (-\infty,2)\bigcup(3,\infty)
(-\infty,2)\cup(3,\infty) @ ]-\infty,2[ \cup ]3,\infty[
(0,36] @ [0,36]\setminus\{0\} @ ]0,36]
(-\sqrt3,\sqrt3) @ |x|<\sqrt3 @ \sqrt3>|x|
(-\infty,-2)\cup(2,\infty) @ |x|>2
[-5,-1] @ |x+3|\le2
(2,\infty) @ x\not\le2 @ \text{all real numbers greater than 2}
(-\infty,0] @ \text{all non-positive real numbers}
(-2,1) @ \{(-2,1)\} @ P(-2,1)
""",
    "matrices": r"""
\begin{pmatrix}1/3\\2/3\end{pmatrix} @ \frac13\begin{pmatrix}1\\2\end{pmatrix} @ \left(\tfrac13,\tfrac23\right)^T
\begin{pmatrix}1/3\\2/3\end{pmatrix} @ \begin{pmatrix}1/3&2/3\end{pmatrix}^{\top} @ [1/3,2/3]^\mathsf{T}
\begin{pmatrix}1/3\\2/3\end{pmatrix} @ \begin{pmatrix}1/3\cr2/3\end{pmatrix}
\begin{pmatrix}1/3\\2/3\end{pmatrix} @ \bigl(\begin{smallmatrix}1/3\\2/3\end{smallmatrix}\bigr)
\begin{pmatrix}-1&0\\0&-1\end{pmatrix} @ -\begin{pmatrix}1&0\\0&1\end{pmatrix}
\begin{pmatrix}\sqrt2\\2\end{pmatrix} @ \sqrt2\begin{pmatrix}1\\\sqrt2\end{pmatrix}
""",
    "systems and order": r"""
(-2,1) @ \begin{cases}x=-2\\y=1\end{cases} @ \left\{\begin{array}{l}x=-2\\y=1\end{array}\right.
(-2,1) @ y=1,x=-2 @ (y,x)=(1,-2)
(-2,1) @ \begin{aligned}x&=-2\\y&=1\end{aligned} @ x=-2 \text{ and } y=1
(6,31,-1) @ c=-1,b=31,a=6 @ (c,b,a)=(-1,31,6)
1,-2 @ x_1=-2,x_2=1 @ \begin{cases}x=1\\x=-2\end{cases} @ 1\ \&\ -2
\left(3,\frac\pi2\right) @ r=3, \theta=\frac\pi2
""",
    "bases and periods": r"""
52_8 @ (52)_8 @ 52\text{ (base 8)} @ 52\text{ base }8 @ 52_{\text{base }8} @ 52_{\text{eight}} @ 52 in base 8
\frac13 @ 0.\bar{3} @ 0.\dot3 @ 0.3\bar3
\frac{14}{3} @ 4.\dot6 @ 4.\bar6
\frac17 @ 0.\overline{142857} @ 0.\dot{1}4285\dot7
""",
    "functions": r"""
\cot x @ cot(x) @ cos(x)/sin(x)
\tan\frac x2 @ tan(x/2)
\sin^2 x @ sin^2(x)
\arctan x @ arctan(x) @ \operatorname{arctan}(x)
\log_2 3 @ log_2(3) @ log_2 3
\binom{n}{2} @ C(n,2) @ {}_nC_2 @ {n \choose 2}
\frac{x^2}{2}+C @ \frac{x^2}{2}+c
\gamma^2-1 @ (\gamma-1)(\gamma+1)
\frac{E_0^2}{2} @ 0.5E_0^2
2I_0 @ I_0+I_0
""",
}

DIFFERENT = {
    "powers": r"""
0.5 @ 2^0.5
5 @ 5^T
x @ x^T
x^T @ x^t @ x
64 @ 2³²
x^6 @ x²³
23 @ 2³
2^{1/2} @ 2^1/2
2^{3}x @ 2^{3x}
10^3 @ 10^-3
""",
    "roots and fractions": r"""
0 @ √10 @ √100
6 @ √16 @ \sqrt16
\sqrt5 @ √51
3\sqrt{1} @ 3√13
34 @ 3⁄4
x+\frac12 @ {x+1\over2}
\frac{x+1}{2} @ x+{1\over2}
0.3 @ 0.\bar3
1,2,3 @ 1,2,3,\ldots @ 1, 2, 3, ...
3.14 @ 3.14... @ 3.14…
""",
    "negations and bars": r"""
5 @ \not=5 @ \neg=5 @ \lnot=5 @ \neg 5 @ ¬5 @ \not>5 @ x\notin\{5\} @ \text{not}=5 @ \not\equiv5 @ \not\approx5
(5,\infty) @ \not>5 @ x\not\ge5
E_0 @ E_1 @ I_0
\gamma @ \Gamma @ 0.5772
2x+1 @ \left.2x+1\right|_{x=3} @ (2x+1)\big|_{x=3} @ 2x+1|_0^1
32x+80 @ 32x^\circ+80
""",
    "names": r"""
5 @ |x|=5 @ x(10)=5 @ 2f(3)=5 @ \text{twice }x=5 @ f(3)-1=5 @ f(3)f(4)=5 @ |S|+1=5 @ |S|\ge5 @ [ABC]^2=5 @ x^2=5
x^2 @ f(x+1)=x^2
\frac12 @ 1-P(A)=\frac12 @ P(A)<\frac12 @ 2P(A)=\frac12
5 @ Answer: -5 @ Room 5 @ \text{Case 5}
30 @ October 30
ABC @ abc
\text{A} @ \text{a}
5 @ \text{three times }x=5 @ \text{one third of }x=5
a+b+C @ a+b+c
\frac{cx^2}{2}+C @ \frac{cx^2}{2}+c
""",
    "sets": r"""
(0,9)\cup(9,36) @ (0,36)\setminus\{8\} @ [0,36]\setminus\{9\} @ 0<x<36 \text{ or } x\ne9 @ (0,36)
(0,36) @ 0<x<36, x\ne9
[5,36] @ [0,36]\setminus(0,5)
(0,36] @ (0,36)\setminus(36,40)
(-\infty,2)\cup(3,\infty) @ \mathbb{R}\setminus(2,3)
(-\sqrt3,\sqrt3) @ |x|\le\sqrt3 @ |x|>\sqrt3
(-\infty,2) @ |x|<2 @ |z|<2
(-2,2) @ |x|<-2
(1,5) @ |x+3|<2 @ |2x-3|<2
(0,1) @ ]0,1] @ [0,1[
(1,2) @ \{1,2\} @ \{(2,1)\} @ (1,\pm2)
2100 @ (2,\,100)
""",
    "matrices and order": r"""
\begin{pmatrix}1&2\\3&4\end{pmatrix} @ \begin{pmatrix}1&2\\3&4\end{pmatrix}^T @ \begin{vmatrix}1&2\\3&4\end{vmatrix}
\begin{pmatrix}1\\2\end{pmatrix} @ \frac12\begin{pmatrix}1\\2\end{pmatrix} @ -\begin{pmatrix}1\\2\end{pmatrix}
(1,-2) @ y=1,x=-2 @ (y,x)=(1,-2) @ x_1=-2,x_2=1 @ \begin{cases}x=-2\\y=1\end{cases}
(6,31,-1) @ a=6,c=31,b=-1
\left(3,\frac\pi2\right) @ \theta=3, r=\frac\pi2
52_8 @ (52)_9 @ 52 @ 52\text{ base }9
""",
}


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Limits()) as one:
        yield one


def statuses(verifier: Verifier, lines: str) -> dict[str, str]:
    """Returns the status of each pair of a table, by "gold @ answer"."""
    found = {}
    for line in lines.strip().splitlines():
        gold, *answers = line.split(" @ ")
        for answer in answers:
            problem = Problem("q", "algebra", "math", "?", answer=gold)
            found[f"{gold} @ {answer}"] = verifier.verify(problem, f"So it is $\\boxed{{{answer}}}$.").status
    return found


@pytest.mark.parametrize("kind", SAME)
def test_another_spelling_is_the_same_answer(verifier, kind):
    assert [pair for pair, status in statuses(verifier, SAME[kind]).items() if status != "correct"] == []


@pytest.mark.parametrize("kind", DIFFERENT)
def test_another_answer_is_wrong_and_decided(verifier, kind):
    assert [pair for pair, status in statuses(verifier, DIFFERENT[kind]).items() if status != "wrong"] == []


# --- each gold in other writings ---

GOLDS = r"""
42 | -\frac{3}{7} | 2\sqrt{13} | \frac{1+\sqrt{5}}{2} | x^{2}+3x-10 | 10^{-4} | (3,-\frac{1}{2}) | [-2,7) | 1,-2
(-\infty,2]\cup[5,\infty) | \{1,2,3\} | \begin{pmatrix}1&2\\3&4\end{pmatrix} | 30^\circ | \text{east} | 12\text{ cm}
x\ge3 | 3x-y=5 | 3+4i | 2\pi | \binom{8}{3} | \log_{2}5 | y=2x+3 | 1101_{2} | 5:3 | \frac{\pi}{4}
"""
WRITINGS = {
    "frames": r"\boxed{%s}",
    "bold": r"\mathbf{%s}",
    "large": r"\large %s",
    "dollars": "$%s$",
    "period": "%s.",
    "mark": r"%s\ \checkmark",
    "equals": "= %s",
    "implied": r"\Rightarrow %s",
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_gold_is_equal_to_itself_in_another_writing(verifier, writing):
    golds = [gold.strip() for gold in GOLDS.replace("\n", " | ").split(" | ") if gold.strip()]
    pairs = [f"{gold} @ {WRITINGS[writing] % gold}" for gold in golds if not (writing == "equals" and "=" in gold)]
    answered = [extract_answer(f"\\boxed{{{pair.split(' @ ')[1]}}}") for pair in pairs]
    assert None not in answered
    assert [pair for pair, status in statuses(verifier, "\n".join(pairs)).items() if status != "correct"] == []


@pytest.mark.parametrize(
    ("gold", "answer"),
    [(r"\boxed{5}", "5"), (r"$\boxed{\frac{1}{2}}$", "0.5"), (r"x=\boxed{-3}", "-3")],
)
def test_a_gold_that_is_a_box_is_the_content_of_the_box(verifier, gold, answer):
    assert statuses(verifier, f"{gold} @ {answer} @ {answer}1") == {
        f"{gold} @ {answer}": "correct",
        f"{gold} @ {answer}1": "wrong",
    }


# --- laws ---


@LIGHT
@given(st.integers(0, 10**9))
def test_a_run_of_superscripts_is_one_exponent_and_a_root_takes_the_whole_number(number):
    raised = str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    assert to_latex(f"x{raised}") == f"x^{{{number}}}"
    assert (
        without_spaces(normalise(f"√{number}")) == without_spaces(normalise(rf"\sqrt{number}")) == rf"\sqrt{{{number}}}"
    )
    assert without_spaces(normalise(f"x^-{number}")) == f"x^{{-{number}}}"


@LIGHT
@given(st.integers(0, 10**12), st.sampled_from([",", "{,}", r",\!", r",\! ", r"\,", "\u202f", "\u2009"]))
def test_a_grouped_number_is_the_number(number, separator):
    written = f"{number:,}".replace(",", separator)
    assert exact_number(without_spaces(normalise(written))) == number


@LIGHT
@given(st.text(alphabet=r"\{}()[]|^_$&,. 0123456789abxXT√²₂⅙overchtsqfian=<>-", max_size=60))
def test_any_text_is_normalised_and_read_without_an_error(text):
    assert isinstance(normalise(text), str)
    parse_form(text)


@LIGHT
@given(st.permutations(["a", "b", "c"]), st.lists(st.integers(-9, 9), min_size=3, max_size=3))
def test_named_values_come_in_the_order_of_their_names(names, values):
    written = parse_form(", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True)))
    assert isinstance(written, Sequence)
    ordered = [item.parts[1] for item in in_order_of_names(written).items]  # type: ignore[union-attr]
    by_name = dict(zip(names, values, strict=True))
    assert ordered == [Expression(str(by_name[name])) for name in "abc"]


def interval(low: int, high: int, brackets: str) -> Sequence:
    return Sequence(brackets, (Expression(str(low)), Expression(str(high))))


def contains(form, point: Fraction) -> bool:
    """Whether a number is in a union of intervals with integer ends."""
    if isinstance(form, Union):
        return any(contains(part, point) for part in form.parts)
    if not form.items:
        return False
    low, high = (Fraction(item.latex) for item in form.items)
    return (low < point < high) or (
        (point == low and form.brackets[0] == "[") or (point == high and form.brackets[1] == "]")
    )


BRACKETS = st.sampled_from(["()", "[]", "(]", "[)"])
ENDS = st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda ends: ends[0] < ends[1])


@LIGHT
@given(ENDS, BRACKETS, ENDS, BRACKETS, st.sets(st.integers(0, 6), max_size=2))
def test_a_point_is_in_the_difference_when_it_is_in_the_first_set_only(whole, kept, cut, removed, points):
    first, second = interval(*whole, kept), interval(*cut, removed)
    removed_points = Sequence("{}", tuple(Expression(str(point)) for point in sorted(points)))
    for minus, inside in (
        (second, lambda x: contains(second, x)),
        (removed_points, lambda x: x in points),
    ):
        difference = without(first, minus)
        if difference is None:
            continue
        for half in range(15):
            x = Fraction(half, 2)
            assert contains(difference, x) == (contains(first, x) and not inside(x)), (first, minus, difference, x)
