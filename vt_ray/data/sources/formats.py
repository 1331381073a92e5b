"""The rows of one file, by its extension. No format but compressed parquet is held in memory or copied as a whole.

.parquet | .json | .jsonl | .csv, each also .gz or .zst  --file_rows-->  (row number, fields)
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from vt_ray.data.json_text import NotAList, UnusableJson, loads, stream_list
from vt_ray.data.sources.encodings import detect
from vt_ray.data.sources.errors import ProblemFileError, RowError, first_line
from vt_ray.data.sources.names import split_name
from vt_ray.progress import console

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET_ROWS = 256
_BUFFER = 1 << 20
# White space and a byte order mark.
_BLANK = b"\xef\xbb\xbf \t\r\n\f\v"
# Python's default of 131,072 characters is less than the tests of many code problems.
_LARGEST_CELL = 2**31 - 1
# The first bytes of a file, and the extension that it should have.
_MARKS = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"PAR1\x15": ".parquet"}
Rows = Iterator[tuple[int, Any]]


def file_rows(path: Path, encoding: str = "") -> Rows:
    """Yields the rows of a file with their numbers from 1; in a .jsonl file the number is that of the line.

    In place of a row that cannot be read it yields a RowError, and continues with the next row.

    `encoding` is for .csv only; "" detects it. Raises ProblemFileError if the file is missing, empty or broken.
    """
    extension, compression = split_name(str(path))
    if not path.is_file():
        raise ProblemFileError(f"{path}: no such file: check the path")
    if path.stat().st_size == 0:
        raise ProblemFileError(f"{path}: the file is empty: expected at least one row")
    readers = {".parquet": _parquet_rows, ".json": _json_rows, ".jsonl": _json_lines}
    number = 0
    try:
        _refuse_other_content(path, extension, compression)
        if extension == ".csv":
            rows = _csv_rows(path, compression, encoding or _detected(path, compression))
        else:
            rows = readers[extension](path, compression)
        for number, fields in rows:
            yield number, fields
    except PermissionError as error:
        raise ProblemFileError(f"{path}: may not be read ({error.strerror}): change its permissions") from error
    except (EOFError, OSError, zlib.error) as error:
        raise ProblemFileError(
            f"{path}, after row {number}: the rest cannot be read ({first_line(error)}): copy it again"
        ) from error


def _refuse_other_content(path: Path, extension: str, compression: str) -> None:
    """Raises ProblemFileError if the first bytes are those of another format or compression than the name says."""
    with open(path, "rb") as file:
        start = file.read(5)
    content = next((kind for mark, kind in _MARKS.items() if start.startswith(mark)), "")
    if content and content != (compression or extension):
        raise ProblemFileError(
            f"{path}: the name ends with {compression or extension}, the content is {content}: rename the file"
        )


@contextmanager
def _opened(path: Path, compression: str) -> Iterator[BinaryIO]:
    """The decompressed bytes of a file."""
    if compression == ".zst":
        import pyarrow as pa

        with pa.input_stream(path, compression="zstd") as stream:
            yield cast(BinaryIO, io.BufferedReader(stream, _BUFFER))
    else:
        opened = gzip.open if compression else open
        with opened(path, "rb") as stream:
            yield cast(BinaryIO, stream)


def _parquet_rows(path: Path, compression: str) -> Rows:
    if not compression:
        yield from _parquet_stream(path, path)
        return
    with _opened(path, compression) as packed, tempfile.TemporaryFile() as file:
        shutil.copyfileobj(packed, file, _BUFFER)
        yield from _parquet_stream(path, file)


def _parquet_stream(path: Path, file: Path | IO[bytes]) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            yield from batch_rows(path, opened.iter_batches(_PARQUET_ROWS))
    except (pa.ArrowException, OSError) as error:
        raise ProblemFileError(f"{path}: not a whole parquet file ({first_line(error)}): copy it again") from error


def batch_rows(source: object, batches: Iterable[pa.RecordBatch]) -> Rows:
    """Yields the rows of arrow batches; a RowError for a row with text that is not UTF-8."""
    number = 0
    for batch in batches:
        types = {field.name: field.type for field in batch.schema}
        for index in range(batch.num_rows):
            number += 1
            try:
                (fields,) = batch.slice(index, 1).to_pylist()
            except UnicodeDecodeError as error:
                fault = f"not UTF-8 text ({error.reason}): correct or delete the row"
                yield number, RowError(source, number, fault)
                continue
            yield number, {name: _shortest(value, types[name]) for name, value in fields.items()}


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


def _json_rows(path: Path, compression: str) -> Rows:
    number = 0
    try:
        with _opened(path, compression) as stream:
            for number, fields in enumerate(stream_list(io.TextIOWrapper(stream, "utf-8-sig")), start=1):
                yield number, fields
    except UnicodeDecodeError as error:
        raise ProblemFileError(f"{path}: not UTF-8 text ({error.reason}): save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise ProblemFileError(
            f"{path}, line {error.lineno}: broken JSON ({error.msg}): expected one list of objects, or "
            "one object a line"
        ) from error
    except NotAList as error:
        raise ProblemFileError(f"{path}: {error}") from error
    except UnusableJson as error:
        raise ProblemFileError(f"{path}, row {number + 1}: {error}") from error


def _json_lines(path: Path, compression: str) -> Rows:
    with _opened(path, compression) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip(_BLANK):
                yield number, _json_line(path, number, line)


def _json_line(path: Path, number: int, line: bytes) -> Any:
    """Returns the value of a line, or a RowError. Text mode would decode larger parts, whose errors name no line."""
    try:
        return loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        fault = f"not UTF-8 text ({error.reason}): save the file as UTF-8, or delete the row"
    except json.JSONDecodeError as error:
        fault = (
            f"broken JSON at column {error.colno} ({error.msg}): expected one object a line; correct or delete the "
            "row, or name the file .json if it is one list"
        )
    except UnusableJson as error:
        fault = str(error)
    return RowError(path, number, fault)


def _csv_rows(path: Path, compression: str, encoding: str) -> Rows:
    """Yields the rows below the header. All values are text."""
    number = 0
    csv.field_size_limit(_LARGEST_CELL)
    try:
        with _opened(path, compression) as stream:
            lines = csv.reader(io.TextIOWrapper(stream, encoding, newline=""), strict=True)
            header = next(lines, [])
            if len(header) == 1 and (mark := next((m for m in ";\t|" if m in header[0]), "")):
                raise ProblemFileError(
                    f"{path}: its header {header[0]!r:.80} is separated by {mark!r}: expected commas"
                )
            if len(set(header)) < len(header):
                raise ProblemFileError(f"{path}: two columns have one name: {header}: make them differ")
            for number, cells in enumerate(filter(None, lines), start=1):
                if len(cells) != len(header):
                    fault = (
                        f"{len(cells)} cells, the header has {len(header)}: put a cell with commas or line breaks in "
                        "double quotes"
                    )
                    yield number, RowError(path, number, fault)
                    continue
                yield number, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ProblemFileError(f"{path}, row {number + 1}: broken csv ({error}): correct or delete the row") from error
    except (UnicodeDecodeError, LookupError) as error:
        raise ProblemFileError(
            f"{path}: cannot be read in the encoding {encoding} ({first_line(error)}): name its own with encoding"
        ) from error


def _detected(path: Path, compression: str) -> str:
    with _opened(path, compression) as stream:
        encoding, certain = detect(stream)
    if not certain:
        console.print(
            f"{path}: not UTF-8, read as {encoding}: if letters are wrong, name its encoding with encoding",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return encoding
