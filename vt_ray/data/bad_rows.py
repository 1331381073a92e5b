"""Rows that `on_bad_row: skip` leaves out: at most a share of their source, and a list in the run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from vt_ray.config import DataSource
from vt_ray.data.sources.errors import ProblemFileError, RowError


def refuse_many_bad(source: DataSource, bad: Sequence[RowError], rows: int) -> None:
    """Raises ProblemFileError if more than `max_bad_share` of the rows are bad."""
    if len(bad) > source.max_bad_share * rows:
        raise ProblemFileError(
            f"{source.path}: {len(bad):,} of {rows:,} rows are bad, more than max_bad_share={source.max_bad_share:g}; "
            f"the first: {bad[0]}; correct the rows or the layout, or raise max_bad_share"
        )


def write_bad_rows(bad: Iterable[RowError], file: Path) -> None:
    """Writes one line a row: {"file", "row", "reason"}."""
    lines = ({"file": error.path, "row": error.row, "reason": error.fault} for error in bad)
    file.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")
