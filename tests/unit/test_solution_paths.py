"""The path of a solution: what makes two solutions equal, and what makes them different."""

import pytest

from vt_ray.data.makers import make_problems
from vt_ray.spectrum_phase.solution_paths import formula_path, program_path, solution_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("We have 3 + 4 = 7, so \\boxed{7}", "+ = \\boxed"),
        ("4+3=8\n\\boxed{8}", "+ = \\boxed"),
        ("2 \\times 3 = 6", "* ="),
        ("2 × 3 = 6", "* ="),
        ("\\left( \\frac{1}{2} \\right)", "/"),
        ("7 − 3", "-"),
        ("**Step 1.** A well-known rule and/or a guess", ""),
        ("- item one\n* item two\n## Title\n---", ""),
        ("a-b", "-"),
        ("\\sqrt{2} \\leq 2", "√ ≤"),
        ("", ""),
    ],
)
def test_the_path_of_a_formula_by_hand(text, path):
    assert formula_path(text) == path


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("def f(x):\n    'doc'\n    y = x + 1\n    return sum([y])", "def g(a):\n  z=a+2 # c\n  return sum([z])", True),
        ("print(sum(a))", "print(max(a))", False),
        ("for i in x:\n    print(i)", "for i in x:\n    pass\nprint(i)", False),
        ("x = 1", "x = 'a'", False),
        ("x = (", "x  =  (", True),
        ("x = (", "x = [", False),
        ("", "'''only text'''", True),
    ],
)
def test_programs_are_compared_by_their_syntax_tree(one, other, equal):
    assert (program_path(one) == program_path(other)) == equal


@pytest.mark.parametrize("source", ["(" * 5000, "x=" + "-" * 50_000 + "1", "x\0y", "x = 1\n" * 10_000])
def test_hostile_programs_have_a_path(source):
    assert isinstance(program_path(source), str)


def test_the_thinking_is_no_part_of_the_path():
    assert solution_path("math", "<think>1+1=2 2*2</think>3+4=7") == solution_path("math", "3+4=7")
    assert solution_path("math", "<think>1+1") == solution_path("math", "")


def test_the_styles_of_made_problems_are_different_paths():
    for subdomain in ("algebra", "geometry", "calculus", "code"):
        for problem in make_problems(subdomain, "probe", 16, 0):
            assert len({solution_path(problem.kind, s.text) for s in problem.solutions}) == 3, problem.question_id
