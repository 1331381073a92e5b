"""What is in a source of problems or SFT traces, before any run reads it.

rows --layouts, traces--> Contents: layout, questions, kinds, traces, lengths, gold answers, and what is left out
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from vt_ray.config import DataSource
from vt_ray.data.distinct import DistinctProblems, GoldEquality
from vt_ray.data.gold_tests import PROGRAM_SAMPLE, SAMPLE, check_golds
from vt_ray.data.layouts.layout import Layout, normalised
from vt_ray.data.layouts.spelled_out import NAMES
from vt_ray.data.problem_rows import ContradictionError, ProblemFileError, Row, RowError, read_rows
from vt_ray.data.readers import chosen_layout, read_problem_rows
from vt_ray.data.traces.columns import PARTS
from vt_ray.data.traces.files import drop_reason, has_traces, named_layout
from vt_ray.data.traces.table import TraceLayout, detect_trace_layout
from vt_ray.data.traces.trace import Trace, TraceError
from vt_ray.records import Problem

# Messages about rows hold values of these rows: more reasons than these are counted together.
_MOST_REASONS = 20
_LONGEST_REASON = 160
OTHER_REASONS = "other faults"
CONFLICT = "the question of an earlier row, with another answer"
REPEATED_ID = "the id of an earlier row, with another question"


@dataclass
class Contents:
    """The counts of one source.

    `questions` is the number of distinct questions; `copies` of the other rows repeat one of them, and `conflicts` of
    them with another answer. `kinds`, `subdomains` and `levels` count distinct questions. `traces` counts all traces,
    `dropped` rows and traces that a run would leave out or refuse, by reason; copies are merged, not dropped. The
    first gold answers are checked by the verifier: `golds_checked` of them, without copies. Lengths are in characters,
    or in tokens with a tokenizer.
    """

    path: str
    layouts: Counter[str] = field(default_factory=Counter)
    trace_layouts: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    questions: int = 0
    copies: int = 0
    conflicts: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    subdomains: Counter[str] = field(default_factory=Counter)
    levels: Counter[int] = field(default_factory=Counter)
    traces: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    golds_checked: int = 0
    question_lengths: array[int] = field(default_factory=lambda: array("L"))
    trace_lengths: array[int] = field(default_factory=lambda: array("L"))
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def layout(self) -> str:
        """The most frequent layout of traces, else of problems; "" if no row has a known layout."""
        return most_frequent(self.trace_layouts or self.layouts)

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "layout": self.layout,
            "problem_layout": most_frequent(self.layouts),
            "trace_layout": most_frequent(self.trace_layouts),
            "rows": self.rows,
            "questions": self.questions,
            "copies": self.copies,
            "conflicts": self.conflicts,
            "kinds": self.kinds,
            "subdomains": self.subdomains,
            "levels": self.levels,
            "traces": self.traces,
            "dropped": self.dropped,
            "golds_checked": self.golds_checked,
            "question_lengths": quantiles(self.question_lengths),
            "trace_lengths": quantiles(self.trace_lengths),
            "examples": self.examples,
        }


def contents(source: str | DataSource, examples: int = 3, length: Callable[[str], int] = len) -> Contents:
    """Reads a source once, row by row, and returns its counts and its first examples.

    Of a DataSource, path, encoding, layout and fields are used. `length` is the length of a text. A row that cannot be
    read is counted with its fault. Raises ProblemFileError for a source that cannot be read or has no row, and RowError
    if none of its rows can be read.
    """
    with closing(GoldEquality()) as same_gold:
        given = DataSource(source) if isinstance(source, str) else source
        return _contents(given, examples, length, DistinctProblems(same_gold))


def _contents(source: DataSource, examples: int, length: Callable[[str], int], distinct: DistinctProblems) -> Contents:
    found, layouts = Contents(source.path), _layouts(source)
    questions: set[bytes] = set()
    golds: list[Problem] = []
    unreadable: list[RowError] = []
    for row in read_rows(source.path, source.encoding, unreadable.append):
        found.rows += 1
        traces, trace_fault = _traces(found, row, layouts)
        problem, problem_fault = _problem(found, row, layouts)
        # A row with traces may have no problem of its own, for example a chat.
        if fault := trace_fault or (problem_fault if not traces else ""):
            _drop(found, fault)
        if not problem and not traces:
            continue
        is_new = _is_new(found, distinct, row, problem, bool(traces)) if problem else True
        if is_new:
            is_new = _count_question(found, questions, problem, traces, length)
        kept = [trace for trace in traces if not _drop_trace(found, trace, length)]
        if is_new and problem:
            _count_problem(found, problem, golds)
        if is_new and len(found.examples) < examples:
            found.examples.append(_example(problem, kept, traces))
    _count_unreadable(found, unreadable)
    found.questions, found.copies = len(questions), distinct.copies + found.conflicts
    _check_golds(found, golds)
    return found


@dataclass(frozen=True)
class _Layouts:
    """The layouts of a source: those of its settings, or `detected` for each row. None: the rows have no such part."""

    problems: Layout | None = None
    traces: TraceLayout | None = None
    detected: bool = True


def _layouts(source: DataSource) -> _Layouts:
    """Raises ProblemFileError for a layout or fields that no row can have."""
    if not (source.layout or source.fields):
        return _Layouts()
    if source.layout and source.fields:
        fields = dict(source.fields)
        raise ProblemFileError(
            f"{source.path}: layout={source.layout!r} and fields={fields} are both set: give one of them"
        )
    known = {*NAMES, *PARTS}
    if unknown := sorted(source.fields.keys() - known):
        raise ProblemFileError(
            f"{source.path}: fields has {unknown[0]!r}: expected names among {', '.join(sorted(known))}"
        )
    if has_traces(source) and source.fields and "question" not in source.fields:
        raise ProblemFileError(f"{source.path}: fields={dict(source.fields)} must name at least question and response")
    traces = named_layout(source) if has_traces(source) else None
    if traces and source.fields and not {"answer", "tests"} & source.fields.keys():
        return _Layouts(None, traces, detected=False)
    return _Layouts(chosen_layout(replace(source, use=["sft", "rl"])), traces, detected=False)


def most_frequent(counts: Counter[str]) -> str:
    return counts.most_common(1)[0][0] if counts else ""


def quantiles(lengths: array[int]) -> dict[str, int]:
    """Returns the median, the 95% quantile and the maximum of lengths; {} without lengths."""
    ordered = sorted(lengths)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {"median": ordered[last // 2], "p95": ordered[int(0.95 * last)], "max": ordered[last]}


def _problem(found: Contents, row: Row, layouts: _Layouts) -> tuple[Problem | None, str]:
    """Returns the problem of a row and the fault of a row without one."""
    if not (layouts.problems or layouts.detected):
        return None, ""
    try:
        read = read_problem_rows([row], DataSource(drop_unanswered=True), chosen=layouts.problems)
    except ProblemFileError as error:
        return None, str(error).removeprefix(f"{row.path}, row {row.number}: ")
    found.layouts.update(read.layouts)
    return (read.problems[0], "") if read.problems else (None, next(iter(read.left_out)))


def _traces(found: Contents, row: Row, layouts: _Layouts) -> tuple[list[Trace], str]:
    """Returns the traces of a row, and the fault of a row with a layout of traces that cannot be read."""
    layout = detect_trace_layout(row.fields) if layouts.detected else layouts.traces
    if not layout:
        return [], ""
    if not layout.matches(row.fields):
        return [], f"the fields {sorted(row.fields)} are not those of the layout {layout.name!r}"
    try:
        traces = layout.read(row.fields)
    except TraceError as error:
        return [], str(error)
    found.trace_layouts[layout.name] += 1
    found.traces += len(traces)
    return traces, ""


def _drop(found: Contents, reason: str) -> None:
    reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
    known = reason in found.dropped or len(found.dropped) < _MOST_REASONS
    found.dropped[reason if known else OTHER_REASONS] += 1


def _drop_trace(found: Contents, trace: Trace, length: Callable[[str], int]) -> bool:
    found.trace_lengths.append(length(trace.text))
    if reason := drop_reason(trace, DataSource()):
        _drop(found, reason)
    return bool(reason)


def _count_unreadable(found: Contents, errors: list[RowError]) -> None:
    """Counts the rows that are not valid JSON, text or cells. Raises an error if the source has no other row."""
    if not found.rows:
        raise errors[0] if errors else ProblemFileError(f"{found.path}: no row in it: expected at least one")
    found.rows += len(errors)
    for error in errors:
        _drop(found, error.fault)


def _is_new(found: Contents, distinct: DistinctProblems, row: Row, problem: Problem, has_traces: bool) -> bool:
    """Returns whether a run would take the problem as a new one, and counts a conflict with an earlier row."""
    before = len(distinct)
    try:
        distinct.add(row, problem)
    except RowError as error:
        conflict = isinstance(error, ContradictionError)
        found.conflicts += conflict
        if not has_traces:
            _drop(found, CONFLICT if conflict else REPEATED_ID)
    return len(distinct) > before


def _count_question(
    found: Contents, questions: set[bytes], problem: Problem | None, traces: list[Trace], length: Callable[[str], int]
) -> bool:
    """Returns whether the question is new. Rows with traces of one question are no copies: they stay several."""
    question = f"{problem.system} {problem.question}" if problem else traces[0].question
    before = len(questions)
    questions.add(_short_hash(normalised(question)))
    if len(questions) == before:
        return False
    found.question_lengths.append(length(problem.question if problem else question))
    return True


def _count_problem(found: Contents, problem: Problem, golds: list[Problem]) -> None:
    found.kinds[problem.kind] += 1
    found.subdomains[problem.subdomain] += 1
    found.levels[problem.level] += 1
    if len(golds) < (PROGRAM_SAMPLE if problem.kind == "code" else SAMPLE):
        golds.append(problem)


def _check_golds(found: Contents, golds: list[Problem]) -> None:
    tests = check_golds(golds)
    found.golds_checked = tests.tested
    for _, fault in tests.faults:
        _drop(found, fault)


def _example(problem: Problem | None, kept: list[Trace], traces: list[Trace]) -> dict[str, Any]:
    return {
        "kind": problem.kind if problem else "trace",
        "question": problem.question if problem else traces[0].question,
        "gold": (problem.answer or None) if problem else None,
        "options": list(problem.options) if problem else [],
        "tests": _test_form(problem.tests) if problem and problem.tests else None,
        "traces": [trace.text for trace in kept],
    }


def _test_form(tests: dict[str, Any]) -> dict[str, Any]:
    """Returns the form of a program's tests without their values."""
    form = {name: tests[name] for name in ("type", "function", "class", "entry_point") if name in tests}
    return form | ({"cases": len(tests["cases"])} if "cases" in tests else {})


def _short_hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()
