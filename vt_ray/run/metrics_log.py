"""Metrics as JSON lines in the run folder. The file can be cut back to where a step was committed, and followed.

The file is always written. TensorBoard and the like (sinks.py) get its committed lines from follower.py.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


class MetricsLog:
    """Appends one JSON object a line. `offset` is the file's length in bytes after the newest line. What a killed
    process has half written at the end is dropped at once: the next line would be part of it."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self.cut(path.read_bytes().rfind(b"\n") + 1)

    @property
    def offset(self) -> int:
        return self.path.stat().st_size

    def write(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json_line(line))
            file.flush()
            # A manifest may name this offset: the line must not be lost after it.
            os.fsync(file.fileno())

    def cut(self, offset: int) -> None:
        """Drop what was written after `offset`: steps that were never committed. A shorter file stays as it is."""
        os.truncate(self.path, min(offset, self.offset))

    def lines(self) -> list[dict[str, Any]]:
        return read_lines(self.path)


def json_line(line: dict[str, Any]) -> str:
    """`line` as JSON, with null in the place of NaN and infinity, which JSON does not have."""
    return json.dumps(_finite(line), allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; none where the file is missing. A half-written last line, as a killed process
    leaves it, is no object yet."""
    try:
        whole, _, _ = path.read_text().rpartition("\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in whole.splitlines() if line.strip()]


class Tail:
    """Follows a JSON-lines file that another process writes: each `read` takes only the bytes that are new.

    A half-written last line is left for the next time. A file that was cut back, as a resumed run does, is read
    again from its start, even where it has grown past the old length since.
    """

    def __init__(self, path: Path):
        self.path = path
        self._restart()

    def read(self, until: int | None = None) -> list[dict[str, Any]]:
        """Every whole line so far, or those within the first `until` bytes; none where the file is missing."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position - len(self._last))
                if file.read(len(self._last)) != self._last:
                    self._restart()
                    file.seek(0)
                self._take(file.read() if until is None else file.read(max(until - self._position, 0)))
        except FileNotFoundError:
            self._restart()
        return self.lines

    def _restart(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self._position, self._last = 0, b""

    def _take(self, new: bytes) -> None:
        for line in new.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            self._position, self._last = self._position + len(line), line
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                # What a crash left of a line, and was written over.
                continue
