"""The rows of a source of problems or traces, each with its file and number.

file | folder | glob | hf://owner/name  --read_rows-->  Row(path, number, fields)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vt_ray.data.golds import gold_text
from vt_ray.data.sources.errors import ProblemFileError, RowError
from vt_ray.data.sources.formats import batch_rows, file_rows
from vt_ray.data.sources.hub import HubSource, hub_batches
from vt_ray.data.sources.names import parts

__all__ = ["ContradictionError", "MissingGoldError", "ProblemFileError", "Row", "RowError", "read_rows"]

_COMMON_NAMES = {"train", "test", "validation", "valid", "val", "dev", "data"}


class MissingGoldError(RowError):
    """A row without a gold answer. With `drop_unanswered` it is left out."""


class ContradictionError(RowError):
    """A row that repeats the question of an earlier row with another answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `number` counts from 1; in a .jsonl file it is the line number."""

    path: Path | HubSource
    number: int
    fields: dict[str, Any]

    def error(self, fault: str) -> RowError:
        return RowError(self.path, self.number, fault)

    def missing_gold(self, fault: str) -> MissingGoldError:
        return MissingGoldError(self.path, self.number, fault)

    def contradiction(self, fault: str) -> ContradictionError:
        return ContradictionError(self.path, self.number, fault)

    def value(self, name: str) -> Any:
        """Returns a required field. Raises ProblemFileError if it is missing."""
        if name not in self.fields:
            raise self.error(
                f"field {name!r} is missing: the row has {sorted(self.fields)}; correct the row, or give the file's "
                "own names in fields"
            )
        return self.fields[name]

    def text(self, name: str) -> str:
        """Returns a required text field, stripped. Raises ProblemFileError if it is missing, empty or not text."""
        value = self.value(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            raise self.error(f"field {name!r} is empty: expected text")
        if not isinstance(value, str):
            raise self.error(f"field {name!r} is of type {type(value).__name__}: expected text")
        return self.encodable(name, value.strip())

    def encodable(self, name: str, text: str) -> str:
        """Returns `text`. Raises ProblemFileError if it holds half of a surrogate pair, which is not a character."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.error(
                f"field {name!r} holds {text[error.start]!a} at character {error.start}, which is half of a character: "
                "correct the text or delete the row"
            ) from error
        return text

    def gold(self, name: str, value: Any) -> str:
        """Returns the gold answer `value` of the field `name` as text. Raises MissingGoldError if there is none."""
        return gold_text(self, name, value)

    @property
    def stem(self) -> str:
        """The file's name without its extensions; with its folder if many files have this name: aime24/test."""
        stem = self.path.name.split(".")[0]
        folder = self.path.parent.name if isinstance(self.path, Path) and stem in _COMMON_NAMES else ""
        return f"{folder}/{stem}" if folder else stem


def read_rows(
    source: str | Path, encoding: str = "", on_bad_row: Callable[[RowError], None] | None = None
) -> Iterator[Row]:
    """Yields the rows of all files of a source: a file, a folder, a glob, or a hub name (`vt_ray.data.sources`).

    `encoding` is that of .csv files; "" detects it. A row that cannot be read is given to `on_bad_row`, or raised as a
    RowError without it. Raises ProblemFileError if a file is missing, empty or broken.
    """
    for part in parts(source):
        rows = batch_rows(part, hub_batches(part)) if isinstance(part, HubSource) else file_rows(part, encoding)
        for number, fields in rows:
            if isinstance(fields, list) and fields and all(_is_message(message) for message in fields):
                fields = {"conversations": fields}  # a row of Open-Reasoner-Zero is a bare chat
            if not isinstance(fields, dict | RowError):
                fields = RowError(part, number, f"the row is of type {type(fields).__name__}: expected an object")
            if not isinstance(fields, RowError):
                yield Row(part, number, fields)
            elif on_bad_row:
                on_bad_row(fields)
            else:
                raise fields


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and not {"from", "role"}.isdisjoint(value)


def type_name(value: Any) -> str:
    """Returns the type of a field's value, for a message."""
    return "missing" if value is None else f"of type {type(value).__name__}"
