"""Perturbations keep the answer of a problem, apply only where that is certain, and depend only on their seed."""

import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from vt_ray.data.layouts.choice import with_listed_options
from vt_ray.data.makers import SUBDOMAINS, make_problems, split_of
from vt_ray.data.perturbations.formulas import with_other_digits, with_renamed_variable
from vt_ray.data.perturbations.hints import INSTRUCTIONS, paraphrased_instruction, with_wrong_hint
from vt_ray.data.perturbations.options import with_reordered_options
from vt_ray.data.perturbations.prose import PROTECTED, with_irrelevant_sentence, with_typos, with_white_space
from vt_ray.data.perturbations.table import PERTURBATIONS, perturbed
from vt_ray.data.readers import read_problems
from vt_ray.records import Problem
from vt_ray.verify.verifier import Verifier

MATH500 = Path(__file__).resolve().parents[3] / "shared/data/benchmarks/math500.json"
MADE = [problem for subdomain in SUBDOMAINS for problem in make_problems(subdomain, "test", 40, 0)]
KEEP_TEXT = ("typos", "white_space", "irrelevant_sentence", "renamed_variable", "other_digits")


def math(question, answer="7", **values):
    return Problem("q", "algebra", "math", question, answer, **values)


def choice(question, options, answer="B", listed=True):
    problem = Problem("q", "choice", "choice", question, answer, options=tuple(options))
    return with_listed_options(problem) if listed else problem


def in_ascii(text):
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)


def numbers(text):
    return re.findall(r"\d+", in_ascii(text))


def renaming(old, new):
    """The one pair (before, after) of letters in which two texts of one length differ."""
    ((before, after),) = {(a, b) for a, b in zip(old, new, strict=True) if a != b}
    return before, after


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_perturbation_depends_on_its_seed_only(name):
    problems = MADE + [choice(f"Which colour is number {i}?", ["red", "blue", "green", "black"]) for i in range(5)]
    once, again = perturbed(problems, name, 0), perturbed(problems[::-1], name, 0)
    assert once and once == again[::-1]
    assert once != perturbed(problems, name, 1)
    originals = {p.question_id: p for p in problems}
    assert all(p.question_id in originals for p in once), "scores are paired by the question id"


@pytest.mark.parametrize("name", KEEP_TEXT)
def test_made_problems_keep_answer_tests_and_numbers(name):
    originals = {p.question_id: p for p in MADE}
    found = perturbed(MADE, name, 3)
    assert len(found) >= 40
    for p in found:
        original = originals[p.question_id]
        assert p.question != original.question
        assert replace(p, question=original.question) == original, "nothing but the question changes"
        assert numbers(p.question) == numbers(original.question)


def test_an_unknown_perturbation_is_refused_with_the_names():
    with pytest.raises(ValueError, match="'noise' is none of typos, white_space"):
        perturbed(MADE, "noise", 0)


def test_typos_stay_inside_words_and_out_of_formulas_code_and_options():
    text = (
        r"The remainder of $remainder_{formulas}$ and \text{protected words} and `protected code` and second "
        r"is divided by thirteen, in f(divided) and list_length. Determine the remainder."
    )
    problem = choice(text, ["divided remainder", "remainder divided"])
    for seed in range(30):
        changed = with_typos(problem, Random(seed)).question
        assert [m[0] for m in PROTECTED.finditer(changed)] == [m[0] for m in PROTECTED.finditer(text)]
        for kept in ("second", "thirteen", "f(divided)", "list_length", "A. divided remainder\nB. remainder divided"):
            assert kept in changed
        pairs = list(zip(problem.question.split(" "), changed.split(" "), strict=True))
        moved = [(old, new) for old, new in pairs if old != new]
        assert 1 <= len(moved) <= 2
        assert all(sorted(old) == sorted(new) and old[0] == new[0] for old, new in moved)


