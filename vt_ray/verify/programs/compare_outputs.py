"""Comparison of a program's output or returned value with the expected one.

    expected, actual --outputs_match (stdio) | results_match (call)--> bool

Pure, and run by the trusted worker: the expected values never enter the process of a program.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

# How the lines of an output are compared: as text, or by LiveCodeBench's rule.
COMPARISONS = ("lines", "decimal")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_MAX_NUMBER_CHARS = 400


def outputs_match(expected: str, actual: bytes, tolerance: float | None = None, compare: str = COMPARISONS[0]) -> bool:
    """Whether the lines are equal. Blanks at the end of a line and empty lines at the end of the output do not count.

    `compare` is one of COMPARISONS. "decimal" is LiveCodeBench's rule: blanks at both ends of a line and of the output
    do not count, and two lines of numbers are equal if the numbers are equal (5 and 5.0, 1e5 and 100000).

    With a `tolerance`, a token may differ from an expected decimal number by the tolerance, absolute or relative to the
    expected number. An expected integer is a count or an index: its token must have exactly that value. Bytes that are
    not UTF-8 never match; nan and inf match only if the lines are equal as text.
    """
    try:
        printed = actual.decode("utf-8")
    except UnicodeDecodeError:
        return False
    decimal = compare == "decimal"
    expected_lines, actual_lines = _lines(expected, decimal), _lines(printed, decimal)
    if expected_lines == actual_lines:
        return True
    if (tolerance is None and not decimal) or len(expected_lines) != len(actual_lines):
        return False
    return all(
        e == a or _tokens_match(e.split(), a.split(), tolerance)
        for e, a in zip(expected_lines, actual_lines, strict=True)
    )


def _lines(text: str, both_ends: bool) -> list[str]:
    if both_ends:
        return [line.strip() for line in text.strip().split("\n")]
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _tokens_match(expected: list[str], actual: list[str], tolerance: float | None) -> bool:
    """Whether the numbers have equal values. With a tolerance, other tokens must be equal as text."""
    return len(expected) == len(actual) and all(
        (tolerance is not None and e == a) or _numbers_match(e, a, tolerance)
        for e, a in zip(expected, actual, strict=True)
    )


def _numbers_match(expected: str, actual: str, tolerance: float | None) -> bool:
    if not (_is_number(expected) and _is_number(actual)):
        return False
    if tolerance is None or _INTEGER.fullmatch(expected):
        return Decimal(expected) == Decimal(actual)
    return _close(float(expected), float(actual), tolerance)


def _is_number(token: str) -> bool:
    return len(token) <= _MAX_NUMBER_CHARS and _NUMBER.fullmatch(token) is not None


def _close(expected: float, actual: float, tolerance: float) -> bool:
    # The comparisons fail for nan and inf: a comparison with nan is False, and inf is no bound.
    allowed = tolerance * max(1.0, abs(expected))
    return math.isfinite(allowed) and math.isfinite(actual) and abs(expected - actual) <= allowed


def results_match(expected: Any, actual: Any, tolerance: float | None = None) -> bool:
    """Whether two JSON values are equal, types included: True is not 1, 3 is not 3.0, "1" is not 1; nan never matches.

    JSON has turned tuples into lists on both sides. With a `tolerance`, integers and floats are compared by value, and
    a number may differ from an expected float as in `outputs_match`; an expected integer must be matched exactly.
    """
    if tolerance is not None and {type(expected), type(actual)} in ({float}, {float, int}):
        return bool(expected == actual) or (type(expected) is float and _close_results(expected, actual, tolerance))
    if type(expected) is not type(actual):
        return False
    if isinstance(expected, list):
        return len(expected) == len(actual) and all(
            results_match(e, a, tolerance) for e, a in zip(expected, actual, strict=True)
        )
    if isinstance(expected, dict):
        return expected.keys() == actual.keys() and all(
            results_match(value, actual[key], tolerance) for key, value in expected.items()
        )
    return bool(expected == actual)


def _close_results(expected: float, actual: float, tolerance: float) -> bool:
    try:
        return _close(float(expected), float(actual), tolerance)
    except OverflowError:  # an integer beyond all floats
        return False
