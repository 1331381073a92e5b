"""Counts of verdicts by kind, their reasons and the throughput, as a table for a terminal."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from vt_ray.verify.files.grading import Graded

STATUSES = ("correct", "wrong", "unverified")
_KNOWN_REASONS = 200  # some reasons quote the row, so the number of counters is bounded
_SHOWN_REASONS = 12
_REASON_CHARS = 80


@dataclass
class VerdictCounts:
    """Counts of rows. `backend` says how programs were confined ("" without programs), `backend_notes` why."""

    backend: str = ""
    backend_notes: tuple[str, ...] = ()
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    retried: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, graded: Graded) -> None:
        """Count one row."""
        verdict = graded.result.verdict
        self.verdicts[graded.kind or "unreadable", verdict.status] += 1
        self.retried += graded.retried
        if verdict.reason:
            reason = verdict.status, ascii(verdict.reason)[1:-1][:_REASON_CHARS]
            known = reason in self.reasons or len(self.reasons) < _KNOWN_REASONS
            self.reasons[reason if known else (verdict.status, "other reasons")] += 1

    @property
    def rows(self) -> int:
        """The number of counted rows."""
        return self.verdicts.total()

    @property
    def note(self) -> str:
        """One line for the progress bar."""
        return "  ".join(f"{self._count(status)} {status}" for status in STATUSES)

    def print(self, console: Console) -> None:
        """Print the tables, the throughput and the sandbox."""
        rows, seconds = self.rows, time.monotonic() - self.began
        console.print(self._verdict_table())
        if self.reasons:
            console.print(self._reason_table())
        pace = f"{rows} rows in {seconds:.1f} s, {rows / max(seconds, 1e-9):.1f} rows/s"
        retries = f"; {self.retried} graded again after a lost process" if self.retried else ""
        console.print(pace + retries, soft_wrap=True)
        if self.backend:
            notes = "".join(f"\n  {note}" for note in self.backend_notes)
            console.print(f"sandbox: {self.backend}{notes}", markup=False, soft_wrap=True)

    def _count(self, status: str, kind: str | None = None) -> int:
        return sum(n for (k, s), n in self.verdicts.items() if s == status and kind in (None, k))

    def _verdict_table(self) -> Table:
        table = Table("kind", "rows", *STATUSES)
        for column in table.columns[1:]:
            column.justify = "right"
        kinds = sorted({kind for kind, _ in self.verdicts})
        for kind in [*kinds, None] if len(kinds) != 1 else kinds:
            counts = [self._count(status, kind) for status in STATUSES]
            table.add_row(kind or "all", *map(str, (sum(counts), *counts)))
        return table

    def _reason_table(self) -> Table:
        table = Table("verdict", "reason", "rows")
        for (status, reason), count in self.reasons.most_common(_SHOWN_REASONS):
            table.add_row(status, reason.replace("[", r"\["), str(count))
        if len(self.reasons) > _SHOWN_REASONS:
            rest = self.reasons.total() - sum(n for _, n in self.reasons.most_common(_SHOWN_REASONS))
            table.add_row("", f"{len(self.reasons) - _SHOWN_REASONS} more reasons", str(rest))
        return table
