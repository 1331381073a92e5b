r"""Reads the user's own problems from a file into `Problem` records.

    path --> problem_rows.read_rows --> (row number, fields) --> its layout --> Problem --copies merged--> problems

`layouts.table` lists the layouts. A row's layout is found by its fields, named, or spelled out field by field.
`golds.gold_text` writes each answer as text. All elements of a list are parts of the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vt_ray.data.layouts.choice import shuffled, with_listed_options
from vt_ray.data.layouts.layout import Layout, RowLeftOut, identified, normalised
from vt_ray.data.layouts.spelled_out import spelled_out_layout
from vt_ray.data.layouts.table import layout_by_name, layout_of
from vt_ray.data.layouts.vt_ray_rows import VT_RAY, custom_problem
from vt_ray.data.problem_rows import MissingGoldError, ProblemFileError, Row, read_rows
from vt_ray.import_path import import_object
from vt_ray.progress import bar, console
from vt_ray.records import Problem
from vt_ray.verify.kinds import kind_entry

__all__ = ["ProblemFileError", "ReadProblems", "read_problem_rows", "read_problems"]

# A larger share means that the layout was misread, or that its answers cannot be graded here.
_MAX_UNREADABLE = 0.05
_NAMED_ROWS = 5
MANY_GOLDS = 2_000
# At least so many different answers, and less than one question for two of them: the question was misread.
_COLLAPSED_ANSWERS = 20
_REMEDY = "delete one of the two rows, or correct its answer"


@dataclass
class ReadProblems:
    """The problems of one file, and what became of its rows.

    `left_out` counts rows by the reason, `layouts` by the layout. `conflict` is the first row that repeats a question
    with another answer.
    """

    problems: list[Problem] = field(default_factory=list)
    rows: int = 0
    copies: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    layouts: Counter[str] = field(default_factory=Counter)
    conflict: ProblemFileError | None = None


def read_problems(
    path: str | Path,
    subdomain: str | None = None,
    drop_unanswered: bool = False,
    custom_kinds: Collection[str] = (),
    layout: str = "",
    fields: Mapping[str, str] | None = None,
    option_seed: int = 0,
    encoding: str = "",
) -> list[Problem]:
    """Reads the problems of a source: a file, a folder, a glob or a hub name, see `vt_ray.data.sources`.

    `custom_kinds` are the names in verify.kinds. `encoding` is that of .csv files; "" detects it.

    `subdomain` overrides the subdomains of the rows; rows without one belong to "math". With `drop_unanswered`, rows
    without a gold answer or with an unreadable one are left out. Otherwise a missing gold answer is an error, and so
    are unreadable ones in more than 5% of the rows; fewer are printed. `layout` names the layout of all rows, and
    `fields` spells it out; without both, each row's fields decide. `option_seed` shuffles options whose right one is
    always first. Raises ProblemFileError with the file, the row (from 1), the fault and the expected form.
    """
    if fields and layout:
        raise ProblemFileError(f"{path}: layout={layout!r} and fields={dict(fields)} are both set: give one of them")
    try:
        chosen = spelled_out_layout(fields) if fields else layout_by_name(layout) if layout else None
    except ValueError as error:
        raise ProblemFileError(f"{path}: {error}") from error
    read = read_problem_rows(read_rows(path, encoding), subdomain, drop_unanswered, custom_kinds, chosen, option_seed)
    if not read.problems:
        reasons = "; ".join(f"{count} left out: {reason}" for reason, count in read.left_out.items())
        raise ProblemFileError(
            f"{path}: no problem in it: expected at least one row with a question and an answer"
            + (f" ({reasons})" if reasons else "")
        )
    _refuse_collapsed(path, read)
    if read.conflict:
        raise read.conflict
    _print_left_out(path, read)
    return _with_readable_golds(path, read.problems, drop_unanswered)


def read_problem_rows(
    rows: Iterable[Row],
    subdomain: str | None = None,
    drop_unanswered: bool = False,
    custom_kinds: Collection[str] = (),
    chosen: Layout | None = None,
    option_seed: int = 0,
) -> ReadProblems:
    """Returns the problems of these rows, as `read_problems` does, without the checks of the whole file."""
    read = ReadProblems()
    by_id: dict[str, Problem] = {}
    by_question: dict[str, Problem] = {}
    for row in rows:
        read.rows += 1
        layout = chosen or _layout(row, custom_kinds)
        read.layouts[layout.name] += 1
        try:
            problem = _problem(row, layout, custom_kinds, option_seed)
        except MissingGoldError:
            if not drop_unanswered:
                raise
            read.left_out["no gold answer"] += 1
            continue
        except RowLeftOut as reason:
            read.left_out[str(reason)] += 1
            continue
        if subdomain:
            problem = replace(problem, subdomain=subdomain)
        if not layout.numbered:
            text = normalised(f"{problem.system} {problem.question}")
            first = by_question.setdefault(text, problem)
            if first is not problem and (first.answer, first.tests) == (problem.answer, problem.tests):
                read.copies += 1
                continue
            if first is not problem:
                read.conflict = read.conflict or row.error(
                    f"the question of row {first.row} with another answer: {_REMEDY}"
                )
                read.problems.append(problem)
                continue
        _refuse_repeated_id(row, problem, by_id)
        read.problems.append(problem)
    return read


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
        return identified(layout, row, custom_problem(row))
    problem = identified(layout, row, layout.read(row))
    return with_listed_options(shuffled(problem, option_seed)) if layout.right_option_first else problem


def _refuse_repeated_id(row: Row, problem: Problem, by_id: dict[str, Problem]) -> None:
    first = by_id.setdefault(problem.question_id, problem)
    if first is not problem:
        place = "" if first.source == problem.source else f" of {first.source}"
        raise row.error(
            f"question_id {problem.question_id!r} is already that of row {first.row}{place}: make them differ, or "
            "delete one row"
        )


def _refuse_collapsed(path: str | Path, read: ReadProblems) -> None:
    """Raises ProblemFileError if many rows with different answers have the same few questions."""
    questions = {normalised(f"{p.system} {p.question}") for p in read.problems}
    answers = {(p.answer, repr(p.tests)) for p in read.problems}
    if len(answers) >= _COLLAPSED_ANSWERS and 2 * len(questions) < len(answers):
        names = ", ".join(read.layouts)
        raise ProblemFileError(
            f"{path}: its {read.rows:,} rows have {len(questions):,} different questions but {len(answers):,} "
            f"different answers, read as layout {names}: the question stands in another field; name it, for example "
            "fields: {question: q, answer: a} beside the path"
        )


def _print_left_out(path: str | Path, read: ReadProblems) -> None:
    for reason, count in read.left_out.items():
        console.print(f"{path}: {count:,} of {read.rows:,} rows left out: {reason}", markup=False, highlight=False)
    if read.copies:
        console.print(
            f"{path}: {read.copies:,} of {read.rows:,} rows repeat a question and are merged: "
            f"{len(read.problems):,} questions",
            markup=False,
            highlight=False,
        )


def _with_readable_golds(path: str | Path, problems: list[Problem], drop: bool) -> list[Problem]:
    """Returns the problems. Prints unreadable gold answers, and leaves their rows out if `drop` is True."""
    try:
        found = list(_with_unreadable_golds(problems))
    except ValueError as error:
        raise ProblemFileError(f"{path}: {error}") from error
    if not found:
        return problems
    named = ", ".join(
        f"{f'row {p.row}' if p.source == str(path) else p.place}: {p.answer!r:.60}" for p in found[:_NAMED_ROWS]
    )
    more = f" and {len(found) - _NAMED_ROWS} more" if len(found) > _NAMED_ROWS else ""
    said = f"{path}: the verifier cannot read {len(found)} of {len(problems)} gold answers ({named}{more})"
    remedy = "correct them, or read the file with drop_unanswered=True, which leaves these rows out"
    unreadable = {p.question_id for p in found}
    kept = [p for p in problems if p.question_id not in unreadable] if drop else problems
    if not kept or (not drop and len(found) > _MAX_UNREADABLE * len(problems)):
        raise ProblemFileError(f"{said}: {remedy}")
    outcome = "these rows are left out" if drop else f"each answer to them will be unverified; {remedy}"
    console.print(f"{said}: {outcome}", markup=False, highlight=False, soft_wrap=True)
    return kept


def _with_unreadable_golds(problems: list[Problem]) -> Iterator[Problem]:
    """The problems whose gold answer their grader cannot read. Raises ValueError if a grader cannot be started."""
    for kind in dict.fromkeys(p.kind for p in problems):
        if check := kind_entry(kind).unreadable_golds:
            golds = import_object(check)(_with_progress({p.answer: None for p in problems if p.kind == kind}))
            yield from (p for p in problems if p.kind == kind and p.answer in golds)


def _with_progress(golds: Collection[str]) -> Iterator[str]:
    """Yields the gold answers, with a progress bar if checking them takes more than about ten seconds."""
    if len(golds) < MANY_GOLDS:
        yield from golds
        return
    with bar("check golds", len(golds)) as advance:
        for gold in golds:
            yield gold
            advance("", 1)
