"""Answers that an earlier version misjudged. Every row is graded; only the listed rows may still be misjudged.

`math_public.jsonl` holds rows made from public bug reports of other graders, `math_attack.jsonl` rows that were
written to mislead this one, `math_more.jsonl` further rows of both kinds. `math_misjudged.jsonl`
lists the rows that are still misjudged, each with the reason.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vt_ray.records import Problem
from vt_ray.verify.limits import Limits
from vt_ray.verify.verifier import Verifier

FOUND = Path(__file__).parents[1] / "data" / "found"
NAMES = ("math_public.jsonl", "math_attack.jsonl", "math_more.jsonl")


def read_rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (FOUND / name).read_text(encoding="utf-8").splitlines()]


LISTED = {row["id"]: row["reason"] for row in read_rows("math_misjudged.jsonl")}


@pytest.fixture(scope="module")
def verdicts() -> dict[str, list[tuple[dict, str]]]:
    """For each file, its rows with their status. One verifier, with one child process, grades all rows."""
    graded = {}
    with Verifier(Limits()) as verifier:
        for name in NAMES:
            graded[name] = [
                (
                    row,
                    verifier.verify(
                        Problem(row["id"], "math", "math", "?", answer=row["gold"]), row["response"]
                    ).status,
                )
                for row in read_rows(name)
            ]
    return graded


def misjudged(graded: list[tuple[dict, str]], expected: str) -> list[tuple[str, str, str, str]]:
    """Returns (id, gold, response, status) of the unlisted rows whose status is not `expected`."""
    return [
        (row["id"], row["gold"], row["response"], status)
        for row, status in graded
        if expected in row["expect"] and status not in row["expect"] and row["id"] not in LISTED
    ]


@pytest.mark.parametrize("name", NAMES)
def test_no_other_wrong_answer_is_accepted(verdicts, name):
    assert misjudged(verdicts[name], "wrong") == []


@pytest.mark.parametrize("name", NAMES)
def test_no_other_right_answer_is_refused(verdicts, name):
    assert misjudged(verdicts[name], "correct") == []


def test_every_listed_row_is_still_misjudged_and_refused(verdicts):
    graded = {row["id"]: (row, status) for name in NAMES for row, status in verdicts[name]}
    assert {graded[name][1] for name in LISTED} == {"wrong"}
    assert not any(graded[name][1] in graded[name][0]["expect"] for name in LISTED)
