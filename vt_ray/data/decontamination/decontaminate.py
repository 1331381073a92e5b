"""Decontaminates training files against evaluation files (arXiv 2511.06221, section 3.5) and writes the outcome.

    training rows --checked_rows--> matches --+--> kept.jsonl, dropped.jsonl, reported.jsonl
    training rows --Copies--> copies ---------+--> report.json

kept.jsonl has the rows as they were. A line of dropped.jsonl, and of reported.jsonl (rows that were kept although
something was found), has the row under "training", the strongest finding, and the others under "more".
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vt_ray.data.decontamination.checked_rows import CheckedRow, checked_rows, checked_rows_on_ray
from vt_ray.data.decontamination.findings import Findings, shown_text
from vt_ray.data.decontamination.leakage import Leakage
from vt_ray.data.decontamination.matcher import Matcher
from vt_ray.data.decontamination.options import DecontaminationOptions
from vt_ray.data.decontamination.rows import read_all, refuse_repeated

KEPT, DROPPED, REPORTED, REPORT = "kept.jsonl", "dropped.jsonl", "reported.jsonl", "report.json"


def decontaminate(
    training: Sequence[str],
    evaluation: Sequence[str],
    output: Path,
    options: DecontaminationOptions,
    field: str = "",
    on_ray: bool = False,
    advance: Callable[[int], None] = lambda rows: None,
) -> dict[str, Any]:
    """Returns the content of report.json after all files are written to the folder `output`.

    field: name of the field of the question; "" finds it by the names of the public layouts.
    on_ray: check the rows with Ray Data instead of on one core.
    advance: is called with the number of rows after each batch.

    Raises ProblemFileError for a file that cannot be read, ValueError for options that cannot be used. Each file
    gets its name when all are complete, so that an interrupted run leaves no partial result.
    """
    start = time.monotonic()
    questions = read_all(evaluation, field)
    refuse_repeated(training)
    matcher = Matcher(questions, options)
    batches = (
        checked_rows_on_ray(training, questions, options, field) if on_ray else checked_rows(training, matcher, field)
    )
    counts = Counter(question.file for question in questions)
    leakage = Leakage(dict(counts))
    output.mkdir(parents=True, exist_ok=True)
    _write_rows(batches, Findings(questions, options), leakage, output, advance)
    report = {
        "options": asdict(options),
        "seconds": round(time.monotonic() - start, 3),
        **leakage.as_json(),
        "boilerplate_ngrams": matcher.boilerplate,
    }
    _replace(output / REPORT, json.dumps(report, indent=1) + "\n")
    return report


def _write_rows(
    batches: Iterable[list[CheckedRow]],
    findings: Findings,
    leakage: Leakage,
    output: Path,
    advance: Callable[[int], None],
) -> None:
    names = (KEPT, DROPPED, REPORTED)
    with ExitStack() as stack:
        kept, dropped, reported = (
            stack.enter_context(open(output / f"{name}.partial", "w", encoding="utf-8")) for name in names
        )
        for rows in batches:
            for row, found in zip(rows, findings.of_batch(rows), strict=True):
                drop = bool(found) and findings.drops(found[0])
                leakage.add(row.question.file, shown_text(row.question, found), found, drop)
                if not drop:
                    kept.write(row.line + "\n")
                if found:
                    (dropped if drop else reported).write(_finding_line(row, found) + "\n")
            advance(len(rows))
    for name in names:
        os.replace(output / f"{name}.partial", output / name)


def _finding_line(row: CheckedRow, found: Sequence[dict[str, Any]]) -> str:
    place = {"file": row.question.file, "row": row.question.row}
    return json.dumps({**place, **found[0], "more": found[1:], "training": json.loads(row.line)})


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
