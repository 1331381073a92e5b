"""A verdict, with what the program wrote before it."""

from __future__ import annotations

from dataclasses import dataclass

from vt_ray.records import Verdict

_TAIL_BYTES = 2_048


@dataclass(frozen=True, slots=True)
class GradingResult:
    """`stdout_tail` and `stderr_tail` are the end of what the program wrote in its last test, for people to read.

    No character in them moves a cursor or sets a title: what is not printable is written as its number.
    """

    verdict: Verdict
    stdout_tail: str = ""
    stderr_tail: str = ""


def readable_tail(data: bytes) -> str:
    """The last 2 KiB as printable text: control characters and bytes that are not UTF-8 as \\x1b and the like."""
    text = data[-_TAIL_BYTES:].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
