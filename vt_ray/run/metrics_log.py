"""Metrics as JSON lines in the run folder.

On resume the file is truncated to the newest committed step. `tracking/follower.py` sends the committed lines to
TensorBoard, W&B and MLflow.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class MetricsLog:
    """Appends one JSON object per line. `offset` is the length of the file in bytes.

    An incomplete last line, left by a killed process, is removed when the log is opened: otherwise the next line would
    be appended to it.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self.cut(path.read_bytes().rfind(b"\n") + 1)

    @property
    def offset(self) -> int:
        return self.path.stat().st_size

    def write(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json_line(line))
            file.flush()
            # A manifest records the offset, so the line must be on disk first.
            os.fsync(file.fileno())

    def cut(self, offset: int) -> None:
        """Remove the lines after `offset`: steps without a commit. A shorter file is not changed."""
        os.truncate(self.path, min(offset, self.offset))

    def lines(self) -> list[dict[str, Any]]:
        return read_lines(self.path)


def json_line(line: Mapping[str, Any]) -> str:
    """`line` as JSON text; NaN and infinity, which JSON lacks, become null."""
    return json.dumps(_finite(line), allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; empty if the file is missing. An incomplete last line, left by a killed
    process, is ignored."""
    try:
        complete, _, _ = path.read_text().rpartition("\n")
    except FileNotFoundError:
        return []
    return [parse_line(line) for line in complete.splitlines() if line.strip()]


def parse_line(text: str | bytes) -> Any:
    """One line of the file. Older runs call the probe accuracy `held_out`; a resumed gate needs these values too."""
    line = json.loads(text)
    if isinstance(line, dict) and "held_out" in line:
        line["probe_accuracy"] = line.pop("held_out")
    return line


class Tail:
    """Follows a JSON-lines file that another process writes: each `read` reads only new bytes.

    An incomplete last line is read later. A file that was truncated, as in a resumed run, is read again from its start,
    even if it has grown past its old length.
    """

    def __init__(self, path: Path):
        self.path = path
        self._restart()

    def read(self, until: int | None = None) -> list[dict[str, Any]]:
        """All complete lines so far, or all within the first `until` bytes; empty if the file is missing."""
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
                self.lines.append(parse_line(line))
            except ValueError:
                # The rest of a line that was cut off by a crash.
                continue
