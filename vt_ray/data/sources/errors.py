"""The error of all readers of problems and traces."""

from __future__ import annotations


class ProblemFileError(ValueError):
    """A problem file that cannot be used. The message names file, row, fault and the expected form."""


def first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
