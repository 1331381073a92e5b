"""Progress bars with a rate and an ETA on a terminal, and plain lines in the log of a job."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Protocol

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.text import Text

# A log gets a line per tenth of the work, at least 30 seconds and at most 10 minutes after the previous line.
LINE_SHARE, LINE_MIN_S, LINE_MAX_S = 0.1, 30.0, 600.0
# On narrower terminals name and bar are shorter and the rate is left out, to leave space for the note.
WIDE = 100

console = Console()


class _Pace(ProgressColumn):
    """Rate and remaining time, or the total time at the end."""

    def __init__(self, with_rate: bool):
        self.with_rate = with_rate
        super().__init__()

    def render(self, task: Task) -> Text:
        over = task.finished or task.fields["over"]
        seconds = task.elapsed if over else task.time_remaining
        speed = task.finished_speed or task.speed
        return Text(_pace(speed, seconds, over) if self.with_rate else _clock(seconds, over))


def _pace(speed: float | None, seconds: float | None, finished: bool) -> str:
    return f"{speed:.1f}/s  {_clock(seconds, finished)}" if speed else f"-/s  {_clock(seconds, finished)}"


def _clock(seconds: float | None, finished: bool) -> str:
    clock = f"{int(seconds) // 60}:{int(seconds) % 60:02}" if seconds is not None else "-:--"
    return f"{'took' if finished else 'ETA'} {clock}"


def short_rate(per_second: float | None) -> str:
    """A rate in few characters: `812`, `5.2k`, `1.3M`; a dash for None and NaN."""
    if per_second is None or not isfinite(per_second):
        return "–"
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if per_second >= size:
            return f"{per_second / size:.1f}{unit}"
    return f"{per_second:.0f}"


class Advance(Protocol):
    def __call__(self, note: str, count: int = 1, panel: RenderableType | None = None, /) -> None: ...


@contextmanager
def bar(title: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Yields `advance(note, count, panel)`, which moves the bar by `count` and shows `note` beside it.

    `panel` is shown below the bar until the work ends. If the output is not a terminal, plain lines are printed: the
    first, some in between, and the last. A block that ends early without an error counts as finished.
    """
    if not console.is_terminal:
        lines = _LogLines(title, total, done)
        try:
            yield lines.advance
            lines.over = True
        finally:
            lines.end()
        return
    wide = console.width >= WIDE
    columns = (
        TextColumn(f"[bold]{{task.description:<{18 if wide else 12}}}"),
        BarColumn(bar_width=12 if wide else 8),
        MofNCompleteColumn(),
        _Pace(with_rate=wide),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with _Bar(*columns, console=console) as progress:
        task = progress.add_task(title, total=total, completed=done, note="", over=False)

        def advance(note: str, count: int = 1, panel: RenderableType | None = None, /) -> None:
            progress.panel = panel
            progress.update(task, advance=count, note=note)

        try:
            yield advance
            progress.update(task, over=True)
        finally:
            # The bar stays on the screen, the panel does not.
            progress.panel = None
            progress.stop_task(task)


class _Bar(Progress):
    """One bar with a panel below it."""

    panel: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.panel is not None:
            yield Padding(self.panel, (0, 0, 0, 2))


class _LogLines:
    """Progress as plain lines: `sft 120/600  2.0/s  ETA 4:00  loss 1.234`."""

    def __init__(self, title: str, total: int, done: int):
        self.title, self.total, self.before, self.count = title, total, done, done
        self.note = ""
        self.started = time.monotonic()
        self.shown: tuple[int, float] | None = None
        self.over = False

    def advance(self, note: str, count: int = 1, panel: RenderableType | None = None, /) -> None:
        self.note, self.count = note, self.count + count
        if self.count < self.total and self._due():
            self._print()

    def end(self) -> None:
        """Print the last line, also after an error."""
        if self.shown is None or self.shown[0] != self.count or (self.over and self.count < self.total):
            self._print()

    def _due(self) -> bool:
        if self.shown is None:
            return True
        count, shown_at = self.shown
        waited = time.monotonic() - shown_at
        return waited >= LINE_MAX_S or (waited >= LINE_MIN_S and self.count - count >= LINE_SHARE * self.total)

    def _print(self) -> None:
        now = time.monotonic()
        self.shown = self.count, now
        seconds, done = now - self.started, self.count - self.before
        speed = done / seconds if done and seconds > 0 else None
        finished = self.over or self.count >= self.total
        left = (self.total - self.count) / speed if speed else None
        pace = _pace(speed, seconds if finished else left, finished)
        line = f"{self.title:<18} {self.count}/{self.total}  {pace}  {self.note}".rstrip()
        console.print(line, markup=False, highlight=False, soft_wrap=True)
