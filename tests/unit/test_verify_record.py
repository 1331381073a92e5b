"""What a step's metrics say of its verification, against figures worked out by hand."""

import pytest

from vt_ray.interfaces import VerifierCounts
from vt_ray.records import GradedGroup, Verdict
from vt_ray.signal_phase.verify_record import verify_record

NOTHING = VerifierCounts(0, 0, {"landlock": 2})


def group(*verdicts, truncated=()):
    cut = tuple(i in truncated for i in range(len(verdicts)))
    return GradedGroup("q", "algebra", verdicts, 1, (1,) * len(verdicts), cut, None)


def test_shares_percentiles_and_differences():
    code = group(
        Verdict("correct", "", 1.0),
        Verdict("wrong", "timeout", 10.0),
        Verdict("unverified", "the sandbox broker was lost (EOFError: it ended)", 3.0),
        Verdict("wrong", "truncated"),
        Verdict("unverified", "worker lost"),
        truncated=[3],
    )
    # 1.00, 1.01, ..., 2.00: the percentiles are the hundredths.
    math = group(*(Verdict("correct", "", 1 + i / 100) for i in range(101)))
    before, after = VerifierCounts(5, 1, {"landlock": 1}), VerifierCounts(9, 3, {"landlock": 2})
    record = verify_record([code, math], ["code", "math"], before, after)
    assert record["seconds"]["math"] == pytest.approx({"count": 101, "p50": 1.5, "p95": 1.95, "p99": 1.99})
    # Sorted 1, 3, 10: the median is 3, p95 lies 0.9 of the way from 3 to 10, p99 0.98.
    assert record["seconds"]["code"] == pytest.approx({"count": 3, "p50": 3.0, "p95": 9.3, "p99": 9.86})
    assert record["verdicts"] == pytest.approx({"correct": 102 / 106, "wrong": 2 / 106, "unverified": 2 / 106})
    reasons = ("timeout", "the sandbox broker was lost", "truncated", "worker lost")
    assert record["reasons"] == dict.fromkeys(reasons, 1 / 106)
    assert (record["retries"], record["respawns"], record["backend"]) == (4, 2, {"landlock": 2})


def test_a_kind_of_which_nothing_ran_has_no_seconds():
    record = verify_record([group(Verdict("wrong", "truncated"), truncated=[0])], ["code"], NOTHING, NOTHING)
    assert record["seconds"] == {}
    assert record["reasons"] == {"truncated": 1.0}
