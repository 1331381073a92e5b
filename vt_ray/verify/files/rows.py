"""Reads the rows of a file to grade: one JSON object per line becomes a problem with a response, or a fault.

    lines_of(path) --bytes--> read_row --> Row(row_id, kind, problem, response) | Row(row_id, fault)

Every line gives one row and raises nothing, so that a broken row does not affect the others.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from vt_ray.records import Problem
from vt_ray.verify.kinds import KINDS, kind_names
from vt_ray.verify.programs.long_integer_json import loads

MAX_LINE_BYTES = 32 << 20  # real tests reach a few MB; a longer line means a broken file
_MAX_ID = 10**100
_SKIP_BYTES = 1 << 20
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class RowsFileError(ValueError):
    """A file that is missing or cannot be read to its end. The message names the file and the fault."""


class _Fault(Exception):
    """Why a line cannot be read as a row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `row_id` is the row's own id, else its line number. `kind` is "" if it is unknown.

    `problem` is None exactly if `fault` is set, which says why this row cannot be graded.
    """

    row_id: str | int
    kind: str = ""
    problem: Problem | None = None
    response: str = ""
    fault: str = ""


def lines_of(path: Path) -> Iterator[bytes]:
    """Yields the lines of a file; a .gz file is unpacked. Of a line over the limit it yields only the beginning.

    Raises RowsFileError if the file is missing, cannot be opened, or ends early (a damaged .gz).
    """
    if not path.is_file():  # a pipe is refused: the file is read twice, first to count its lines
        raise RowsFileError(f"{path} is missing or not a file: check the path")
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                    _skip_line(file)
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise RowsFileError(f"{path} cannot be read after line {number}: {error}") from error


def _skip_line(file: BinaryIO | gzip.GzipFile) -> None:
    while (rest := file.readline(_SKIP_BYTES)) and not rest.endswith(b"\n"):
        pass


def read_row(line: bytes, number: int, custom_kinds: Collection[str] = ()) -> Row:
    """Read line `number` (from 1). `custom_kinds` are the names in the setting verify.kinds. Never raises."""
    fields: Any = None
    try:
        fields = _fields(line)
        if _SURROGATE_ESCAPE.search(line) and not _is_text(json.dumps(fields, ensure_ascii=False)):
            raise _Fault("a lone surrogate, which is not valid text")
        return _row(fields, _row_id(fields, number), custom_kinds)
    except _Fault as fault:
        return Row(_row_id(fields, number), fault=f"unreadable row: {fault}")
    except RecursionError:
        return Row(_row_id(fields, number), fault="unreadable row: nested too deep")


def _fields(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise _Fault(f"the line is longer than {MAX_LINE_BYTES >> 20} MiB")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Fault(f"not UTF-8 at byte {error.start}") from error
    if not text.strip():
        raise _Fault("the line is empty")
    try:
        fields = loads(text)
    except json.JSONDecodeError as error:
        raise _Fault(f"broken JSON at column {error.colno} ({error.msg})") from error
    if not isinstance(fields, dict):
        raise _Fault(f"expected an object, got {type(fields).__name__}")
    return fields


def _row(fields: dict[str, Any], row_id: str | int, custom_kinds: Collection[str]) -> Row:
    if not isinstance(fields.get("id"), str | int | None) or isinstance(fields.get("id"), bool):
        raise _Fault(f"field 'id' is of type {type(fields['id']).__name__}: expected text or an integer")
    if isinstance(fields.get("id"), int) and abs(fields["id"]) > _MAX_ID:
        raise _Fault("field 'id' has too many digits")
    kind = _kind(fields, custom_kinds)
    problem = Problem(question_id=str(row_id), subdomain=kind, kind=kind, question="", source="rows")
    if kind not in KINDS:
        response = _field(fields, "response", str)
        own_fields = {name: value for name, value in fields.items() if name != "response"}
        return Row(row_id, kind, replace(problem, fields=own_fields), response)
    entry = KINDS[kind]
    gold = _field(fields, entry.gold_field, entry.gold_type)
    response = _field(fields, "response", str)
    changes = {"tests" if entry.gold_type is dict else "answer": gold}
    return Row(row_id, kind, replace(problem, options=_options(fields), **changes), response)


def _options(fields: dict[str, Any]) -> tuple[str, ...]:
    """Returns the texts of the options of a choice, () without them."""
    options = fields.get("options")
    is_texts = isinstance(options, list) and all(isinstance(option, str) for option in options)
    return tuple(options) if is_texts and options else ()


def _kind(fields: dict[str, Any], custom_kinds: Collection[str]) -> str:
    """The row's `kind`; for a row without one, the kind that its gold field belongs to."""
    kind = fields.get("kind")
    if kind is None:
        kinds = [kind for kind, entry in KINDS.items() if entry.gold_field in fields and not entry.is_second]
        if len(kinds) != 1:
            raise _Fault("field 'kind' is missing")
        return kinds[0]
    if not isinstance(kind, str) or not (kind in KINDS or kind in custom_kinds):
        raise _Fault(f"kind {ascii(kind)[:40]} is not one of {kind_names(custom_kinds)}")
    return kind


def _field(fields: dict[str, Any], name: str, kind: type) -> Any:
    if name not in fields:
        raise _Fault(f"field {name!r} is missing")
    if not isinstance(fields[name], kind):
        needed = "an object" if kind is dict else "text"
        raise _Fault(f"field {name!r} is of type {type(fields[name]).__name__}: expected {needed}")
    return fields[name]


def _row_id(fields: Any, number: int) -> str | int:
    """Returns the row's own id if it is an integer or text, else its line number."""
    own = fields.get("id") if isinstance(fields, dict) else None
    if isinstance(own, int) and not isinstance(own, bool) and abs(own) <= _MAX_ID:
        return own
    return own if isinstance(own, str) and own and _is_text(own) else number


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
