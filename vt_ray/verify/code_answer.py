"""A completion's program, and whether what it printed or returned is what was expected.

    text --extract_program--> source        expected, actual --outputs_match | results_match--> bool

Pure, and run by the trusted worker: the expected values never go where a program runs.
"""

from __future__ import annotations

import math
import re
import textwrap
from typing import Any

# No two parts that can match the same characters: a long line must not take quadratic time.
_FENCE = re.compile(r"^([ \t]*)(`{3,})([^`\n]*)$", re.MULTILINE)
_LANGUAGE = re.compile(r"[\w+.-]*")
_PYTHON = re.compile(r"((python|pypy|py)[\d.]*)?", re.IGNORECASE)
_MAX_CLOSING_INDENT = 3  # more than the opening fence's, as in Markdown; beyond, it is part of the program
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MAX_NUMBER_CHARS = 400


def extract_program(text: str) -> str | None:
    """The last fenced block that is Python or says no language, and is not empty; None if there is none.

    A last fence that is not closed counts up to the end of the text: a stop token may have cut the closing
    one, and a program that was cut off itself fails its tests anyhow. A fence with a language opens a block
    wherever it stands.
    """
    program: str | None = None
    opening: re.Match[str] | None = None
    for fence in [*_FENCE.finditer(text), None]:
        if opening is not None and fence is not None and _is_inside(fence, opening):
            continue
        if opening is not None and _is_python(opening):
            block = text[opening.end() + 1 : fence.start() if fence is not None else len(text)]
            program = block if block.strip() else program
        opening = fence if fence is not None and (opening is None or fence[3].strip()) else None
    return textwrap.dedent(program).removeprefix("\ufeff") if program is not None else None


def _is_inside(fence: re.Match[str], opening: re.Match[str]) -> bool:
    """Whether it is but a line of the opened block, in a string of the program's, say."""
    indent, least = (len(f[1].expandtabs()) for f in (fence, opening))
    return len(fence[2]) < len(opening[2]) or indent > least + _MAX_CLOSING_INDENT


def _is_python(opening: re.Match[str]) -> bool:
    language = _LANGUAGE.match(opening[3].strip())
    return language is not None and _PYTHON.fullmatch(language[0]) is not None


def outputs_match(expected: str, actual: bytes, tolerance: float | None = None) -> bool:
    """Equal line by line; blanks at the end of a line and empty lines at the end of the output do not count.

    With a `tolerance`, tokens that are decimal numbers may differ by that much, absolutely or relative to the
    expected one. Bytes that are not UTF-8 equal nothing; so do nan and inf, unless written the same.
    """
    try:
        printed = actual.decode("utf-8")
    except UnicodeDecodeError:
        return False
    expected_lines, actual_lines = _lines(expected), _lines(printed)
    if tolerance is None or expected_lines == actual_lines:
        return expected_lines == actual_lines
    return len(expected_lines) == len(actual_lines) and all(
        _tokens_match(e.split(), a.split(), tolerance) for e, a in zip(expected_lines, actual_lines, strict=True)
    )


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _tokens_match(expected: list[str], actual: list[str], tolerance: float) -> bool:
    return len(expected) == len(actual) and all(
        e == a or _numbers_match(e, a, tolerance) for e, a in zip(expected, actual, strict=True)
    )


def _numbers_match(expected: str, actual: str, tolerance: float) -> bool:
    if any(len(t) > _MAX_NUMBER_CHARS or not _NUMBER.fullmatch(t) for t in (expected, actual)):
        return False
    return _close(float(expected), float(actual), tolerance)


def _close(expected: float, actual: float, tolerance: float) -> bool:
    # Written so that nan and inf fail: the difference must be small, not "not large", and inf bounds nothing.
    allowed = tolerance * max(1.0, abs(expected))
    return math.isfinite(allowed) and math.isfinite(actual) and abs(expected - actual) <= allowed


def results_match(expected: Any, actual: Any, tolerance: float | None = None) -> bool:
    """Equal as JSON values, types included: True is not 1, 3 is not 3.0, "1" is not 1; nan equals nothing.

    Tuples have come through JSON as lists on both sides. A `tolerance` applies where one of two numbers is a float,
    as in `outputs_match`, and the other may be an integer then: asked for about 2.0, 2 is an answer.
    """
    if tolerance is not None and {type(expected), type(actual)} in ({float}, {float, int}):
        return bool(expected == actual) or _close_results(expected, actual, tolerance)
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
