"""A file of results, one line of JSON for each problem, that a killed evaluation continues.

header line {fingerprint, ...}, then one line a problem --flushed--> .jsonl --read after a kill--> the problems left
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from vt_ray.progress import console

# In a line: the energy since the line before in joules, None if it is not known.
JOULES = "joules"


class ResultsFile:
    """The results so far by question id. A context manager: `add` needs the open file.

    The results of an existing file are taken if its header has the fingerprint of `header`. A line that is not whole
    JSON, such as the last one of a killed process, counts as missing.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]):
        self.path, self.header = path, header
        known, results = read_results(path)
        if known and known["fingerprint"] != header["fingerprint"]:
            console.print(
                f"{path} has the fingerprint {known['fingerprint']}, now it is {header['fingerprint']}: problems or "
                "settings have changed, so all problems are evaluated again",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            results = {}
        self.results = results

    @property
    def seconds(self) -> float:
        """The time of all processes that worked at the results."""
        return sum(line["seconds"] for line in self.results.values())

    def __enter__(self) -> ResultsFile:
        """Write the known lines again, so that new ones follow whole lines only."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f"{self.path.name}.partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in [self.header, *self.results.values()]))
        os.replace(partial, self.path)
        self._file = self.path.open("a")
        self._last = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, result: Mapping[str, Any]) -> None:
        """Write the result of one problem, with the seconds since the one before; on disk when this returns."""
        now = time.monotonic()
        line = {**result, "seconds": now - self._last}
        self._last = now
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.results[line["question_id"]] = line


def traces_path(results: Path) -> Path:
    """The texts of the samples whose results are in `results`."""
    return results.parent / "traces" / results.name


def votes_path(results: Path) -> Path:
    """The weights of the samples whose results are in `results`."""
    return results.parent / "votes" / results.name


def read_results(path: Path) -> tuple[dict[str, Any] | None, dict[str, dict[str, Any]]]:
    """The header of the file and its whole lines by question id; (None, {}) without a file or a whole header."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    parsed = [_parsed(line) for line in lines]
    if not parsed or not parsed[0] or "fingerprint" not in parsed[0]:
        return None, {}
    return parsed[0], {line["question_id"]: line for line in parsed[1:] if line and "question_id" in line}


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
