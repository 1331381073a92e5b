"""Numbers as text: percentages with intervals, percentage points, durations, counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

UNKNOWN = "–"
# The user and the password in an address: `//user:password@host`.
_PASSWORD = re.compile(r"(?<=://)[^/\s'\"]+@")
_SECRET_PARAMETER = re.compile(r"(?i)([?&][\w.-]*(?:key|token|secret|password|signature|sig)=)[^&\s'\"#]+")


def known(value: Any) -> bool:
    """Whether `value` is a finite number. A missing figure is null or NaN in a JSON line."""
    return isinstance(value, (int, float)) and isfinite(value)


def percent(share: float | None) -> str:
    return f"{share:.1%}" if share is not None and known(share) else UNKNOWN


def interval(score: Mapping[str, float] | None) -> str:
    """`63.4% [60.1, 66.5]` of {mean, low, high} in [0, 1]."""
    if not score:
        return UNKNOWN
    return f"{score['mean']:.1%} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def points(difference: Mapping[str, float] | None) -> str:
    """`+4.2 [+1.0, +7.3]` in percentage points."""
    if not difference:
        return UNKNOWN
    mean, low, high = (100 * difference[key] for key in ("mean", "low", "high"))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def duration(seconds: float | None) -> str:
    """A duration as `12.3 s`, `3 min 05 s` or `2 h 07 min`."""
    if seconds is None or not known(seconds):
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60:02d} min"


def hours(value: float) -> str:
    """CPU-hours or GPU-hours as `0.031`, `4.20` or `1,234`."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def money(value: float) -> str:
    return f"{value:,.2f}" if value < 10_000 else f"{value:,.0f}"


def energy(joules: float) -> str:
    return f"{joules / 1000:,.1f} kJ"


def thousands(count: float | None) -> str:
    return f"{count:,.0f}" if count is not None and known(count) else UNKNOWN


def tokens(count: float | None) -> str:
    """A token count as `1,234,567`, or in millions from 100 million: `1,420.0 M`."""
    return thousands(count) if count is None or count < 1e8 else f"{count / 1e6:,.1f} M"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def rate(count: float | None, seconds: float | None) -> str:
    """Tokens per second; unknown if either value is missing or zero."""
    return thousands(count / seconds) if count and seconds else UNKNOWN


def without_passwords(text: str) -> str:
    """`text` with `***` in place of the user and the password of each address, and of parameters that hold a secret
    ("?api_key=...")."""
    return _SECRET_PARAMETER.sub(r"\1***", _PASSWORD.sub("***@", text))