def test_code_in_a_question_is_not_changed():
    tests = "Write a function that returns the largest element.\n\nassert largest_element([1, 2]) == largest\n"
    stub = (
        'from typing import List\n\n\ndef longest(strings: List[str]) -> str:\n    """Return the longest string."""\n'
    )
    for seed in range(20):
        for change in (with_typos, with_white_space, with_irrelevant_sentence):
            question = change(Problem("q", "code", "code", tests), Random(seed)).question
            assert question.endswith("\n\nassert largest_element([1, 2]) == largest\n")
            assert change(Problem("q", "code", "code", stub), Random(seed)) is None


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Solve 3x+4=19.", "5"),
        (r"Let $x^2+2x=7$ with $x>0$. Find $\sqrt{x+1}$.", "8"),
        ("f(x)=2x^3-4x. Find f'(2).", "20"),
    ],
)
def test_a_variable_is_renamed_everywhere(question, answer):
    for seed in range(20):
        changed = with_renamed_variable(math(question, answer), Random(seed))
        before, after = renaming(question, changed.question)
        assert before == "x"
        assert changed.question == re.sub(r"(?<![A-Za-z\\])x(?![A-Za-z])", after, question)
        assert not re.search(rf"(?<![A-Za-z\\]){after}(?![A-Za-z])", question)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Simplify 2x+3x.", "5x"),
        ("Simplify $xy+x$ for $x=1$.", "2"),
        (r"Find $\int_0^1 x\,dx$.", r"\frac12"),
        (r"$f(x)=\begin{cases}1&\text{if $x$ is even}\\0&\text{else}\end{cases}$. Find $f(2)$.", "1"),
        ("Where does $y=2x$ cross the x-axis? Find $x$.", "0"),
        ("He paid $5 x $10 and 3 x 4.", "62"),
        ("Is it 5 p.m. or $p$?", "1"),
        ("The nth term is $2n+k(n)$, and it is the $k$th one.", "1"),
        ("No variable in 3 + 4.", "7"),
    ],
)
def test_a_letter_that_may_be_more_than_a_variable_is_not_renamed(question, answer):
    for seed in range(20):
        changed = with_renamed_variable(math(question, answer), Random(seed))
        kept = {"Where": "x", "Is": "p", "The": "n"}.get(question.split()[0])
        assert changed is None or (kept and changed.question.count(kept) == question.count(kept))


def test_a_renaming_reaches_the_options():
    problem = choice("Factor $36-9x^2$.", ["(6-3x)(6+3x)", "9(2-x)(2+x)"])
    changed = with_renamed_variable(problem, Random(0))
    _, after = renaming(problem.question, changed.question)
    assert changed.options == tuple(option.replace("x", after) for option in problem.options)
    assert changed.question.endswith("\n\nA. {}\nB. {}".format(*changed.options))


def test_digits_of_another_script_have_the_same_values():
    for seed in range(8):
        changed = with_other_digits(math(r"Add 12 and $\frac{3}{45}$ to 6789 and 0.", "7"), Random(seed))
        assert not re.search("[0-9]", changed.question)
        assert in_ascii(changed.question) == r"Add 12 and $\frac{3}{45}$ to 6789 and 0."
        assert changed.answer == "7"
    assert with_other_digits(math("No digit here."), Random(0)) is None
    assert with_other_digits(Problem("q", "code", "code", "Print 12."), Random(0)) is None
    assert with_other_digits(math("[asy]draw((0,0)--(1,1));[/asy] Find 1+1."), Random(0)) is None


@pytest.mark.parametrize(
    ("problem", "label"),
    [
        (choice("Which one is blue?\nIt is not red.", ["grass", "sky", "blood", "skyline"]), "{}. "),
        (choice("What is 1?\n\n(A) 1\n(B) 11\n(C) 111\n(D) 2", ["1", "11", "111", "2"], listed=False), "({}) "),
        (choice(r"Sum? $\textbf{(A)}\ 3\qquad\textbf{(B)}\ 4$", ["3", "4"], listed=False), r"\textbf{{({})}}\ "),
        (choice("A? In the USA. 4 B. or not\nA) 4\nB) 4.5\n\nThe letter?", ["4", "4.5"], listed=False), "{}) "),
    ],
)
def test_the_letter_follows_its_option(problem, label):
    letters = set()
    for seed in range(20):
        changed = with_reordered_options(problem, Random(seed))
        letters.add(changed.answer)
        assert sorted(changed.options) == sorted(problem.options) and changed.options != problem.options
        assert changed.options[ord(changed.answer) - ord("A")] == problem.options[1]
        pieces = [label.format(letter) + text for letter, text in zip("ABCD", changed.options, strict=False)]
        places = [changed.question.rindex(piece) for piece in pieces]
        assert places == sorted(places)
        assert len(changed.question) == len(problem.question)
        assert changed.question[: places[0]] == problem.question[: places[0]]
    assert len(letters) > 1 or len(problem.options) == 2


@pytest.mark.parametrize(
    "options",
    [["red", "all of the above"], ["red", "Both A and C"], ["red", "None of these answers"], ["either", "x"]],
)
def test_options_that_name_each_other_keep_their_order(options):
    assert with_reordered_options(choice("Which?", options), Random(0)) is None


def test_options_that_are_not_in_the_question_are_left_alone():
    hidden = choice("Which one?", ["red", "blue"], listed=False)
    assert with_reordered_options(hidden, Random(0)) is None
    assert with_typos(hidden, Random(0)) is None
    assert with_reordered_options(math("Which one?"), Random(0)) is None


