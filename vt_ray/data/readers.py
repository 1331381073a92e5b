r"""Reads the user's own problems from a file into `Problem` records.

    path --> problem_rows.read_rows --> (row number, fields) --> its layout --> Problem --copies merged--> problems

`layouts.table` lists the layouts. A row's layout is found by its fields, named, or spelled out field by field.
`golds.gold_text` writes each answer as text. All elements of a list are parts of the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vt_ray.config import DataSource
from vt_ray.data.bad_rows import refuse_many_bad
from vt_ray.data.distinct import DistinctProblems, GoldEquality
from vt_ray.data.gold_tests import check_golds
from vt_ray.data.layouts.choice import shuffled, with_listed_options
from vt_ray.data.layouts.layout import Layout, RowLeftOut, identified
from vt_ray.data.layouts.spelled_out import spelled_out_layout
from vt_ray.data.layouts.table import layout_by_name, layout_of
from vt_ray.data.layouts.vt_ray_rows import VT_RAY, custom_problem
from vt_ray.data.metadata import NOT_WHERE, OF_PROBLEM, Ranges, matches, may_match, refuse_unknown_names, row_meta
from vt_ray.data.problem_rows import ContradictionError, MissingGoldError, ProblemFileError, Row, RowError, read_rows
from vt_ray.data.shared_text import shared, shared_dict
from vt_ray.data.traces.table import TRACE_LAYOUTS
from vt_ray.progress import console
from vt_ray.records import Problem

__all__ = ["ProblemFileError", "ReadProblems", "read_problem_rows", "read_problems", "read_source"]

# A larger share means that the layout was misread, or that its answers cannot be graded here.
_MAX_FAULTS = 0.05
NO_GOLD = "no gold answer"
# The parts of `fields` that only traces have.
TRACE_PARTS = ("response", "reasoning", "correct")


@dataclass
class ReadProblems:
    """The problems of one source, and what became of its rows.

    `left_out` counts rows by the reason, `layouts` by the layout. `bad` are the rows that `on_bad_row: skip` leaves
    out. `conflicts` are the rows that repeat a question with another answer. `collapsed` is the number of different
    answers if few questions have many answers, else 0. `metadata` has the ranges of the problems' metadata, and `names`
    all names that `where` may have.
    """

    problems: list[Problem] = field(default_factory=list)
    rows: int = 0
    copies: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    layouts: Counter[str] = field(default_factory=Counter)
    bad: list[RowError] = field(default_factory=list)
    conflicts: list[ContradictionError] = field(default_factory=list)
    collapsed: int = 0
    metadata: Ranges = field(default_factory=Ranges)
    names: set[str] = field(default_factory=lambda: {*OF_PROBLEM})


def read_problems(path: str | Path, custom_kinds: Collection[str] = (), **keys: Any) -> list[Problem]:
    """Reads the problems of the source `path` as `read_source` does. `keys` are further keys of DataSource."""
    return read_source(DataSource(str(path), **keys), custom_kinds).problems


def read_source(source: DataSource, custom_kinds: Collection[str] = ()) -> ReadProblems:
    """Reads the problems of a source: a file, a folder, a glob or a hub name, see `vt_ray.data.sources`.

    `custom_kinds` are the names in verify.kinds; `DataSource` documents the keys. A missing gold answer is an error of
    its row without `drop_unanswered`, and so are golds that fail in more than 5% of the tested rows; fewer are printed.
    Raises RowError with the file, the row (from 1), the fault and the expected form, if `on_bad_row` is "error", and
    ProblemFileError for a source that cannot be used as a whole.
    """
    bad: list[RowError] = []
    rows = read_rows(source.path, source.encoding, bad.append if source.on_bad_row == "skip" else None)
    read = read_problem_rows(rows, source, custom_kinds, chosen_layout(source))
    read.bad += bad
    read.rows += len(bad)
    refuse_unknown_names(source.path, source.where, read.names)
    if read.problems:
        _refuse_collapsed(source.path, read)
    _settle_conflicts(source, read)
    if read.problems:
        _check_golds(source, read)
    refuse_many_bad(source, read.bad, read.rows)
    if not read.problems and read.left_out[NOT_WHERE] == read.rows > 0:
        raise ProblemFileError(
            f"{source.path}: where={dict(source.where)} matches none of its {read.rows:,} rows: correct its values"
        )
    if not read.problems:
        reasons = "; ".join(f"{count} left out: {reason}" for reason, count in read.left_out.items())
        raise ProblemFileError(
            f"{source.path}: no problem in it: expected at least one row with a question and an answer"
            + (f" ({reasons})" if reasons else "")
        )
    _print_left_out(source, read)
    for problem in read.problems:
        read.metadata.add(problem.meta or {})
    return read


def read_problem_rows(
    rows: Iterable[Row],
    source: DataSource = DataSource(),  # noqa: B008 - nobody writes to it
    custom_kinds: Collection[str] = (),
    chosen: Layout | None = None,
) -> ReadProblems:
    """Returns the problems of these rows, as `read_source` does, without the checks of the whole file."""
    with closing(GoldEquality()) as same_gold:
        return _read_rows(rows, source, custom_kinds, chosen, DistinctProblems(same_gold))


def _read_rows(
    rows: Iterable[Row],
    source: DataSource,
    custom_kinds: Collection[str],
    chosen: Layout | None,
    distinct: DistinctProblems,
) -> ReadProblems:
    read = ReadProblems()
    for row in rows:
        if source.max_rows and len(distinct) == source.max_rows:
            break
        read.rows += 1
        try:
            layout = chosen or _layout(row, custom_kinds)
            read.layouts[layout.name] += 1
            problem = _wanted_problem(row, layout, source, custom_kinds, read.names)
            distinct.add(row, problem)
        except RowLeftOut as reason:
            read.left_out[str(reason)] += 1
        except RowError as error:
            if source.drop_unanswered and isinstance(error, MissingGoldError):
                read.left_out[NO_GOLD] += 1
            elif isinstance(error, ContradictionError):
                read.conflicts.append(error)
            elif source.on_bad_row == "skip":
                read.bad.append(error)
            else:
                raise
    read.problems, read.copies, read.collapsed = distinct.problems, distinct.copies, distinct.collapsed
    return read


def _wanted_problem(
    row: Row, layout: Layout, source: DataSource, custom_kinds: Collection[str], names: set[str]
) -> Problem:
    """Returns the row's problem, with its metadata. Raises RowLeftOut if it does not match `where`."""
    texts = [name for part, name in source.fields.items() if part not in ("id", "level", "subdomain")]
    meta = row_meta(row.fields, texts)
    names.update(meta)
    if not may_match(source.where, meta):
        raise RowLeftOut(NOT_WHERE)
    problem = _problem(row, layout, custom_kinds, source.option_seed)
    subdomain, answer = shared(source.subdomain or problem.subdomain), shared(problem.answer)
    problem = replace(problem, subdomain=subdomain, answer=answer, meta=_kept_meta(meta, problem.question_id))
    if not matches(source.where, meta, problem):
        raise RowLeftOut(NOT_WHERE)
    return problem


