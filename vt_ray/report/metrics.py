"""Figures of the metrics' lines, wherever in a line they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Line = Mapping[str, Any]
Lines = Sequence[Line]


def value(line: Line, key: str) -> Any:
    """The line's figure `key`, or `part/name` for one inside another; None where it has none, as older lines may."""
    part, _, name = key.rpartition("/")
    return ((line.get(part) or {}) if part else line).get(name)
