"""JSON with integers of more digits than Python converts by default."""

from __future__ import annotations

import json

import pytest
from code_problems import grade
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.verify.files.rows import read_row
from vt_ray.verify.limits import Limits
from vt_ray.verify.programs.long_integer_json import dumps, loads
from vt_ray.verify.verifier import Verifier

LONG = 10**5000 + 7
DIGITS = "1" + "0" * 4999 + "7"

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers(-2, 2).map(lambda times: times * LONG)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_there_and_back(value):
    assert loads(dumps(value)) == value


def test_long_integers_are_written_as_any_other():
    assert dumps([LONG, -LONG, 1, "x"]) == f'[{DIGITS}, -{DIGITS}, 1, "x"]'


@pytest.mark.parametrize("text", ["", "[1,", f"[{DIGITS},"])
def test_broken_json_is_refused_as_ever(text):
    with pytest.raises(json.JSONDecodeError):
        loads(text)


def test_the_limit_of_this_process_stays(verifier):
    """The limit protects other code: only the processes of programs have none."""
    assert grade(verifier, {"type": "stdio", "cases": [{"input": "", "output": DIGITS}]}, "print(10**5000 + 7)").status
    with pytest.raises(ValueError, match="4300 digits"):
        int(DIGITS)


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Limits()) as one:
        yield one


@pytest.mark.parametrize(
    ("tests", "right", "wrong"),
    [
        ({"type": "call", "function": "f", "cases": [{"args": [LONG], "expected": LONG + 1}]},)
        + ("def f(n): return n + 1", "def f(n): return n + 2"),
        ({"type": "stdio", "cases": [{"input": DIGITS, "output": "1" + DIGITS[1:-1] + "8"}]},)
        + ("print(int(input()) + 1)", "print(int(input()) - 1)"),
        ({"type": "check", "test": f"assert f({LONG % 10**4000}) == str(10**5000)[:5000]"},)
        + ("def f(n): return str(10**5000)[:5000]", "def f(n): return str(n)"),
        (
            {"type": "check", "test": "assert f(20_000) == 3**20_000"},
            "def f(n): return 3**n",
            "def f(n): return 3**n + 1",
        ),
    ],
    ids=["call", "stdio", "check", "check_hexadecimal"],
)
def test_programs_may_use_integers_of_any_length(verifier, tests, right, wrong):
    assert grade(verifier, tests, right).status == "correct"
    assert grade(verifier, tests, wrong).status == "wrong"


def test_a_row_may_hold_long_integers():
    tests = f'{{"type": "call", "function": "f", "cases": [{{"args": [], "expected": {DIGITS}}}]}}'
    row = read_row(f'{{"tests": {tests}, "response": "x"}}'.encode(), 1)
    assert row.problem is not None and row.problem.tests["cases"][0]["expected"] == LONG
