"""One object for equal short texts of many rows, such as a source, a subject or a small number as the gold answer."""

from __future__ import annotations

from functools import lru_cache

_LONGEST = 64


def shared(text: str) -> str:
    """Returns an equal text, for short texts that are frequent always the same object.

    Rare texts are soon forgotten. `sys.intern` would keep a table of all of them.
    """
    return _shared(text) if len(text) <= _LONGEST else text


@lru_cache(maxsize=4096)
def _shared(text: str) -> str:
    return text
