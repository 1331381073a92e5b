"""A file of rows graded into a file of verdicts: one line for each line, in order, written as they come.

    rows.jsonl --Grading--> verdicts.jsonl, Tally

A file that was cut short (Ctrl-C, a full disk) holds whole lines, for the first rows of the input.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

from vt_ray.progress import bar
from vt_ray.verify.grading import Graded, Grading
from vt_ray.verify.limits import Limits
from vt_ray.verify.rows import RowsFileError, lines_of
from vt_ray.verify.tally import Tally

_MAX_TAIL_CHARS = 2_000
_MAX_REASON_CHARS = 500


def grade_file(path: Path, output: Path, limits: Limits, workers: int, show_output: bool, tally: Tally) -> None:
    """Grade every row of `path` into `output`, counting in `tally`, which holds what was done if this is cut short.

    Raises RowsFileError where the input cannot be read or the output cannot be written.
    """
    total = sum(1 for _ in lines_of(path))  # reads it twice; a bar without an end would say less
    try:
        if output.exists() and output.samefile(path):
            raise RowsFileError(f"{output} is the input itself: name another output")
        # Unbuffered, so that a line is one write: an interrupt falls between two lines.
        with open(output, "wb", buffering=0) as file, Grading(limits, workers) as grading:
            tally.backend = grading.backend
            with bar("verify", total) as advance:
                for graded in grading.grade(lines_of(path)):
                    file.write(json.dumps(_fields(graded, show_output)).encode() + b"\n")
                    tally.add(graded)
                    advance(tally.note)
    except OSError as error:
        raise RowsFileError(f"{output} cannot be written: {error.strerror or error}") from error


def _fields(graded: Graded, show_output: bool) -> dict[str, Any]:
    verdict = graded.examination.verdict
    fields = {
        "id": graded.row_id,
        "verdict": verdict.status,
        "reason": visible(verdict.reason)[:_MAX_REASON_CHARS],
        "seconds": round(verdict.seconds, 6),
    }
    if show_output:
        fields["stdout_tail"] = visible(graded.examination.stdout_tail)[-_MAX_TAIL_CHARS:]
        fields["stderr_tail"] = visible(graded.examination.stderr_tail)[-_MAX_TAIL_CHARS:]
    return fields


def visible(text: str) -> str:
    r"""`text` with each character that could steer a terminal as its escape: "\x1b[2J" is five visible characters.

    Controls (but the end of a line and the tabulator), marks of writing direction and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(_visible(c) if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text)


def _visible(character: str) -> str:
    return character if character in "\n\t" else character.encode("unicode_escape").decode()
