"""Plain data that a called function may return, rebuilt from the values that the builtin types themselves hold.

A subclass of a builtin type (a namedtuple, an IntEnum) counts as the value that the builtin type holds, as in JSON,
unless it shows another one. Its methods are never called: a value cannot be one thing here and another one later.
"""

from __future__ import annotations

import collections
from typing import Any

_DICTIONARIES = (collections.defaultdict, collections.Counter, collections.OrderedDict)
_SHOWING = ("__eq__", "__iter__", "__len__", "__getitem__", "items")
_MAX_DEPTH = 300
_MAX_ITEMS = 5_000_000


class UnsupportedResult(Exception):
    """The function returned something that is not plain data."""


def plain(value: Any) -> Any:
    """The value as JSON can hold it, tuples as lists. Raises UnsupportedResult for anything else."""
    return _plain(value, 0, [0])


def _plain(value: Any, depth: int, count: list[int]) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is float or kind is str:
        return value
    count[0] += 1
    if depth > _MAX_DEPTH or count[0] > _MAX_ITEMS:
        raise UnsupportedResult(f"more than {_MAX_DEPTH} levels or {_MAX_ITEMS} containers")
    base = builtin_base(kind)
    if base is not None and not _shows_its_value(kind, base):
        raise UnsupportedResult(f"a subclass of {base.__name__} that does not show the value that it holds")
    if base is list or base is tuple:
        return [_plain(item, depth + 1, count) for item in base.__iter__(value)]
    if base is dict:
        items = {_key(key): _plain(item, depth + 1, count) for key, item in dict.items(value)}
        if len(items) != dict.__len__(value):
            raise UnsupportedResult("two keys of the returned dict are the same as strings")
        return items
    if base is not None:
        return builtin_value(value, base)
    raise UnsupportedResult("the function returned neither a number, a string, None, a list, a tuple nor a dict")


def builtin_base(kind: type) -> Any:
    """Which of int, float, str, list, tuple and dict the type is or inherits from, None for other types."""
    for base in type.mro(kind):
        if base in (int, float, str, list, tuple, dict):
            return base
    return None


def _shows_its_value(kind: type, base: Any) -> bool:
    """Whether no class below the builtin one (those of `collections` aside) replaces a method that shows the value."""
    kinds = type.mro(kind)
    below = [one for one in kinds[: kinds.index(base)] if one not in _DICTIONARIES]
    return not any(name in vars(one) for one in below for name in _SHOWING)


def builtin_value(value: Any, base: Any) -> Any:
    """What `base`, which is int, float or str, holds of an instance of a subclass."""
    if base is int:
        return int.__int__(value)
    return float.__float__(value) if base is float else str.__str__(value)


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    if type(key) is int:  # as JSON writes it
        return str(key)
    raise UnsupportedResult("a key of the returned dict is neither a string nor an integer")
