"""`check` tests: objects of the program and of the test that are used through the channel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from code_problems import fenced, grade, problem

from vt_ray.records import Solution
from vt_ray.verify.limits import Limits
from vt_ray.verify.verifier import Verifier

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "verify" / "check_objects.jsonl").read_text().splitlines()
]


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Limits(test_timeout_s=10.0)) as one:
        yield one


@pytest.fixture(scope="module")
def hasty_verifier():
    """A verifier with short limits, for programs that never end."""
    with Verifier(Limits(test_timeout_s=2.0)) as one:
        yield one


def check(test: str, entry_point: str | None) -> dict:
    return {"type": "check", "test": test, "entry_point": entry_point}


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_objects_of_both_sides(verifier, hasty_verifier, row):
    """Operators, iteration, callbacks, exceptions, changes in place; and programs that falsify each of them."""
    verifier = hasty_verifier if "while True: yield" in row["response"] else verifier
    assert verifier.verify(problem(row["tests"]), row["response"]).status in row["expect"]


# --- tests that are themselves at fault ---

OFF_BY_ONE = check("assert f(2) == 5", "f")
SOUND = check("assert f(2) == 4", "f")
SQUARE = "def f(x): return x * x"


def with_solution(tests, program):
    return problem(tests, solutions=(Solution("reference", fenced(program)),))


def test_a_test_that_its_own_solution_fails_is_malformed_for_every_answer(verifier):
    for answer in ("def f(x): return 5", SQUARE, "x = 1"):
        verdict = verifier.verify(with_solution(OFF_BY_ONE, SQUARE), fenced(answer))
        assert (verdict.status, verdict.retry) == ("unverified", False)
        assert "own solution" in verdict.reason


@pytest.mark.parametrize(
    "solution", [SQUARE, "import no_such_package\n" + SQUARE, "while True: pass", "import sys\nsys.exit(0)"]
)
def test_a_solution_that_passes_or_says_nothing_leaves_the_test_in_force(verifier, hasty_verifier, solution):
    verifier = hasty_verifier if solution == "while True: pass" else verifier
    for answer, status in ((SQUARE, "correct"), ("class f(Exception): pass", "wrong")):
        assert verifier.verify(with_solution(SOUND, solution), fenced(answer)).status == status


def test_the_solution_is_tried_once(verifier, monkeypatch):
    assert verifier.verify(with_solution(SOUND, "# once\n" + SQUARE), fenced(SQUARE)).status == "correct"
    runs = []
    real = verifier.grader("code")._sandbox.run
    monkeypatch.setattr(
        verifier.grader("code")._sandbox, "run", lambda request, timeout_s: runs.append(1) or real(request, timeout_s)
    )
    assert verifier.verify(with_solution(SOUND, "# once\n" + SQUARE), fenced(SQUARE)).status == "correct"
    assert len(runs) == 1


def test_stray_cases_of_a_check_test_are_passed_over(verifier):
    assert grade(verifier, SOUND | {"cases": [1, 2, 3]}, SQUARE).status == "correct"


def test_a_program_that_fills_the_tests_memory_is_wrong(verifier):
    program = """
import os, struct
def f(x):
    body = b'{"value": [' + b'[],' * 21_000_000 + b'1]}'
    message = struct.pack("!I", len(body)) + body
    while message: message = message[os.write(0, message):]
"""
    assert grade(verifier, SOUND, program).status == "wrong"
    assert grade(verifier, SOUND, SQUARE).status == "correct"
