"""One bar for each long piece of work, with a rate and an ETA; plain lines where the output is no terminal."""

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

# A job's log gets a line each tenth of the work, at least half a minute and at most ten minutes after the one before.
LINE_SHARE, LINE_MIN_S, LINE_MAX_S = 0.1, 30.0, 600.0
# Narrower terminals have a shorter name and bar and no rate, so that the note has room.
WIDE = 100

console = Console()


class _Pace(ProgressColumn):
    """Steps or problems a second, and what is left; at the end, what it took."""

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
    """Yields `advance(note, count, panel)`: the bar moves by `count` and shows `note` (the figures of the moment).

    `panel` stands below the bar of a terminal while the work lasts. Where the output is no terminal (a job's log),
    plain lines: the first, some on the way, the last. A block that ends before `total` without an error has done what
    there was to do.
    """
    if not console.is_terminal:
        lines = _Lines(title, total, done)
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
            # What is over leaves its line on the screen, not its last step.
            progress.panel = None
            progress.stop_task(task)


class _Bar(Progress):
    """One bar with a panel below it."""

    panel: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.panel is not None:
            yield Padding(self.panel, (0, 0, 0, 2))


class _Lines:
    """The bar of a log: `sft 120/600  2.0/s  ETA 4:00  loss 1.234`."""

    def __init__(self, title: str, total: int, done: int):
        self.title, self.total, self.before, self.count = title, total, done, done
        self.note = ""
        self.began = time.monotonic()
        self.shown: tuple[int, float] | None = None
        self.over = False

    def advance(self, note: str, count: int = 1, panel: RenderableType | None = None, /) -> None:
        self.note, self.count = note, self.count + count
        if self.count < self.total and self._due():
            self._print()

    def end(self) -> None:
        """However the work ended."""
        if self.shown is None or self.shown[0] != self.count or (self.over and self.count < self.total):
            self._print()

    def _due(self) -> bool:
        if self.shown is None:
            return True
        count, at = self.shown
        waited = time.monotonic() - at
        return waited >= LINE_MAX_S or (waited >= LINE_MIN_S and self.count - count >= LINE_SHARE * self.total)

    def _print(self) -> None:
        now = time.monotonic()
        self.shown = self.count, now
        seconds, worked = now - self.began, self.count - self.before
        speed = worked / seconds if worked and seconds > 0 else None
        finished = self.over or self.count >= self.total
        left = (self.total - self.count) / speed if speed else None
        pace = _pace(speed, seconds if finished else left, finished)
        line = f"{self.title:<18} {self.count}/{self.total}  {pace}  {self.note}".rstrip()
        console.print(line, markup=False, highlight=False, soft_wrap=True)
