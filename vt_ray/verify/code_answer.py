"""A completion's program, and whether what it printed or returned is what was expected.

    text --extract_program--> source        expected, actual --outputs_match | results_match--> bool

Pure, and run by the trusted worker: the expected values never go where a program runs.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import tokenize
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from vt_ray.verify.final_text import final_text

# How the lines of an output are compared: as text, or by LiveCodeBench's rule.
COMPARISONS = ("lines", "decimal")
# No two parts that can match the same characters: a long line must not take quadratic time. A byte order mark may
# stand before a fence.
_FENCE = re.compile(r"^([ \t\ufeff]*)(`{3,})([^`\n]*)$", re.MULTILINE)
# What may follow an opening fence: a language, then attributes such as `title="a.py"` or `{.numberLines}`.
_INFO = re.compile(r"([\w+.#-]*)[ \t]*((\{.*|[\w.-]+=.*|:\S+|#.*)?)")
_PYTHON = re.compile(r"(python|pypy|py)[\d.]*", re.IGNORECASE)
_CLOSED_IN_LINE = re.compile(r"(?<!`)`{3,}+[ \t]*+(?:\n|\Z)")  # print(a)```
_MAX_CLOSING_INDENT = 3  # more than the opening fence's, as in Markdown; beyond, it is part of the program
_TRIPLE_QUOTES = ('"""', "'''")
_MAX_TOKENIZED = 8  # blocks of one text that are tokenized, to bound the time
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_MAX_NUMBER_CHARS = 400


def extract_program(text: str) -> str | None:
    """The program of a completion: the last block with a Python tag, else the last block without a tag; None without
    one. Empty blocks do not count.

    A block without a tag after the program is mostly a sample output, so a tag wins over the order. A fence with text
    behind it closes a block unless the text is a language tag. A last block that is not closed counts up to the end
    of the text, because a stop token may have removed the closing fence.
    """
    tagged = untagged = None
    for info, block in _blocks(final_text(text) or ""):
        if block.strip() and _PYTHON.fullmatch(info):
            tagged = block
        elif block.strip() and not info:
            untagged = block
    program = tagged if tagged is not None else untagged
    return textwrap.dedent(program).removeprefix("\ufeff") if program is not None else None


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """(language, content) of each fenced block, in order. Linear in the text, but for `_MAX_TOKENIZED` blocks."""
    opening: re.Match[str] | None = None
    tokenized = 0
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence if _language(fence) is not None else None
            continue
        if _is_inside(fence, opening):
            continue
        block = text[opening.end() + 1 : fence.start()]
        if tokenized < _MAX_TOKENIZED and any(block.count(quotes) % 2 for quotes in _TRIPLE_QUOTES):
            tokenized += 1
            if _ends_inside_a_string(block):
                continue
        yield _language(opening) or "", block
        opening = fence if _language(fence) else None
    if opening is not None:
        yield _language(opening) or "", _CLOSED_IN_LINE.split(text[opening.end() + 1 :], maxsplit=1)[0]


def _language(fence: re.Match[str]) -> str | None:
    """The language of an opening fence, "" without one; None where the text behind the fence is no language."""
    info = _INFO.fullmatch(fence[3].strip())
    return info[1] if info else None


def _is_inside(fence: re.Match[str], opening: re.Match[str]) -> bool:
    """Whether the fence is a line of the opened block: it is shorter than the opening fence, or indented further."""
    indent, least = (len(f[1].replace("\ufeff", "").expandtabs()) for f in (fence, opening))
    return len(fence[2]) < len(opening[2]) or indent > least + _MAX_CLOSING_INDENT


def _ends_inside_a_string(block: str) -> bool:
    """Whether the Python source `block` ends inside a string in triple quotes, such as a docstring with Markdown."""
    try:
        for _ in tokenize.generate_tokens(io.StringIO(textwrap.dedent(block)).readline):
            pass
    except tokenize.TokenError as error:
        return "string" in str(error)
    except SyntaxError:  # an indentation that fits no other
        return False
    return False


def outputs_match(expected: str, actual: bytes, tolerance: float | None = None, compare: str = COMPARISONS[0]) -> bool:
    """Equal line by line; blanks at the end of a line and empty lines at the end of the output do not count.

    `compare` is one of COMPARISONS. "decimal" is LiveCodeBench's rule: blanks at both ends of a line and of the output
    do not count, and two lines of numbers are equal where the numbers are (5 and 5.0, 1e5 and 100000).

    With a `tolerance`, a token may differ by that much from an expected decimal number, absolutely or relative to the
    expected one. An expected integer is a count or an index: its token must have exactly that value. Bytes that are
    not UTF-8 equal nothing; so do nan and inf, unless written the same.
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
    """Numbers by value; with a tolerance, other tokens may stand among them and must be the same."""
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
    # Written so that nan and inf fail: the difference must be small, not "not large", and inf bounds nothing.
    allowed = tolerance * max(1.0, abs(expected))
    return math.isfinite(allowed) and math.isfinite(actual) and abs(expected - actual) <= allowed


def results_match(expected: Any, actual: Any, tolerance: float | None = None) -> bool:
    """Equal as JSON values, types included: True is not 1, 3 is not 3.0, "1" is not 1; nan equals nothing.

    Tuples have come through JSON as lists on both sides. With a `tolerance`, integers and floats are compared by
    value, and a number may differ from an expected float by that much, as in `outputs_match`; an expected integer
    must be met exactly.
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
