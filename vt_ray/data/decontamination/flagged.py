"""The benchmark problems that training rows contain: what a benchmark's result is divided by.

data/contaminated.jsonl, problems of benchmarks --flagged_problems--> data/flagged_problems.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vt_ray.records import Problem

# What became of the training rows that match a problem.
KEPT, LEFT_OUT = "kept", "left out"


def flagged_problems(
    lines: Iterable[Mapping[str, Any]], benchmarks: Mapping[str, Sequence[Problem]]
) -> dict[str, dict[str, str]]:
    """Returns {benchmark: {question id: KEPT or LEFT_OUT}} of the problems that match a training row.

    `lines` are those of contaminated.jsonl. KEPT: a training row that matches is still in the training set. If a row
    matches several problems of a file, the line names the strongest match only.
    """
    found: dict[tuple[str, int], str] = {}
    for line in lines:
        for finding in line["findings"]:
            place = finding.get("evaluation_file"), finding.get("evaluation_row")
            if found.get(place) != KEPT:
                found[place] = LEFT_OUT if line["dropped"] else KEPT
    flagged = {
        name: {p.question_id: found[p.source, p.row] for p in problems if p.row and (p.source, p.row) in found}
        for name, problems in benchmarks.items()
    }
    return {name: problems for name, problems in flagged.items() if problems}


def read_findings(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yields the lines of contaminated.jsonl; none without the file."""
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)
