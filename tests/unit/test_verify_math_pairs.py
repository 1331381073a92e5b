"""Hundreds of pairs of a gold answer and a completion, by class, with their verdicts. No cluster."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import pytest

from vt_ray.records import Problem, Verdict
from vt_ray.verify.limits import Limits
from vt_ray.verify.verifier import Verifier

PAIRS = Path(__file__).parents[1] / "data" / "verify" / "math_pairs.jsonl"
ROWS = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
CLASSES = {name: list(rows) for name, rows in groupby(ROWS, key=lambda row: row["class"])}
BOMB_TIMEOUT_S = 1.0
GRACE_S = 2.0  # for the kill, on a busy machine


def misjudged(verifier: Verifier, name: str, late_s: float) -> list[tuple[str, str, Verdict]]:
    found = []
    for row in CLASSES[name]:
        verdict = verifier.verify(Problem("q", "math", "math", "?", answer=row["gold"]), row["response"])
        if verdict.seconds > late_s or (verdict.status == "correct") is not row["correct"]:
            found.append((row["gold"], row["response"], verdict))
    return found


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Limits()) as one:
        yield one


# "mixed" takes as long as all others together.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "mixed" else name for name in CLASSES if name != "bombs"],
)
def test_no_pair_of_a_class_is_misjudged(verifier, name):
    assert not misjudged(verifier, name, late_s=10.0)


@pytest.mark.slow
def test_no_bomb_is_accepted_or_late():
    with Verifier(Limits(math_timeout_s=BOMB_TIMEOUT_S)) as hasty:
        assert not misjudged(hasty, "bombs", late_s=BOMB_TIMEOUT_S + GRACE_S)


def test_classes_are_whole():
    assert sum(len(rows) for rows in CLASSES.values()) == len(ROWS) >= 1_500