def _kept_meta(meta: dict[str, Any], question_id: str) -> dict[str, Any] | None:
    """The metadata of a problem, without its own id: many rows have equal metadata then, and share one dict."""
    kept = {name: value for name, value in meta.items() if value != question_id or "id" not in name.lower()}
    return shared_dict(kept) or None


def chosen_layout(source: DataSource) -> Layout | None:
    """The layout that a source names or spells out. The names of traces alone are left to the reader of traces."""
    path, fields = source.path, {part: name for part, name in source.fields.items() if part not in TRACE_PARTS}
    if source.fields and source.layout:
        raise ProblemFileError(f"{path}: layout={source.layout!r} and fields={fields} are both set: give one of them")
    try:
        if fields:
            return spelled_out_layout(fields)
        return layout_by_name(source.layout) if source.layout else None
    except ValueError as error:
        if source.layout in TRACE_LAYOUTS and {"sft", "rl"} == {*source.use}:
            return None
        raise ProblemFileError(f"{path}: {error}") from error


def _settle_conflicts(source: DataSource, read: ReadProblems) -> None:
    for error in read.conflicts:
        if source.on_bad_row == "error":
            raise error
        read.bad.append(error)


def _layout(row: Row, custom_kinds: Collection[str]) -> Layout:
    if _is_custom(row, custom_kinds):
        return VT_RAY
    if layout := layout_of(row.fields):
        return layout
    raise row.error(
        f"no known layout has the fields {sorted(row.fields)}: expected question_id, kind, question, answer; "
        "or prompt, reward_model; or problem, answer; or question, answer ending in '#### N'; or a layout of "
        "docs/data.md; or name the fields, for example fields: {question: q, answer: a} beside the path; SFT traces "
        "belong to data.trace_files"
    )


