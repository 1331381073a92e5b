"""One bar for each long piece of work, with a rate and an ETA; plain lines where the output is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
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

console = Console()


class _Pace(ProgressColumn):
    """Steps or problems a second, and what is left; at the end, what it took."""

    def render(self, task: Task) -> Text:
        seconds = task.finished_time if task.finished else task.time_remaining
        return Text(_pace(task.finished_speed or task.speed, seconds, task.finished))


def _pace(speed: float | None, seconds: float | None, finished: bool) -> str:
    rate = f"{speed:.1f}/s" if speed else "-/s"
    clock = f"{int(seconds) // 60}:{int(seconds) % 60:02}" if seconds is not None else "-:--"
    return f"{rate}  {'took' if finished else 'ETA'} {clock}"


class Advance(Protocol):
    def __call__(self, note: str, count: int = 1, /) -> None: ...


@contextmanager
def bar(title: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Yields `advance(note, count)`: the bar moves by `count` and shows `note` (the figures of the moment).

    Where the output is no terminal (a job's log), plain lines: the first, some on the way, the last.
    """
    if not console.is_terminal:
        lines = _Lines(title, total, done)
        try:
            yield lines.advance
        finally:
            lines.end()
        return
    columns = (
        TextColumn("[bold]{task.description:<18}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        _Pace(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")

        def advance(note: str, count: int = 1, /) -> None:
            progress.update(task, advance=count, note=note)

        yield advance


class _Lines:
    """The bar of a log: `sft 120/600  2.0/s  ETA 4:00  loss 1.234`."""

    def __init__(self, title: str, total: int, done: int):
        self.title, self.total, self.before, self.count = title, total, done, done
        self.note = ""
        self.began = time.monotonic()
        self.shown: tuple[int, float] | None = None

    def advance(self, note: str, count: int = 1, /) -> None:
        self.note, self.count = note, self.count + count
        if self.count < self.total and self._due():
            self._print()

    def end(self) -> None:
        """However the work ended."""
        if self.shown is None or self.shown[0] != self.count:
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
        finished = self.count >= self.total
        left = (self.total - self.count) / speed if speed else None
        pace = _pace(speed, seconds if finished else left, finished)
        line = f"{self.title:<18} {self.count}/{self.total}  {pace}  {self.note}".rstrip()
        console.print(line, markup=False, highlight=False, soft_wrap=True)
