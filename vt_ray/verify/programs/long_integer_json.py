"""JSON with integers of any length. Python converts at most 4,300 digits to and from decimal text.

The limit holds for the whole process and protects other code, so it is not changed; `decimal` converts without it.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

_MARK = re.compile(r'"\\u0000int:([0-9a-f-]+)"')
_SAFE_DIGITS = 4_000
_SAFE_INTEGER = 10**_SAFE_DIGITS


def dumps(value: Any) -> str:
    """As `json.dumps`. Raises TypeError or ValueError for a value that JSON cannot hold."""
    try:
        return json.dumps(value)
    except ValueError:
        return _MARK.sub(lambda mark: f"{Decimal(int(mark[1], 16)):f}", json.dumps(_marked(value)))


def loads(text: str | bytes) -> Any:
    """As `json.loads`. Raises ValueError for text that is not JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, parse_int=_integer)


def _integer(text: str) -> int:
    return int(text) if len(text) <= _SAFE_DIGITS else int(Decimal(text))


def _marked(value: Any) -> Any:
    """Returns the value with each long integer replaced by a unique text."""
    if isinstance(value, int) and abs(value) >= _SAFE_INTEGER:
        return f"\0int:{value:x}"
    if isinstance(value, (list, tuple)):
        return [_marked(item) for item in value]
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    return value
