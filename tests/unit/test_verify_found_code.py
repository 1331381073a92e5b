"""Programs that an earlier version misjudged, or that try to deceive: each row states the right verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from code_problems import problem

from vt_ray.verify.files.rows import lines_of
from vt_ray.verify.limits import Limits
from vt_ray.verify.verifier import Verifier

FOUND = Path(__file__).parents[1] / "data" / "found"
ROWS = [
    json.loads(line)
    for name in ("code_attack", "code_public", "code_more")
    for line in lines_of(FOUND / f"{name}.jsonl")
]

# Rows that are still graded wrongly, and why. A row that is mended must leave this list, or its test fails.
STILL_WRONG = {"atk_check_file_of_the_test": "test and program have a scratch folder each"}


def marked(row: dict):
    reason = STILL_WRONG.get(row["id"])
    return pytest.param(row, id=row["id"], marks=[pytest.mark.xfail(strict=True, reason=reason)] if reason else [])


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Limits()) as one:
        yield one


@pytest.mark.parametrize("row", map(marked, ROWS))
def test_found_row(verifier, row):
    verdict = verifier.verify(problem(row["tests"]), row["response"])
    assert verdict.status in row["expect"], verdict
