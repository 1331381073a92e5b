"""The rows of a problem file of any format, each with its file and number.

.parquet | .json | .jsonl | .jsonl.gz --> Row(path, number, fields)
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vt_ray.data.golds import gold_text
from vt_ray.data.json_text import UnusableJson, giant_integer_row, loads

_PARQUET_ROWS = 1024


class ProblemFileError(ValueError):
    """A problem file that cannot be used. The message names file, row, fault and the expected form."""


class MissingGoldError(ProblemFileError):
    """A row without a gold answer. With `drop_unanswered` it is left out."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `number` counts from 1; in a .jsonl file it is the line number."""

    path: Path
    number: int
    fields: dict[str, Any]

    def error(self, fault: str) -> ProblemFileError:
        return ProblemFileError(f"{self.path}, row {self.number}: {fault}")

    def missing_gold(self, fault: str) -> MissingGoldError:
        return MissingGoldError(f"{self.path}, row {self.number}: {fault}")

    def value(self, name: str) -> Any:
        """Returns a required field. Raises ProblemFileError if it is missing."""
        if name not in self.fields:
            raise self.error(f"field {name!r} is missing: the row has {sorted(self.fields)}")
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

    def question_id(self) -> str:
        """Returns the row's `unique_id`, else the file name and the row number."""
        given = self.fields.get("unique_id")
        return str(given) if given not in (None, "") else f"{self.stem}/{self.number}"

    @property
    def stem(self) -> str:
        """The file's name without its extensions."""
        return self.path.name.split(".")[0]


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file. Raises ProblemFileError if the file is missing, empty or broken."""
    reader = _reader(path)
    if not path.is_file():
        raise ProblemFileError(f"{path}: no such file: check the path")
    if path.stat().st_size == 0:
        raise ProblemFileError(f"{path}: the file is empty: expected at least one row")
    for number, fields in reader(path):
        if isinstance(fields, list) and fields and all(isinstance(message, dict) for message in fields):
            fields = {"conversations": fields}  # a row of Open-Reasoner-Zero is a bare chat
        if not isinstance(fields, dict):
            raise ProblemFileError(
                f"{path}, row {number}: the row is of type {type(fields).__name__}: expected an object"
            )
        yield Row(path, number, fields)


def _reader(path: Path) -> Callable[[Path], Iterator[tuple[int, Any]]]:
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return _json_lines
    readers = {".parquet": _parquet_rows, ".json": _json_rows}
    if path.suffix not in readers:
        raise ProblemFileError(
            f"{path}: unknown extension {path.suffix!r}: expected .parquet, .json, .jsonl, .jsonl.gz"
        )
    return readers[path.suffix]


def _parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ProblemFileError(f"{path}: reading parquet needs pyarrow: pip install pyarrow") from error
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            types = {name: file.schema_arrow.field(name).type for name in file.schema_arrow.names}
            for batch in file.iter_batches(_PARQUET_ROWS):
                for index in range(batch.num_rows):
                    number += 1
                    (fields,) = batch.slice(index, 1).to_pylist()
                    yield number, {name: _shortest(value, types[name]) for name, value in fields.items()}
    except UnicodeDecodeError as error:
        raise ProblemFileError(
            f"{path}, row {number}: not UTF-8 text ({error.reason}): correct or delete the row"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise ProblemFileError(f"{path}: not a whole parquet file ({_first_line(error)}): copy it again") from error


def _shortest(value: Any, kind: Any) -> Any:
    """Returns `value` of the arrow type `kind`. Floats of 32 or 16 bits get their shortest digits: 0.1 instead of
    0.10000000149."""
    import numpy as np
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return float(str((np.float32 if pa.types.is_float32(kind) else np.float16)(value)))
    if pa.types.is_struct(kind):
        return {name: _shortest(part, kind.field(name).type) for name, part in value.items()}
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_floating(kind.value_type):
        return [_shortest(part, kind.value_type) for part in value]
    return value


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = loads(text)
    except UnicodeDecodeError as error:
        raise ProblemFileError(f"{path}: not UTF-8 text ({error.reason}): save it as UTF-8") from error
    except OSError as error:
        raise ProblemFileError(f"{path}: cannot be read ({_first_line(error)})") from error
    except json.JSONDecodeError as error:
        raise ProblemFileError(
            f"{path}, line {error.lineno}: broken JSON ({error.msg}): expected one list of objects; "
            "a file with one object a line is named .jsonl"
        ) from error
    except UnusableJson as error:
        row = None if isinstance(error.__cause__, RecursionError) else giant_integer_row(text)
        raise ProblemFileError(f"{path}, row {row}: {error}" if row else f"{path}: {error}") from error
    if not isinstance(rows, list):
        raise ProblemFileError(f"{path}: holds one {type(rows).__name__}: expected a list of objects")
    yield from enumerate(rows, start=1)


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opened(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                # Decoded line by line, so that an error names its row: text mode decodes larger parts.
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield number, _json_line(path, number, text)
    except UnicodeDecodeError as error:
        raise ProblemFileError(
            f"{path}, row {number}: not UTF-8 text ({error.reason}): save the file as UTF-8, or delete the row"
        ) from error
    except (EOFError, OSError, zlib.error) as error:
        raise ProblemFileError(
            f"{path}, after row {number}: the rest cannot be read ({_first_line(error)}): copy it again"
        ) from error


def _json_line(path: Path, number: int, line: str) -> Any:
    try:
        return loads(line)
    except json.JSONDecodeError as error:
        raise ProblemFileError(
            f"{path}, row {number}: broken JSON at column {error.colno} ({error.msg}): expected one object a line; "
            "correct or delete the row"
        ) from error
    except UnusableJson as error:
        raise ProblemFileError(f"{path}, row {number}: {error}") from error


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def type_name(value: Any) -> str:
    """Returns the type of a field's value, for a message."""
    return "missing" if value is None else f"of type {type(value).__name__}"
