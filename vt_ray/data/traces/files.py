"""The traces of the files in `data.trace_files`: read, chosen and counted.

    files --read_trace_rows--> traces of each row --drop_reason--> the traces that SFT learns from

Traces are long: a list of all of them would not fit in the driver's memory. The files are read once before the run
starts (`survey_traces`), and again when SFT encodes them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import islice
from typing import Any

from vt_ray.config import DataSource
from vt_ray.data.bad_rows import refuse_many_bad
from vt_ray.data.decontamination.run_check import RunCheck, trace_question
from vt_ray.data.layouts.table import layout_of
from vt_ray.data.metadata import NOT_WHERE, Ranges, matches, refuse_unknown_names, row_meta
from vt_ray.data.problem_rows import ProblemFileError, Row, RowError, read_rows
from vt_ray.data.question_words import question_words
from vt_ray.data.traces.columns import PARTS, spelled_out
from vt_ray.data.traces.reasoning import CUT
from vt_ray.data.traces.table import TRACE_LAYOUTS, detect_trace_layout
from vt_ray.data.traces.trace import Message, Trace, TraceError, TraceLayout

WRONG = "marked as wrong"
CONTAMINATED = "contains a probing or test question"
# Rows that are read and checked together: their traces are in memory.
_BATCH_ROWS = 200
Places = frozenset[tuple[str, int]]
# The name of a row's layout, its traces and its metadata.
TraceRow = tuple[str, list[Trace], dict[str, Any]]


@dataclass
class TraceCounts:
    """Counts of one source. `rows` counts matches of `where`, and `dropped` has the number of traces that are left
    out, by reason. `bad` are the rows that `on_bad_row: skip` leaves out; `left_out` counts other rows, by reason."""

    path: str
    layout: str = ""
    rows: int = 0
    traces: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    bad: list[RowError] = field(default_factory=list)
    metadata: Ranges = field(default_factory=Ranges)
    names: set[str] = field(default_factory=set)

    @property
    def chosen(self) -> int:
        return self.traces - self.dropped.total()

    def __str__(self) -> str:
        reasons = self.dropped + Counter({f"bad rows (the first: {self.bad[0]})": len(self.bad)} if self.bad else {})
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
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
        rows = _checked(read_trace_rows(source, counted), source.suffix, check, contaminated)
        for trace in _chosen(rows, source, counted, contaminated):
            _refuse_taken(trace, source.suffix, taken)
            found.update(repr(astuple(replace(trace, source="", row=0))).encode())
        refuse_many_bad(source, counted.bad, counted.rows + counted.left_out.total() + len(counted.bad))
        refuse_unknown_names(source.path, source.where, counted.names)
        if not counted.chosen:
            raise ProblemFileError(f"{counted}: no trace remains to learn from; remove the file from data.trace_files")
        counts.append(counted)
    digest = found.hexdigest()[:12] if sources else ""
    return TraceFiles(tuple(sources), tuple(counts), digest, frozenset(contaminated))


def _checked(
    rows: Iterator[TraceRow], suffix: str, check: RunCheck | None, contaminated: set[tuple[str, int]]
) -> Iterator[TraceRow]:
    """Yields all rows, and adds (file, row) of the rows that the check leaves out to `contaminated`."""
    while batch := list(islice(rows, _BATCH_ROWS)):
        asked = [traces for _, traces, _ in batch if traces]
        drops = check.drops([trace_question(traces, suffix) for traces in asked]) if check else []
        contaminated |= {(traces[0].source, traces[0].row) for traces, drop in zip(asked, drops, strict=False) if drop}
        yield from batch


def chosen_traces(source: DataSource, contaminated: Places = frozenset()) -> Iterator[Trace]:
    """Yields the traces of a source that SFT learns from, in order."""
    counted = TraceCounts(source.path)
    return _chosen(read_trace_rows(source, counted), source, counted, contaminated)


def subdomains_of_traces(source: DataSource, contaminated: Places = frozenset()) -> Iterator[str]:
    """Yields the subdomain of each trace of `chosen_traces`, in its order: that of the source or of the row, or "math"
    as for a problem without one."""
    counted = TraceCounts(source.path)
    for traces, meta in _chosen_rows(read_trace_rows(source, counted), source, counted, contaminated):
        yield from [source.subdomain or str(meta.get("subdomain") or "math")] * len(traces)


def _chosen(
    rows: Iterable[TraceRow], source: DataSource, counted: TraceCounts, contaminated: Collection[tuple[str, int]]
) -> Iterator[Trace]:
    for traces, _ in _chosen_rows(rows, source, counted, contaminated):
        yield from traces


def _chosen_rows(
    rows: Iterable[TraceRow], source: DataSource, counted: TraceCounts, contaminated: Collection[tuple[str, int]]
) -> Iterator[tuple[list[Trace], dict[str, Any]]]:
    """Yields the traces that SFT learns from and the metadata of each row, of at most `max_rows` rows that have such a
    trace, and counts all."""
    used = 0
    for layout, traces, meta in rows:
        reasons = [drop_reason(trace, source, contaminated) for trace in traces]
        counted.layout, counted.rows, counted.traces = layout, counted.rows + 1, counted.traces + len(traces)
        counted.dropped.update(filter(None, reasons))
        counted.metadata.add(meta)
        yield [trace for trace, reason in zip(traces, reasons, strict=True) if not reason], meta
        used += "" in reasons
        if used == source.max_rows > 0:
            return


def drop_reason(trace: Trace, source: DataSource, contaminated: Collection[tuple[str, int]] = ()) -> str:
    """Returns why SFT does not learn from a trace, "" if it does."""
    if (trace.source, trace.row) in contaminated:
        return CONTAMINATED
    if trace.correct is False and not source.keep_wrong:
        return WRONG
    return trace.fault or (CUT if trace.finish_reason == "length" else "")


def has_traces(source: DataSource) -> bool:
    """Whether the rows of a source are traces: its layout or its fields say so, else its first row does."""
    if source.layout or source.fields:
        return source.layout in TRACE_LAYOUTS or "response" in source.fields
    for row in read_rows(source.path, source.encoding, lambda error: None):
        layout = detect_trace_layout(row.fields)
        return layout is not None and (not layout_of(row.fields) or _is_readable(layout, row))
    return False


def _is_readable(layout: TraceLayout, row: Row) -> bool:
    try:
        return bool(layout.read(row.fields))
    except TraceError:
        return False


def read_trace_rows(source: DataSource, counted: TraceCounts) -> Iterator[TraceRow]:
    """Yields the name of the layout, the traces and the metadata of each row that matches `where`, also the traces that
    SFT leaves out. The others are counted in `counted`.

    All rows of a file have one layout. Raises RowError with file, row and remedy for any other row, or adds it to the
    bad rows.
    """
    layout = named_layout(source)
    skip = counted.bad.append if source.on_bad_row == "skip" else None
    for row in read_rows(source.path, source.encoding, skip):
        meta = row_meta(row.fields, list(source.fields.values()))
        counted.names |= meta.keys()
        if not matches(source.where, meta):
            counted.left_out[NOT_WHERE] += 1
            continue
        try:
            layout = layout or _detected(row)
            traces = _traces(row, layout, source.suffix)
        except RowError as error:
            if not skip:
                raise
            skip(error)
        else:
            yield layout.name, traces, meta


def _traces(row: Row, layout: TraceLayout, suffix: str) -> list[Trace]:
    if not layout.matches(row.fields):
        raise row.error(
            f"the fields {sorted(row.fields)} are not those of the layout {layout.name!r}, which the file has: "
            "correct or delete the row"
        )
    try:
        return [_placed(trace, row, suffix) for trace in layout.read(row.fields)]
    except TraceError as error:
        raise row.error(str(error)) from error


def named_layout(source: DataSource) -> TraceLayout | None:
    if source.fields:
        return spelled_out({part: name for part, name in source.fields.items() if part in PARTS})
    return TRACE_LAYOUTS.get(source.layout)


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
