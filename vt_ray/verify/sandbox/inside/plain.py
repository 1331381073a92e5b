"""What a called function may return: plain data, rebuilt from exact types.

A subclass could answer one thing to the encoder and hold another, so that only the types themselves are let
through (and the dictionaries of `collections`, read as dictionaries).
"""

from __future__ import annotations

import collections
from typing import Any

_MAX_DEPTH = 64
_MAX_ITEMS = 200_000


class UnsupportedResult(Exception):
    """The function returned something that is not plain data."""


def plain(value: Any) -> Any:
    """The value as JSON can hold it, tuples as lists. Else raises UnsupportedResult."""
    return _plain(value, 0, [0])


def _plain(value: Any, depth: int, count: list[int]) -> Any:
    kind = type(value)
    count[0] += 1
    if depth > _MAX_DEPTH or count[0] > _MAX_ITEMS:
        raise UnsupportedResult(f"more than {_MAX_DEPTH} levels or {_MAX_ITEMS} items")
    if value is None or kind is bool or kind is int or kind is float or kind is str:
        return value
    if kind is list or kind is tuple:
        return [_plain(item, depth + 1, count) for item in value]
    if is_dictionary(kind):
        items = {_key(key): _plain(item, depth + 1, count) for key, item in dict.items(value)}
        if len(items) != dict.__len__(value):
            raise UnsupportedResult("two keys of the returned dict are the same as strings")
        return items
    raise UnsupportedResult("the function returned neither a number, a string, None, a list, a tuple nor a dict")


def is_dictionary(kind: type) -> bool:
    return (
        kind is dict
        or kind is collections.defaultdict
        or kind is collections.Counter
        or kind is collections.OrderedDict
    )


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    if type(key) is int:  # as JSON writes it
        return str(key)
    raise UnsupportedResult("a key of the returned dict is neither a string nor an integer")
