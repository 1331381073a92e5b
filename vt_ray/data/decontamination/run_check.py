"""Decontamination within a run: its training rows against its probing and test problems, while they are read.

    probing and test problems --RunCheck--+--> drops(training rows) --> the rows to leave out
                                          +--> result() --> data/decontamination.json, data/contaminated.jsonl

Generated problems are not compared with one another: `data.makers.selection` gives each of them to one split by a hash
of its parameters, so that the three splits are disjoint for every seed. They are compared with the problems of files.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vt_ray.data.decontamination.checked_rows import BATCH_ROWS, CheckedRow, check_batch
from vt_ray.data.decontamination.findings import Findings, shown_text
from vt_ray.data.decontamination.leakage import Leakage
from vt_ray.data.decontamination.matcher import Matcher
from vt_ray.data.decontamination.options import DecontaminationOptions
from vt_ray.data.decontamination.rows import Question, is_withheld
from vt_ray.data.traces.trace import Trace
from vt_ray.progress import bar
from vt_ray.records import Problem

_GENERATED_FILES = {split: f"generated {split} problems" for split in ("train", "probe", "test")}
# More rows than these take more than about two seconds.
_MANY_ROWS = 50_000
Places = frozenset[tuple[str, int]]


@dataclass(frozen=True)
class RunLeakage:
    """What the check found. `report` is the content of report.json of `vt-tools decontaminate`.

    dropped: (file, row) of the training rows that are left out; the file of a trace is marked by `trace_file`.
    lines: the findings of each row with at least one, as in dropped.jsonl, without the rows themselves.
    """

    report: Mapping[str, Any]
    dropped: Places = frozenset()
    lines: Iterable[Mapping[str, Any]] = ()


class Lines:
    """Findings in a temporary file on disk: with twins of test questions there may be one for each of many rows."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - lives as long as this object

    def append(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        self._file.seek(0)
        yield from map(json.loads, self._file)


class RunCheck:
    """Checks training rows. `policy` is "drop" or "report"; `known` answers instead, if the inputs have not changed."""

    def __init__(self, evaluation: Mapping[str, Sequence[Problem]], policy: str, known: RunLeakage | None = None):
        self._options = DecontaminationOptions(policy=policy, duplicates="off")
        self._known = known
        self._questions = [q for split, found in evaluation.items() for q in problem_questions(found, split)]
        self._leakage = Leakage(dict(Counter(question.file for question in self._questions)))
        self._checkers: dict[bool, _Checker] = {}
        self._dropped: set[tuple[str, int]] = set()
        self._lines = Lines()
        self._seconds = 0.0

    def drops(self, rows: Sequence[Question]) -> list[bool]:
        """Whether each training row is left out. All rows are counted."""
        if self._known:
            return [(row.file, row.row) in self._known.dropped for row in rows]
        start = time.monotonic()
        found: list[bool] = []
        with bar("decontaminate", len(rows)) if len(rows) > _MANY_ROWS else nullcontext(_no_bar) as advance:
            for start_of_batch in range(0, len(rows), BATCH_ROWS):
                batch = rows[start_of_batch : start_of_batch + BATCH_ROWS]
                found += self._batch(batch)
                advance("", len(batch))
        self._seconds += time.monotonic() - start
        return found

    def result(self) -> RunLeakage:
        """Returns what was found in all rows so far."""
        if self._known:
            return self._known
        report = {
            "options": asdict(self._options),
            "seconds": round(self._seconds, 3),
            **self._leakage.as_json(),
            "boilerplate_ngrams": max((m.boilerplate for c in self._checkers.values() if (m := c.matcher)), default=0),
        }
        return RunLeakage(report, frozenset(self._dropped), self._lines)

    def _batch(self, rows: Sequence[Question]) -> list[bool]:
        dropped: dict[int, bool] = {}
        for generated in (False, True):
            places = [place for place, row in enumerate(rows) if is_generated(row.file) == generated]
            if places:
                chosen = [rows[place] for place in places]
                dropped.update(zip(places, self._checked(chosen, self._checker(generated)), strict=True))
        return [dropped[place] for place in range(len(rows))]

    def _checker(self, generated: bool) -> _Checker:
        """The checker of generated rows, or of rows of files."""
        if generated not in self._checkers:
            questions = [q for q in self._questions if not (generated and is_generated(q.file))]
            self._checkers[generated] = _Checker(questions, self._options)
        return self._checkers[generated]

    def _checked(self, rows: Sequence[Question], checker: _Checker) -> Iterator[bool]:
        for row, findings in zip(rows, checker.findings_of(rows), strict=True):
            drop = bool(findings) and checker.findings.drops(findings[0])
            self._leakage.add(row.file, shown_text(row, findings), findings, drop)
            if findings:
                self._lines.append({"file": row.file, "row": row.row, "dropped": drop, "findings": findings})
            if drop:
                self._dropped.add((row.file, row.row))
            yield drop


class _Checker:
    def __init__(self, questions: Sequence[Question], options: DecontaminationOptions):
        self.matcher = Matcher(questions, options) if questions else None
        self.findings = Findings(questions, options)

    def findings_of(self, rows: Sequence[Question]) -> list[list[dict[str, Any]]]:
        if not self.matcher:
            return [[] for _ in rows]
        return self.findings.of_batch(check_batch([CheckedRow(row, "") for row in rows], self.matcher))


def problem_questions(problems: Iterable[Problem], split: str) -> list[Question]:
    """The questions of problems. Those of generated problems are numbered from 1 and their file is named by `split`."""
    return [
        Question(p.source, p.row, p.question, is_withheld(p.source, p.meta or ()))
        if p.row
        else Question(_GENERATED_FILES[split], number, p.question)
        for number, p in enumerate(problems, start=1)
    ]


def trace_question(traces: Sequence[Trace], suffix: str) -> Question:
    """The messages of the user in the traces of one row, without the suffix that the run appends to a question."""
    messages = [m.content.removesuffix(suffix) for trace in traces for m in trace.messages if m.role == "user"]
    place = traces[0]
    text = "\n".join(dict.fromkeys(messages))
    return Question(trace_file(place.source), place.row, text, is_withheld(place.source, ()))


def is_generated(file: str) -> bool:
    """Whether a file in the counts stands for generated problems."""
    return file in _GENERATED_FILES.values()


def trace_file(source: str) -> str:
    """The name of a file of traces in the counts: one file may have problems and traces."""
    return f"{source} (traces)"


def read_known(path: Path, inputs: Callable[[], str]) -> RunLeakage | None:
    """Returns the result in a run folder, None if there is none or if the digest of its inputs is another one now."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["inputs"] != inputs():
            return None
        dropped = frozenset((file, row) for file, rows in found["dropped_rows"].items() for row in rows)
        return RunLeakage(found["report"], dropped)
    except (ValueError, KeyError, TypeError, AttributeError):  # a file that is cut off or was edited
        return None


def _no_bar(note: str, count: int) -> None:
    pass
