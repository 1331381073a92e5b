"""One bar for each long piece of work, with a rate and an ETA."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

console = Console()


class _Pace(ProgressColumn):
    """Steps or problems a second, and what is left; at the end, what it took."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        seconds = task.finished_time if task.finished else task.time_remaining
        rate = f"{speed:.1f}/s" if speed else "-/s"
        time = f"{int(seconds) // 60}:{int(seconds) % 60:02}" if seconds is not None else "-:--"
        return Text(f"{rate}  {'took' if task.finished else 'ETA'} {time}")


Advance = Callable[[str, int], None]


@contextmanager
def bar(title: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Yields `advance(note, count)`: the bar moves by `count` and shows `note` (the figures of the moment).

    Where the output is no terminal, one line says how it ended.
    """
    columns = (
        TextColumn("[bold]{task.description:<18}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        _Pace(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")
        yield lambda note, count=1: progress.update(task, advance=count, note=note)
