"""Grades a file of rows into a file of verdicts: one line for each line, in order, written one by one.

    rows.jsonl --Grading--> verdicts.jsonl, VerdictCounts

After Ctrl-C the output holds whole lines, for the first rows of the input.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vt_ray.progress import bar
from vt_ray.verify.files.grading import Graded, Grading
from vt_ray.verify.files.rows import RowsFileError, lines_of
from vt_ray.verify.files.verdict_counts import VerdictCounts
from vt_ray.verify.grading_result import readable_tail
from vt_ray.verify.kinds import kind_entry
from vt_ray.verify.limits import Limits


def grade_file(
    path: Path, output: Path, limits: Limits, workers: int, show_output: bool, counts: VerdictCounts
) -> None:
    """Grade every row of `path` into `output`. `counts` counts the rows, also if this is interrupted.

    Raises RowsFileError if the input cannot be read or the output cannot be written.
    """
    total = sum(1 for _ in lines_of(path))  # reads the file twice, so that the progress bar has a total
    try:
        if output.exists() and output.samefile(path):
            raise RowsFileError(f"{output} is the input itself: name another output")
        # Unbuffered: each line is one write, so that an interrupt falls between two lines.
        with (
            open(output, "wb", buffering=0) as file,
            Grading(limits, workers) as grading,
            bar("verify", total) as advance,
        ):
            for graded in grading.grade(lines_of(path)):
                line = json.dumps(_fields(graded, show_output)).encode() + b"\n"
                while line:  # a partial write happens only if the disk is nearly full
                    line = line[file.write(line) :]
                counts.add(graded)
                if kind_entry(graded.kind).needs_sandbox and not counts.backend:
                    counts.backend, counts.backend_notes = grading.backend()
                advance(counts.note)
    except OSError as error:
        raise RowsFileError(f"{output} cannot be written: {error.strerror or error}") from error


def _fields(graded: Graded, show_output: bool) -> dict[str, Any]:
    verdict = graded.result.verdict
    fields = {
        "id": graded.row_id,
        "verdict": verdict.status,
        "reason": readable_tail(verdict.reason.encode("utf-8", "surrogatepass")),
        "seconds": round(verdict.seconds, 6),
    }
    if show_output:
        fields["stdout_tail"] = graded.result.stdout_tail
        fields["stderr_tail"] = graded.result.stderr_tail
    return fields