def _is_custom(row: Row, custom_kinds: Collection[str]) -> bool:
    kind = row.fields.get("kind")
    return isinstance(kind, str) and kind in custom_kinds


def _problem(row: Row, layout: Layout, custom_kinds: Collection[str], option_seed: int) -> Problem:
    if layout is VT_RAY and _is_custom(row, custom_kinds):
        return identified(row, custom_problem(row))
    problem = identified(row, layout.read(row))
    return with_listed_options(shuffled(problem, option_seed)) if layout.right_option_first else problem


def _refuse_collapsed(path: str, read: ReadProblems) -> None:
    """Raises ProblemFileError if many rows with different answers have the same few questions."""
    if read.collapsed:
        names = ", ".join(read.layouts)
        raise ProblemFileError(
            f"{path}: its {read.rows:,} rows have {len(read.problems):,} different questions but {read.collapsed:,} "
            f"different answers, read as layout {names}: the question stands in another field; name it, for example "
            "fields: {question: q, answer: a} beside the path"
        )


def _print_left_out(source: DataSource, read: ReadProblems) -> None:
    of_rows = f"of {read.rows:,} rows"
    lines = [f"{count:,} {of_rows} left out: {reason}" for reason, count in read.left_out.items()]
    if read.bad:
        lines.append(f"{len(read.bad):,} {of_rows} are bad and left out; the first: {read.bad[0]}")
    if read.copies:
        lines.append(f"{read.copies:,} {of_rows} repeat a question and are merged: {len(read.problems):,} questions")
    for line in lines:
        console.print(f"{source.path}: {line}", markup=False, highlight=False)


def _check_golds(source: DataSource, read: ReadProblems) -> None:
    """Prints gold answers that fail, or leaves their rows out. Raises ProblemFileError if there are too many."""
    path, leave_out = source.path, source.drop_unanswered or source.on_bad_row == "skip"
    try:
        tests = check_golds(read.problems, whole=leave_out)
    except ValueError as error:
        raise ProblemFileError(f"{path}: {error}") from error
    if not tests.faults:
        return
    if leave_out:
        failed = {p.question_id for p, _ in tests.faults}
        read.problems = [p for p in read.problems if p.question_id not in failed]
    if source.on_bad_row == "skip" and not source.drop_unanswered:
        read.bad += [RowError(p.source, p.row, f"{p.answer!r:.60}: {fault}") for p, fault in tests.faults]
        return
    said = f"{path}: {tests.summary(path)}"
    remedy = "correct them, or set drop_unanswered: true beside the path, which leaves these rows out"
    if source.drop_unanswered:
        read.left_out.update(fault for _, fault in tests.faults)
    elif len(tests.faults) > _MAX_FAULTS * tests.tested:
        raise ProblemFileError(f"{said}: {remedy}")
    if not read.problems:
        raise ProblemFileError(f"{said}: no problem is left; {remedy}")
    outcome = "these rows are left out" if leave_out else f"no answer to them may be correct; {remedy}"
    console.print(f"{said}: {outcome}", markup=False, highlight=False, soft_wrap=True)