@pytest.mark.parametrize(
    "gold", ["7", "-3", "1,000", "0", "2.5", r"\frac{3}{4}", r"-\frac{1}{2}", r"\dfrac{10}{3}", "3/4", "-7/2", "$12$"]
)
def test_a_hint_is_wrong_and_the_gold_stays(gold):
    with Verifier() as verifier:
        for seed in range(10):
            problem = math("Find it.", gold)
            changed = with_wrong_hint(problem, Random(seed))
            assert changed.answer == gold
            claimed = re.search(r"the answer is (.*)\.$|The answer is (.*)\.$", changed.question)
            wrong = claimed[1] or claimed[2]
            assert verifier.verify(problem, rf"\boxed{{{wrong}}}").status == "wrong", wrong
            assert verifier.verify(problem, rf"\boxed{{{gold.strip('$')}}}").status == "correct"


@pytest.mark.parametrize("gold", [r"\sqrt{49}", "x+1", "10\\%", "(1,2)", "\\text{even}", "-2.5", "0.5"])
def test_a_gold_without_a_certainly_wrong_neighbour_gets_no_hint(gold):
    assert with_wrong_hint(math("Find it.", gold), Random(0)) is None


@pytest.mark.parametrize(
    "problem",
    [
        math(""),
        math(" ", ""),
        math("$" * 1001 + r"\(" * 1000 + "[asy]" * 1000 + "x" * 1000),
        math("Find it.", "9" * 10_000),
        math("\x00\ud800 ٣ \u202e wörter zusammen"),
        choice("", ["only"], "A"),
        choice("Same?", ["red", "red", ""], "B"),
        Problem("q", "choice", "choice", "No options here", "C"),
        Problem("q", "other", "my_kind", "A question of a custom kind", fields={"a": 1}),
    ],
)
@pytest.mark.parametrize("name", PERTURBATIONS)
def test_odd_problems_raise_no_error(name, problem):
    for seed in range(5):
        assert all(isinstance(p, Problem) for p in perturbed([problem], name, seed))


def test_a_hint_of_a_choice_is_another_letter():
    problem = choice("Which?", ["red", "blue", "green"])
    hints = {with_wrong_hint(problem, Random(seed)).question[-2] for seed in range(40)}
    assert hints == {"A", "C"}
    assert with_wrong_hint(Problem("q", "code", "code", "Print 1."), Random(0)) is None


def test_twins_are_other_problems_of_the_family_level_and_split():
    originals = {p.question_id: p for p in MADE}
    twins = perturbed(MADE, "number_twin", 0)
    assert len(twins) == len(MADE)
    with Verifier() as verifier:
        for twin in twins[::7]:
            original = originals[twin.question_id]
            assert (twin.subdomain, twin.level, twin.kind) == (original.subdomain, original.level, original.kind)
            assert twin.question != original.question
            assert verifier.verify(twin, twin.solutions[1].text).status == "correct"
    assert perturbed([math("Find it.")], "number_twin", 0) == []


def test_a_twin_of_a_test_problem_is_in_no_training_set():
    train = {p.question for s in SUBDOMAINS for p in make_problems(s, "train", 400, 1)}
    assert all(split_of(p.question_id) == "test" for p in MADE)
    assert not {p.question for p in perturbed(MADE, "number_twin", 5)} & train


def test_instructions_ask_for_the_same_form():
    assert all(r"\boxed{}" in text for kind in ("math", "choice") for text in INSTRUCTIONS[kind])
    assert paraphrased_instruction("math", 0) == paraphrased_instruction("math", 0)
    assert len({paraphrased_instruction("math", seed) for seed in range(40)}) == len(INSTRUCTIONS["math"])
    assert paraphrased_instruction("my_kind", 0) is None


@pytest.mark.skipif(not MATH500.exists(), reason="needs the real MATH-500 file")
def test_math500_is_renamed_one_to_one():
    problems = read_problems(MATH500, drop_unanswered=True)
    originals = {p.question_id: p for p in problems}
    found = perturbed(problems, "renamed_variable", 0)
    assert len(found) > 100
    for p in found:
        old = originals[p.question_id].question
        before, after = renaming(old, p.question)
        assert after not in re.findall(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", old)
        assert p.answer == originals[p.question_id].answer and before not in p.answer


def test_a_prescribed_message_has_the_perturbed_question():
    """LiveCodeBench prescribes the whole user message of a problem."""
    original = Problem(
        "q", "code", "code", "Print the sum of two numbers.", prompt="### Print the sum of two numbers. ###"
    )
    (found,) = perturbed([original], "irrelevant_sentence", 0)
    assert found.question != original.question and found.prompt == f"### {found.question} ###"
