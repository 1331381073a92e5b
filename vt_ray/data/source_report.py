"""What became of the rows of each source: the counts on the screen, in the run folder and in the report.

ReadProblems, TraceCounts --source_report--> SourceReport --write_sources--> data/sources.json, data/bad_rows.jsonl
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vt_ray.config import DataSource
from vt_ray.data.bad_rows import write_bad_rows
from vt_ray.data.mixture import Mixture
from vt_ray.data.readers import ReadProblems
from vt_ray.data.roles import Role
from vt_ray.data.sources.errors import RowError
from vt_ray.data.traces.files import TraceCounts
from vt_ray.progress import console
from vt_ray.records import Problem
from vt_ray.run.checkpoint import write_json

OVERLONG = "prompt over data.max_prompt_tokens"
# The set of the problems whose worked solutions SFT learns and RL does not see.
SFT_ONLY = "sft_only"


@dataclass(frozen=True)
class SourceReport:
    """`questions` are distinct and in use. `left_out` counts rows that are not read as problems, by reason, and
    `traces_left_out` traces. `metadata` has the ranges of `Ranges.as_json`. `files` are the files of its problems, and
    `shared_files` the rows of its problems in each file that another source has too."""

    source: DataSource
    layouts: Mapping[str, int]
    rows: int
    questions: int = 0
    copies: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    traces: int = 0
    traces_left_out: Counter[str] = field(default_factory=Counter)
    bad: Sequence[RowError] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    files: frozenset[str] = frozenset()
    shared_files: Mapping[str, frozenset[int]] = field(default_factory=dict)

    @property
    def splits(self) -> set[str]:
        """The problem sets that its problems are in."""
        if "rl" in self.source.use:
            return {"train"}
        return {SFT_ONLY if use == "sft" else use for use in self.source.use}

    def has(self, problem: Problem) -> bool:
        """Whether the problem is one of this source, in one of its sets."""
        rows = self.shared_files.get(problem.source)
        return problem.source in self.files and (rows is None or problem.row in rows)

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.source.path,
            "use": self.source.use,
            "weight": self.source.weight,
            "layouts": self.layouts,
            "rows": self.rows,
            "questions": self.questions,
            "copies": self.copies,
            "left_out": self.left_out,
            "traces": self.traces,
            "traces_left_out": self.traces_left_out,
            "bad_rows": len(self.bad),
            "metadata": self.metadata,
        }

    def __str__(self) -> str:
        parts = [f"{self.rows:,} rows"]
        parts += [f"{self.questions:,} questions"] if self.questions else []
        parts += [f"{self.traces - self.traces_left_out.total():,} of {self.traces:,} traces"] if self.traces else []
        out = self.left_out + self.traces_left_out + Counter(copies=self.copies) + Counter({"bad rows": len(self.bad)})
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(out.items()))
        return f"{self.source.path} for {', '.join(self.source.use)}: {', '.join(parts)}" + (
            f"; left out: {reasons}" if reasons else ""
        )


def source_reports(
    found: Sequence[Role], reads: Sequence[ReadProblems], counts: Iterable[TraceCounts]
) -> list[SourceReport]:
    """The reports of all sources. `counts` are those of the sources of traces, in order."""
    of_traces = iter(counts)
    reports = [
        source_report(role.source, read, next(of_traces) if role.traces else None)
        for role, read in zip(found, reads, strict=True)
    ]
    several = Counter(file for report in reports for file in report.files)
    for i, read in enumerate(reads):
        if shared := [file for file in reports[i].files if several[file] > 1]:
            rows = {file: frozenset(p.row for p in read.problems if p.source == file) for file in shared}
            reports[i] = replace(reports[i], shared_files=rows)
    return reports


def source_report(source: DataSource, read: ReadProblems | None, traces: TraceCounts | None) -> SourceReport:
    """The report of a source whose rows were read as problems, as traces or as both."""
    read, counts = read or ReadProblems(), traces or TraceCounts(source.path)
    bad = {(error.path, error.row): error for error in (*read.bad, *counts.bad)}
    return SourceReport(
        source=source,
        layouts=read.layouts or ({counts.layout: counts.rows} if counts.rows else {}),
        rows=read.rows or counts.rows + counts.left_out.total() + len(counts.bad),
        questions=len(read.problems),
        copies=read.copies,
        left_out=Counter(read.left_out) if read.rows else Counter(counts.left_out),
        traces=counts.traces,
        traces_left_out=Counter(counts.dropped),
        bad=tuple(bad.values()),
        metadata=(read.metadata if read.rows else counts.metadata).as_json(),
        files=frozenset(problem.source for problem in read.problems),
    )


def report_of(reports: Sequence[SourceReport], split: str, problem: Problem) -> int:
    """The index of the report of a problem's source, -1 for a generated problem. `split` is the problem's set."""
    found = (i for i, r in enumerate(reports) if split in r.splits and r.has(problem))
    return next(found, -1)


def without(
    reports: Sequence[SourceReport], split: str, problems: Iterable[Problem], reason: str
) -> list[SourceReport]:
    """The reports after these problems of a set were left out for a reason."""
    found, changed = Counter(report_of(reports, split, problem) for problem in problems), list(reports)
    for i in found.keys() - {-1}:
        left_out = reports[i].left_out + Counter({reason: found[i]})
        changed[i] = replace(reports[i], questions=reports[i].questions - found[i], left_out=left_out)
    return changed


def mixture_of(reports: Sequence[SourceReport], problems: Sequence[Problem]) -> Mixture | None:
    """The mixture of training problems by the weights of their sources, None without weights."""
    if all(report.source.weight is None for report in reports if "rl" in report.source.use):
        return None
    return Mixture([report_of(reports, "train", p) for p in problems], [r.source.weight or 0.0 for r in reports])


def write_sources(reports: Sequence[SourceReport], counts: Path, bad_rows: Path) -> None:
    """Writes the counts of all sources and the list of their bad rows, if there is a source."""
    if reports:
        counts.parent.mkdir(parents=True, exist_ok=True)
        write_json(counts, {"sources": [report.as_json() for report in reports]})
        write_bad_rows((error for report in reports for error in report.bad), bad_rows)


def print_sources(reports: Iterable[SourceReport]) -> None:
    for report in reports:
        console.print(str(report), markup=False, highlight=False, soft_wrap=True)
