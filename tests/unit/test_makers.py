"""The made problems: exact answers, disjoint splits, and correct solutions in three styles.

Answers are recomputed from the question's text alone, by other means than the makers use.
"""

from __future__ import annotations

import io
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from fractions import Fraction
from functools import lru_cache
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.data.makers import LEVELS, SPLITS, SUBDOMAINS, count_problems, make_problems, split_of
from vt_ray.records import Problem

MATH = [name for name in SUBDOMAINS if name != "code"]


@lru_cache
def whole_split(subdomain: str, split: str = "test") -> list[Problem]:
    return make_problems(subdomain, split, count_problems(subdomain, split), seed=0)


def evaluate(expression: str, **names: int | Fraction) -> Fraction:
    """Evaluates a polynomial such as `3x^2-x` exactly."""
    text = re.sub(r"(?<=[\d)])(?=[xy(])", "*", expression).replace("^", "**")
    return Fraction(eval(re.sub(r"\d+", r"F(\g<0>)", text), {"F": Fraction, **names}))


def from_latex(answer: str) -> Fraction:
    return Fraction(re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", answer))


def numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"-?\d+", text)]


# --- the splits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subdomain", SUBDOMAINS)
def test_every_problem_that_exists_has_its_own_id_and_question(subdomain: str) -> None:
    problems = [problem for split in SPLITS for problem in whole_split(subdomain, split)]
    assert len({p.question_id for p in problems}) == len({p.question for p in problems}) == len(problems) >= 3000
    assert min(count_problems(subdomain, split) for split in ("probe", "test")) >= 200
    assert all(count_problems(subdomain, split, [level]) >= 50 for split in SPLITS for level in LEVELS)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SUBDOMAINS), st.lists(st.integers(), min_size=3, max_size=3), st.integers(1, 300))
def test_splits_are_disjoint_whatever_the_seeds(subdomain: str, seeds: list[int], count: int) -> None:
    drawn = [make_problems(subdomain, split, count, seed) for split, seed in zip(SPLITS, seeds, strict=True)]
    ids = [{problem.question_id for problem in problems} for problems in drawn]
    questions = [{problem.question for problem in problems} for problems in drawn]
    for sets in (ids, questions):
        assert len(set.union(*sets)) == 3 * count
    assert [{split_of(i) for i in found} for found in ids] == [{split} for split in SPLITS]


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(SUBDOMAINS), st.sampled_from(SPLITS), st.integers(), st.integers(1, 80))
def test_a_smaller_count_gives_the_beginning(subdomain: str, split: str, seed: int, count: int) -> None:
    assert make_problems(subdomain, split, 80, seed)[:count] == make_problems(subdomain, split, count, seed)


def test_seeds_differ_and_one_problem_is_written_alike_under_all() -> None:
    one, two = (make_problems("algebra", "probe", 2000, seed) for seed in (1, 2))
    assert one != two
    by_id = {problem.question_id: problem for problem in one}
    assert all(by_id[p.question_id] == p for p in two if p.question_id in by_id)


def test_the_split_of_a_key_never_changes() -> None:
    keys = {"algebra/linear/2_2_9": "train", "algebra/linear/2_8_9": "probe", "geometry/area/8_5": "test"}
    assert {key: split_of(key) for key in keys} == keys


