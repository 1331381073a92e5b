"""The traces of the files in `data.trace_files`: read, chosen and counted.

    files --read_trace_rows--> traces of each row --drop_reason--> the traces that SFT learns from

Traces are long: a list of all of them would not fit in the driver's memory. The files are read once before the run
starts (`survey_traces`), and again when SFT encodes them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import islice

from vt_ray.config import DataSource
from vt_ray.data.decontamination.run_check import RunCheck, trace_question
from vt_ray.data.problem_rows import ProblemFileError, Row, read_rows
from vt_ray.data.question_words import question_words
from vt_ray.data.traces.columns import spelled_out
from vt_ray.data.traces.reasoning import CUT
from vt_ray.data.traces.table import TRACE_LAYOUTS, detect_trace_layout
from vt_ray.data.traces.trace import Message, Trace, TraceError, TraceLayout

WRONG = "marked as wrong"
CONTAMINATED = "contains a probing or test question"
# Rows that are read and checked together: their traces are in memory.
_BATCH_ROWS = 200
Places = frozenset[tuple[str, int]]


@dataclass
class TraceCounts:
    """Counts of one file. `dropped` has the number of traces that are left out, by reason."""

    path: str
    layout: str = ""
    rows: int = 0
    traces: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def chosen(self) -> int:
        return self.traces - self.dropped.total()

    def __str__(self) -> str:
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.dropped.items()))
        return (
            f"{self.path}: {self.traces:,} traces in {self.rows:,} rows of layout {self.layout or 'fields'}"
            f"{'; left out: ' if left_out else ''}{left_out}"
        )


@dataclass(frozen=True)
class TraceFiles:
    """The sources of a run's traces. `digest` hashes the chosen traces, independent of the code that read them.

    `contaminated`: (file, row) of the rows that decontamination leaves out.
    """

    sources: tuple[DataSource, ...] = ()
    counts: tuple[TraceCounts, ...] = ()
    digest: str = ""
    contaminated: Places = frozenset()


NO_TRACES = TraceFiles()


def survey_traces(sources: Sequence[DataSource], taken: Mapping[str, str], check: RunCheck | None = None) -> TraceFiles:
    """Read all traces once: count them, and check their questions for those of the probing and held-out problems.

    `check` finds the rows to leave out. Without it, `taken` is {words of a question: its name in a message}, and a
    question in it is an error. Raises ProblemFileError for a row that cannot be read, for a file of which no trace is
    chosen, and for a question in `taken`.
    """
    counts, found = [], hashlib.sha256()
    contaminated: set[tuple[str, int]] = set()
    for source in sources:
        counted = TraceCounts(source.path)
        rows = read_trace_rows(source)
        while batch := list(islice(rows, _BATCH_ROWS)):
            contaminated |= _contaminated(batch, source.suffix, check)
            for layout, traces in batch:
                counted.layout, counted.rows, counted.traces = layout, counted.rows + 1, counted.traces + len(traces)
                for trace in traces:
                    if reason := drop_reason(trace, source, contaminated):
                        counted.dropped[reason] += 1
                        continue
                    _refuse_taken(trace, source.suffix, taken)
                    found.update(repr(astuple(replace(trace, source="", row=0))).encode())
        if not counted.chosen:
            raise ProblemFileError(f"{counted}: no trace remains to learn from; remove the file from data.trace_files")
        counts.append(counted)
    digest = found.hexdigest()[:12] if sources else ""
    return TraceFiles(tuple(sources), tuple(counts), digest, frozenset(contaminated))


def _contaminated(rows: Sequence[tuple[str, list[Trace]]], suffix: str, check: RunCheck | None) -> set[tuple[str, int]]:
    """(file, row) of the rows that the check leaves out."""
    if not check:
        return set()
    asked = [traces for _, traces in rows if traces]
    drops = check.drops([trace_question(traces, suffix) for traces in asked])
    return {(traces[0].source, traces[0].row) for traces, drop in zip(asked, drops, strict=True) if drop}


def chosen_traces(source: DataSource, contaminated: Places = frozenset()) -> Iterator[Trace]:
    """Yields the traces of a source that SFT learns from, in order."""
    return (
        trace
        for _, traces in read_trace_rows(source)
        for trace in traces
        if not drop_reason(trace, source, contaminated)
    )


def drop_reason(trace: Trace, source: DataSource, contaminated: Collection[tuple[str, int]] = ()) -> str:
    """Returns why SFT does not learn from a trace, "" if it does."""
    if (trace.source, trace.row) in contaminated:
        return CONTAMINATED
    if trace.correct is False and not source.keep_wrong:
        return WRONG
    return trace.fault or (CUT if trace.finish_reason == "length" else "")


def read_trace_rows(source: DataSource) -> Iterator[tuple[str, list[Trace]]]:
    """Yields the name of the layout and the traces of each row, also the traces that SFT leaves out.

    All rows of a file have one layout. Raises ProblemFileError with file, row and remedy for any other row.
    """
    layout = _named_layout(source)
    for row in read_rows(source.path):
        layout = layout or _detected(row)
        if not layout.matches(row.fields):
            raise row.error(
                f"the fields {sorted(row.fields)} are not those of the layout {layout.name!r}, which the file has: "
                "correct or delete the row"
            )
        try:
            traces = layout.read(row.fields)
        except TraceError as error:
            raise row.error(str(error)) from error
        yield layout.name, [_placed(trace, row, source.suffix) for trace in traces]


def _named_layout(source: DataSource) -> TraceLayout | None:
    if source.fields:
        return spelled_out(source.fields)
    return TRACE_LAYOUTS[source.layout] if source.layout else None


def _detected(row: Row) -> TraceLayout:
    if layout := detect_trace_layout(row.fields):
        return layout
    raise row.error(
        f"no layout of traces has the fields {sorted(row.fields)}: name the fields of the question and the response, "
        "fields: {question: NAME, response: NAME}"
    )


def _placed(trace: Trace, row: Row, suffix: str) -> Trace:
    asked = Message("user", trace.question + suffix)
    return replace(trace, messages=(*trace.messages[:-1], asked), source=str(row.path), row=row.number)


def _refuse_taken(trace: Trace, suffix: str, taken: Mapping[str, str]) -> None:
    for message in trace.messages:
        asked = question_words(message.content.removesuffix(suffix))
        if message.role == "user" and (name := taken.get(asked)):
            raise ProblemFileError(
                f"{trace.place}: the question of the trace is also {name}: delete it from one of them"
            )
