"""Hundreds of pairs of a gold answer and a completion, class by class: which are the same? No cluster."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import pytest

from vt_ray.records import Problem
from vt_ray.verify.limits import Limits
from vt_ray.verify.verifier import Verifier

PAIRS = Path(__file__).parents[1] / "data" / "verify" / "math_pairs.jsonl"
ROWS = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
CLASSES = {name: list(rows) for name, rows in groupby(ROWS, key=lambda row: row["class"])}
LONG = ("bombs",)  # each is stopped by the deadline
DEADLINE_S = 1.0
GRACE_S = 2.0  # for the kill, on a busy machine


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Limits(math_timeout_s=DEADLINE_S)) as one:
        yield one


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in CLASSES])
def test_no_pair_of_a_class_is_misjudged(verifier, name):
    misjudged = []
    for row in CLASSES[name]:
        verdict = verifier.verify(Problem("q", "math", "math", "?", answer=row["gold"]), row["response"])
        late = verdict.seconds > DEADLINE_S + GRACE_S
        if late or (verdict.status == "correct") is not row["correct"]:
            misjudged.append((row["gold"], row["response"], verdict))
    assert not misjudged


def test_classes_are_whole():
    assert sum(len(rows) for rows in CLASSES.values()) == len(ROWS) >= 900
