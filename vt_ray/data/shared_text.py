"""One object for equal short texts and equal metadata of many rows: a source, a subject, a small answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_LONGEST = 64


def shared(text: str) -> str:
    """Returns an equal text, for short texts that are frequent always the same object.

    Rare texts are soon forgotten. `sys.intern` would keep a table of all of them.
    """
    return _shared(text) if len(text) <= _LONGEST else text


@lru_cache(maxsize=4096)
def _shared(text: str) -> str:
    return text


def shared_dict(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an equal dict, for frequent names and values always the same object, which must not be changed.

    A dict of four values takes 190 bytes. The values must be hashable; 1, 1.0 and True differ.
    """
    return _shared_dict(tuple(values), *values.values())


@lru_cache(maxsize=4096, typed=True)
def _shared_dict(names: tuple[str, ...], *values: Any) -> dict[str, Any]:
    return dict(zip(names, values, strict=True))
