"""JSON of problem files: integers of bounded length, and errors with a remedy."""

from __future__ import annotations

import json
from typing import Any

# Python's own limit. Python's error names neither a row nor a remedy. int() takes time quadratic in the digits.
MAX_DIGITS = 4_300


class UnusableJson(ValueError):
    """Well-formed JSON that cannot be used. The message gives the reason and the remedy."""


def loads(text: str) -> Any:
    """Returns `text` as Python values.

    Raises json.JSONDecodeError for broken JSON, UnusableJson for a giant integer or too deep nesting.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise UnusableJson("holds lists or objects nested too deeply: flatten or delete them") from error


def giant_integer_row(text: str) -> int | None:
    """Returns the first row (from 1) of a JSON list with an integer of more than MAX_DIGITS digits."""
    rows = json.loads(text, parse_int=lambda digits: "\x00" if _is_giant(digits) else 0)
    found = (number for number, row in enumerate(rows, start=1) if "\\u0000" in json.dumps(row))
    return next(found, None)


def _integer(digits: str) -> int:
    if _is_giant(digits):
        raise UnusableJson(
            f"holds an integer of {len(digits.lstrip('-')):,} digits, the limit is {MAX_DIGITS:,}: write it as text, "
            "in quotes, or delete the row"
        )
    return int(digits)


def _is_giant(digits: str) -> bool:
    return len(digits.lstrip("-")) > MAX_DIGITS


_DECODER = json.JSONDecoder(parse_int=_integer)
