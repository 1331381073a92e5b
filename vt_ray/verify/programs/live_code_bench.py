"""The rules of LiveCodeBench's own test runner: its limits, its extraction of the program and its comparisons.

    tests with profile="livecodebench" --run_tests.py--> these rules instead of the verifier's own

Source: https://github.com/LiveCodeBench/LiveCodeBench, lcb_runner/evaluation/testing_util.py and
lcb_runner/utils/extraction_utils.py. docs/verifier.md lists the differences that remain.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from vt_ray.verify.limits import Limits

PROFILE = "livecodebench"
TEST_TIMEOUT_S = 6.0
MEMORY_MB = 4_096
# Fields of tests that state what the profile decides.
DECIDED = ("tolerance", "compare", "time_limit_s", "memory_mb")


def profile_limits(limits: Limits, cases: int) -> Limits:
    """Returns the limits of a completion: 6 s a test, 7n + 5 s for all n tests, 4 GiB."""
    total_s = (TEST_TIMEOUT_S + 1) * cases + 5
    return replace(limits, test_timeout_s=TEST_TIMEOUT_S, completion_timeout_s=total_s, memory_mb=MEMORY_MB)


def fenced_program(text: str) -> str | None:
    """Returns the lines between the last two lines that contain three backticks, None without two such lines.

    The whole completion is searched, its thinking included.
    """
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if "```" in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) > 1 else None


def outputs_are_equal(expected: str, actual: bytes) -> bool:
    """Whether each line is equal as text, or holds the same numbers (5 and 5.0, 1e5 and 100000).

    White space at both ends of the output and of each line does not count. An empty line inside the output counts.
    """
    try:
        printed = actual.decode("utf-8")
    except UnicodeDecodeError:
        return False
    expected_lines, printed_lines = _stripped_lines(expected), _stripped_lines(printed)
    return len(expected_lines) == len(printed_lines) and all(
        line == other or _are_same_numbers(line, other)
        for line, other in zip(expected_lines, printed_lines, strict=True)
    )


def _stripped_lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _are_same_numbers(line: str, other: str) -> bool:
    try:
        return [Decimal(token) for token in line.split()] == [Decimal(token) for token in other.split()]
    except (InvalidOperation, ValueError):  # not numbers, or a signaling NaN
        return False


def results_are_equal(expected: Any, actual: Any) -> bool:
    """Whether two JSON values are equal in Python: 3 and 3.0, True and 1. A number has no tolerance."""
    return bool(expected == actual)
