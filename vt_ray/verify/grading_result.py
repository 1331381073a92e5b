"""A verdict together with the end of the program's output."""

from __future__ import annotations

from dataclasses import dataclass

from vt_ray.records import Verdict

_TAIL_BYTES = 2_048


@dataclass(frozen=True, slots=True)
class GradingResult:
    """`stdout_tail` and `stderr_tail` are the end of the program's output in its last test, for people to read.

    Characters that are not printable are escaped, so that the text cannot control a terminal.
    """

    verdict: Verdict
    stdout_tail: str = ""
    stderr_tail: str = ""


def readable_tail(data: bytes) -> str:
    """Returns the last 2 KiB as printable text; control characters and invalid UTF-8 are escaped as \\x1b."""
    text = data[-_TAIL_BYTES:].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
