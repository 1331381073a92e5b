"""The table of completions of a step for the sinks. It has the completions that the report shows for the same step."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from vt_ray.report.run_page.samples import file_samples

COLUMNS = (
    *("why", "subdomain", "question_id", "question", "completion", "verdict", "reason"),
    *("p_c", "advantage", "tokens", "finish_reason"),
)


@lru_cache(maxsize=1)
def completion_rows(rollouts: Path) -> list[list[Any]]:
    """The rows of the table, with the columns COLUMNS, from a rollout file; empty if the file cannot be read.

    Rows of a problem that must not be shown are left out, and all rows of a file of an older version, which does not
    mark them.
    """
    rows: list[list[Any]] = []
    for sample in file_samples(rollouts):
        if sample.row.get("withheld") is False:
            known = {**sample.row, "why": sample.why, "tokens": sample.tokens}
            known |= {"question": sample.question, "completion": sample.text}
            rows.append([known[name] for name in COLUMNS])
    return rows
