"""The plain data that a function may return, rebuilt from the values that the builtin types hold.

An instance of a subclass of a builtin type (a namedtuple, an IntEnum) counts as the value that the builtin type holds,
as in JSON, unless the subclass overrides how the value is shown. Its methods are never called, so that a value cannot
change between two reads.
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


def plain(value: Any, lenient: bool = True) -> Any:
    """Returns the value in a form for JSON, tuples as lists. Raises UnsupportedResult for other values.

    With lenient=False the rules are LiveCodeBench's: a tuple inside the value is unsupported, because it equals no
    list, and a scalar of numpy is a number.
    """
    return _plain(value, 0, [0], lenient)


def _plain(value: Any, depth: int, count: list[int], lenient: bool) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is float or kind is str:
        return value
    count[0] += 1
    if depth > _MAX_DEPTH or count[0] > _MAX_ITEMS:
        raise UnsupportedResult(f"more than {_MAX_DEPTH} levels or {_MAX_ITEMS} containers")
    base = builtin_base(kind)
    if not lenient and kind.__module__ == "numpy" and kind.__name__ != "ndarray" and hasattr(kind, "item"):
        return value.item()  # a scalar of numpy
    if not lenient and base is tuple and depth:
        raise UnsupportedResult("a tuple inside the result, which equals no list")
    if base is not None and not _shows_its_value(kind, base):
        raise UnsupportedResult(f"a subclass of {base.__name__} that does not show the value that it holds")
    if base is list or base is tuple:
        return [_plain(item, depth + 1, count, lenient) for item in base.__iter__(value)]
    if base is dict:
        items = {_key(key): _plain(item, depth + 1, count, lenient) for key, item in dict.items(value)}
        if len(items) != dict.__len__(value):
            raise UnsupportedResult("two keys of the returned dict are the same as strings")
        return items
    if base is not None:
        return builtin_value(value, base)
    raise UnsupportedResult("the function returned neither a number, a string, None, a list, a tuple nor a dict")


def builtin_base(kind: type) -> Any:
    """Returns the type among int, float, str, list, tuple and dict that `kind` is or inherits from, else None."""
    for base in type.mro(kind):
        if base in (int, float, str, list, tuple, dict):
            return base
    return None


def _shows_its_value(kind: type, base: Any) -> bool:
    """Whether no subclass, except those of `collections`, overrides a method that shows the value."""
    kinds = type.mro(kind)
    below = [one for one in kinds[: kinds.index(base)] if one not in _DICTIONARIES]
    return not any(name in vars(one) for one in below for name in _SHOWING)


def builtin_value(value: Any, base: Any) -> Any:
    """Returns the value of `base` (int, float or str) that an instance of a subclass holds."""
    if base is int:
        return int.__int__(value)
    return float.__float__(value) if base is float else str.__str__(value)


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    if type(key) is int:  # as JSON writes it
        return str(key)
    raise UnsupportedResult("a key of the returned dict is neither a string nor an integer")
