"""Writes comparison.html and comparison.json of several runs, and prints the tables on the terminal.

run folders --read_runs--> ComparedRuns --compare--> comparison.json --SECTIONS--> comparison.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vt_ray.report.comparison import sentences as say
from vt_ray.report.comparison.charts import colours
from vt_ray.report.comparison.compare import compare
from vt_ray.report.comparison.runs import read_runs
from vt_ray.report.comparison.sections import SECTIONS
from vt_ray.report.comparison.tables import difference_rows, score_rows
from vt_ray.report.html import render, write_page
from vt_ray.report.tables import Rows, print_rows
from vt_ray.run.checkpoint import write_json
from vt_ray.run.paths import RunPaths

# Space for the label of a group in a table of 80 columns.
LABEL_COLUMNS = 8


def write_comparison(roots: Sequence[Path], path: Path) -> dict[str, Any]:
    """Compare the runs in `roots`. Writes the page to `path` (.html) and the numbers to the same path with .json.

    Returns the numbers. Unfinished runs are left out and listed in `left_out`. Raises ComparisonError if the runs
    cannot be compared, and ImportError if plotly or jinja2 is not installed.
    """
    comparison = compare(*read_runs(roots))
    sections = [section(comparison) for section in SECTIONS]
    page = render(
        "comparison.html.jinja",
        {section.key: section.figures for section in sections},
        title=f"Comparison of {len(comparison['runs'])} runs",
        headline=say.headline(comparison),
        warnings=say.warnings(comparison),
        sections=sections,
        # In charts over lambda, the colours show Pass@1 and Pass@K, not the groups.
        uncoloured=["result"] if comparison["groups"][0]["lambda"] is not None else [],
        colours=colours(comparison["groups"], comparison["baseline"]),
        reports=[(run["name"], _address(Path(run["path"]), path)) for run in comparison["runs"]],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path.with_suffix(".json"), comparison)
    write_page(path, page)
    return comparison


def print_comparison(comparison: say.Comparison) -> None:
    """Print the two tables of the result, the findings and the warnings.

    If a label is too long for its column, the groups are numbered and the labels are listed first.
    """
    base, short = comparison["baseline"], _short_labels(comparison)
    for label, number in short.items():
        if label != number:
            print(f"{number} {label}")
    print_rows("At the end of each run", _relabelled(score_rows(comparison), short))
    if say.others(comparison):
        print_rows(f"Paired difference from {short[base]}", _relabelled(difference_rows(comparison), short))
    print(say.headline(comparison))
    for warning in say.warnings(comparison):
        print(f"warning: {warning}")


def _short_labels(comparison: say.Comparison) -> dict[str, str]:
    labels = [group["label"] for group in comparison["groups"]]
    if max(map(len, labels)) <= LABEL_COLUMNS:
        return {label: label for label in labels}
    return {label: f"({number})" for number, label in enumerate(labels, start=1)}


def _relabelled(rows: Rows, short: Mapping[str, str]) -> Rows:
    return [rows[0], *([short[row[0]], *row[1:]] for row in rows[1:])]


def _address(run: Path, page: Path) -> str:
    """The address of the run's report, relative to the page at `page`."""
    return "./" + quote(os.path.relpath(RunPaths(run).report, page.resolve().parent))
