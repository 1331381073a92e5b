"""The error of all readers of problems and traces."""

from __future__ import annotations


class ProblemFileError(ValueError):
    """A problem file that cannot be used. The message names file, row, fault and the expected form."""


class RowError(ProblemFileError):
    """A fault of one row. With `on_bad_row: skip` this row alone is left out, and its fault is recorded.

    `path` is the file or the data set of the row, `row` its number from 1 and `fault` the message without both.
    """

    def __init__(self, path: object, row: int, fault: str):
        super().__init__(f"{path}, row {row}: {fault}")
        self.path, self.row, self.fault = str(path), row, fault

    def __reduce__(self) -> tuple[type[RowError], tuple[str, int, str]]:
        """Pickle rebuilds an error from its message alone, which is not enough here."""
        return type(self), (self.path, self.row, self.fault)


def first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