def test_the_same_in_every_process() -> None:
    program = (
        "from hashlib import sha256; from vt_ray.data.makers import *\n"
        "made = [make_problems(s, p, 60, 7) for s in SUBDOMAINS for p in SPLITS]\n"
        "print(sha256(repr(made).encode()).hexdigest())"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": root}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1


def test_families_are_chosen_by_name():
    drawn = make_problems("code", "train", 60, 0, families=["formula", "number", "median"])
    assert {p.question_id.split("/")[1] for p in drawn} == {"formula", "number"}


def test_levels_are_kept_and_spread_evenly() -> None:
    assert {p.level for p in make_problems("code", "train", 50, 0, levels=[2])} == {2}
    levels = [p.level for p in make_problems("statistics", "train", 300, 0)]
    assert [levels.count(level) for level in LEVELS] == [100, 100, 100]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("physics", "train", 1, 0), r"'physics'.*algebra"),
        (("algebra", "dev", 1, 0), r"'dev'.*train"),
        (("algebra", "train", 0, 0), r"count=0.*ask for 1 to"),
        (("algebra", "test", 5, 0, LEVELS, ["knitting"]), "unknown family 'knitting': choose from .*linear"),
        (("algebra", "test", 10**6, 0), rf"count=1000000.*has {count_problems('algebra', 'test')} problems"),
        (("algebra", "train", 1, 0, [4]), r"levels=\[4\].*1, 2, 3"),
        (("algebra", "train", 1, 0, []), r"levels=\[\]"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make_problems(*arguments)


# --- the answers, from the question alone -----------------------------------------------------------------


def root(line: Callable[[int], Fraction]) -> Fraction:
    """Returns the zero of a straight line from two of its points."""
    return -line(0) / (line(1) - line(0))


def algebra_holds(question: str, answer: str) -> bool:
    if system := re.search(r"(\d*x\+y)=(-?\d+), x-y=(-?\d+)\b.* (?:Find|what is) ([xy])", question):
        total, gap = int(system[2]), int(system[3])
        x = root(lambda x: evaluate(system[1], x=x, y=x - gap) - total)
        return (x if system[4] == "x" else x - gap) == int(answer)
    if values := re.search(r"x=(\d+), y=(\d+)", question):
        expression = re.search(r"Find (\d\S*y)", question)
        assert expression
        return evaluate(expression[1], x=int(values[1]), y=int(values[2])) == int(answer)
    if equation := re.search(r"(\S*x\S*)=(\S*?)\.", question):
        return root(lambda x: evaluate(equation[1], x=x) - evaluate(equation[2], x=x)) == int(answer)
    expression = re.search(r"(?:Simplify|Write) (\S+?)(?:\.$| in short)", question)
    assert expression
    flat = re.fullmatch(r"-?\d*x([+-]\d+)?", answer) is not None
    return flat and all(evaluate(expression[1], x=x) == evaluate(answer, x=x) for x in (-3, 0, 2))


def geometry_holds(question: str, answer: str) -> bool:
    given, value = numbers(question), from_latex(answer)
    if question.startswith(("Distance", "How far")):
        return value**2 == (given[0] - given[2]) ** 2 + (given[1] - given[3]) ** 2
    if question.startswith("Right"):
        third = value if question.endswith("squared?") else value**2
        return third == (given[0] ** 2 + given[1] ** 2 if "legs" in question else given[0] ** 2 - given[1] ** 2)
    if "ngles" in question:
        return value + sum(given) == (360 if "Quadrilateral" in question else 180) and value > 0
    if "riangle" in question or "Trapezoid" in question:
        return 2 * value == (given[0] * given[1] if len(given) == 2 else (given[0] + given[1]) * given[2])
    if "has perimeter" in question:
        return given[1] * (Fraction(given[0], 2) - given[1]) == value
    if "has area" in question:
        return value == 2 * (given[1] + Fraction(given[0], given[1]))
    a, b = given
    return value == (a * b if "Area" in question else a + b + a + b)


def calculus_holds(question: str, answer: str) -> bool:
    value = from_latex(answer)
    if limit := re.search(r"\((\S+)\)/\((\S+)\)", question):

        def top(x: int) -> Fraction:
            return evaluate(limit[1], x=x)

        def bottom(x: int) -> Fraction:
            return evaluate(limit[2], x=x)

        if "->oo" in question:
            return value == (top(100) - top(0)) / (bottom(100) - bottom(0))
        at = numbers(question.split("->")[1])[0]
        # The quotient is a line with a hole: its value there is the mean of its neighbours.
        return bottom(at) == 0 and value == (top(at - 1) / bottom(at - 1) + top(at + 1) / bottom(at + 1)) / 2
    expression = re.search(r"[\dx^+-]*x[\dx^+-]*(?= |\.)", question.replace("f(x)=", ""))
    assert expression

    def f(x: int | Fraction) -> Fraction:
        return evaluate(expression[0], x=x)

    if ends := re.search(r"from (-?\d+) to (-?\d+)", question):
        low, high = int(ends[1]), int(ends[2])
        if "slope" in question:
            return value == (f(high) - f(low)) / (high - low)
        return value == (f(low) + 4 * f(Fraction(low + high, 2)) + f(high)) * (high - low) / 6  # Simpson
    at = numbers(question)[-1]
    return value == (8 * (f(at + 1) - f(at - 1)) - f(at + 2) + f(at - 2)) / 12  # exact up to degree 4


def statistics_holds(question: str, answer: str) -> bool:
    given, value = numbers(question), from_latex(answer)
    if "Draw 2" in question:
        red, blue = given[:2]
        wanted = ("r", "r" if "then red" in question else "b")
        pairs = list(permutations("r" * red + "b" * blue, 2))
        return value == Fraction(pairs.count(wanted), len(pairs))
    if "P(red)" in question:
        return value == Fraction(given[0], sum(given))
    if "Find x" in question:
        return statistics.mean([*map(Fraction, given[:-1]), value]) == given[-1]
    measures: dict[str, Callable[[list[int]], object]] = {
        "mean": lambda v: Fraction(sum(v), len(v)),
        "median": lambda v: statistics.median(map(Fraction, v)),
        "mode": lambda v: statistics.multimode(v)[0] if len(statistics.multimode(v)) == 1 else None,
        "range": lambda v: max(v) - min(v),
    }
    measure = re.search("mean|median|mode|range", question)
    assert measure
    return measures[measure[0]](given) == value


HOLDS = {
    "algebra": algebra_holds,
    "geometry": geometry_holds,
    "calculus": calculus_holds,
    "statistics": statistics_holds,
}


@pytest.mark.parametrize("subdomain", MATH)
def test_answers_follow_from_the_questions(subdomain: str) -> None:
    wrong = [p for p in whole_split(subdomain) if not HOLDS[subdomain](p.question, p.answer)]
    assert not wrong, [(p.question, p.answer) for p in wrong[:3]]


@pytest.mark.parametrize("subdomain", MATH)
def test_most_answers_are_small(subdomain: str) -> None:
    answers = [p.answer for p in whole_split(subdomain)]
    assert sum("x" in a or abs(from_latex(a)) <= 200 for a in answers) >= 0.97 * len(answers)


# --- the solutions ----------------------------------------------------------------------------------------


def false_equations(text: str) -> tuple[list[str], int]:
    """Returns the false numeric equations in a text, and the number of all equations."""
    false, seen = [], 0
    for word in text.split():
        sides = [side for side in word.rstrip(":,").split("=") if re.fullmatch(r"[\d+*/()^-]*\d[\d+*/()^-]*", side)]
        seen += len(sides) > 1
        if len({evaluate(side) for side in sides}) > 1:
            false.append(word)
    return false, seen


@pytest.mark.parametrize("subdomain", MATH)
def test_every_line_of_working_is_true_and_the_last_is_the_box(subdomain: str) -> None:
    equations = 0
    for problem in whole_split(subdomain):
        for solution in problem.solutions:
            *working, box = solution.text.split("\n")
            assert box == rf"\boxed{{{problem.answer}}}"
            false, seen = false_equations("\n".join(working))
            assert not false, (problem.question, solution)
            equations += seen
            assert (solution.style == "checked") == ("check" in solution.text and working[-1].endswith(" ok"))
    assert equations > 4 * len(whole_split(subdomain))


@pytest.mark.parametrize("subdomain", SUBDOMAINS)
def test_styles_grow_and_stay_short(subdomain: str) -> None:
    code = subdomain == "code"
    limits = (90, 140, 240) if code else (25, 80, 140)
    for problem in whole_split(subdomain) + make_problems(subdomain, "train", 2000, 0):
        assert [s.style for s in problem.solutions] == ["direct", "steps", "checked"]
        lengths = [len(s.text) for s in problem.solutions]
        assert lengths[0] < lengths[1] < lengths[2]
        assert all(length <= limit for length, limit in zip(lengths, limits, strict=True)), problem
        assert len(problem.question) <= (110 if code else 60), problem.question
        assert all(text.isascii() for text in (problem.question, *(s.text for s in problem.solutions)))
        assert problem.source == "builtin" and problem.kind == ("code" if code else "math")


# --- the programs -----------------------------------------------------------------------------------------


def program_in(text: str) -> str:
    found = re.fullmatch(r"(?:[^`]*\n)?```python\n(.*)\n```", text, re.DOTALL)
    assert found, text
    return found[1]


def results(program: str, tests: dict) -> list:
    """Run one of our own solutions on the inputs of the tests."""
    code = compile(program, "solution", "exec")
    if tests["type"] == "call":
        names: dict = {}
        exec(code, names)
        return [names[tests["function"]](*case["args"]) for case in tests["cases"]]
    printed = []
    for case in tests["cases"]:
        out = io.StringIO()
        with redirect_stdout(out):
            exec(code, {"input": io.StringIO(case["input"].rstrip("\n")).readline})
        printed.append(out.getvalue())
    return printed


def test_every_program_passes_its_tests() -> None:
    for problem in whole_split("code"):
        assert problem.tests and problem.answer == "" and 3 <= len(problem.tests["cases"]) <= 5
        wanted = [case["output" if problem.tests["type"] == "stdio" else "expected"] for case in problem.tests["cases"]]
        programs = [program_in(solution.text) for solution in problem.solutions]
        assert len(set(programs)) == 3
        for program in programs:
            assert results(program, problem.tests) == wanted, (problem.question, program)
        assert not false_equations(problem.solutions[2].text.split("\n")[0])[0]
        assert len({str(output) for output in wanted}) > 1, problem  # a constant must not pass


def list_oracle(question: str) -> Callable[[list[int]], object]:
    """Returns the expected result of a list question, computed from its words."""
    found = re.search(
        r"(sum|list|count|largest|smallest) of (?:([\dx*+-]+) for )?the (.*?)(?: \(0 if none\))?\.$", question
    )
    assert found, question
    gather, each, kept = found[1], found[2] or "x", found[3]
    limit = (numbers(kept) or [0])[0]
    keep: dict[str, Callable[[int], bool]] = {
        "even": lambda x: x % 2 == 0, "odd": lambda x: x % 2 == 1, "above": lambda x: x > limit,
        "below": lambda x: x < limit, "divisible": lambda x: x % limit == 0,
    }  # fmt: skip
    word = next((w for w in keep if w in kept), None)
    ends: dict[str, Callable[[list[int]], object]] = {
        "sum": sum, "list": list, "count": len,
        "largest": lambda v: max([*v] or [0]), "smallest": lambda v: min([*v] or [0]),
    }  # fmt: skip
    return lambda xs: ends[gather]([int(evaluate(each, x=x)) for x in xs if word is None or keep[word](x)])


def test_list_tests_ask_what_the_question_says() -> None:
    chosen = [p for p in whole_split("code") if p.question_id.startswith("code/list/")]
    for problem in chosen:
        oracle = list_oracle(problem.question)
        assert problem.tests and [oracle(c["args"][0]) for c in problem.tests["cases"]] == [
            c["expected"] for c in problem.tests["cases"]
        ], problem.question
        assert [] in [c["args"][0] for c in problem.tests["cases"]]
    assert len(chosen) > 200


def test_formula_tests_ask_what_the_question_says() -> None:
    chosen = [
        p
        for p in whole_split("code")
        if "If a>" not in p.question and "Print" in p.question and "word" not in p.question
    ]
    for problem in chosen:
        formula = re.search(r"Print (\S+?)(?:\.$| for)", problem.question)
        assert formula and problem.tests
        for case in problem.tests["cases"]:
            names = dict(zip("ab" if "b" in formula[1] else "n", numbers(case["input"]), strict=True))
            assert eval(formula[1], names) == int(case["output"]), problem.question
    assert len(chosen) > 100


def test_every_input_of_a_word_program_is_a_word() -> None:
    for problem in whole_split("code"):
        if problem.question_id.startswith("code/word/"):
            assert problem.tests and all(re.fullmatch(r"[a-z]+\n", c["input"]) for c in problem.tests["cases"])
