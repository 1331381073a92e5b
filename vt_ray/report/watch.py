"""`vt-tools watch`: a run on the terminal while it works."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vt_ray.report import words
from vt_ray.report.live import Lines, LiveRun, Part, View
from vt_ray.report.summary import score_rows

REFRESH_S = 2.0
NARROWEST_CURVE, WIDEST_CURVE = 8, 60
BARS = "▁▂▃▄▅▆▇█"
STATES = {"running": "green", "finished": "bold green", "stopped": "bold red"}
# key of the metrics, what it is called here, format
SFT_CURVES = (("loss", "SFT loss", ".3f"),)
RL_CURVES = (
    ("reward_mean", "reward (mean p_c)", ".3f"),
    ("loss", "loss", ".4f"),
    ("completion_tokens_mean", "length, tokens", ".1f"),
    ("truncated_share", "truncated", ".1%"),
    ("no_signal_share", "no signal", ".1%"),
    ("rollout_kl", "KL to rollouts", ".1e"),
)
STEP_PARTS = ("generate", "verify", "update", "sync", "rest")


def watch(root: Path, once: bool, console: Console) -> None:
    """Show the run until it has finished; with `once` a single frame. Raises FileNotFoundError for no run."""
    run = LiveRun(root)
    if once:
        console.print(frame(run.view(), console.width))
        return
    with Live(console=console, auto_refresh=False) as live:
        view = run.view()
        while view.state != "finished":
            live.update(frame(view, console.width, console.height), refresh=True)
            time.sleep(REFRESH_S)
            view = run.view()
        live.update(frame(view, console.width), refresh=True)


def frame(view: View, width: int, height: int | None = None) -> RenderableType:
    """Everything at one moment. The oldest milestones give way where `height` lines are too few for all."""
    above: list[RenderableType] = [_head(view), _bars(view.parts, view.phase, width)]
    curves = _curves(view, width)
    above += [Padding(curves, (1, 0, 0, 0))] if curves.row_count else []
    above += [_step_time(view.rl)] if view.rl else []
    if not view.milestones:
        return Group(*above)
    used = len(Console(width=width).render_lines(Group(*above), pad=False)) if height else 0
    shown = len(view.milestones) if height is None else max(height - used - 3, 1)
    return Group(*above, Padding(_milestones(view.milestones, shown), (1, 0, 0, 0)))


def spark(values: Sequence[Any], width: int) -> str:
    """Means over equal parts of `values` as blocks, lowest to highest; a blank where no number is known."""
    parts = min(len(values), width)
    cut = [values[i * len(values) // parts : (i + 1) * len(values) // parts] for i in range(parts)]
    known = [[v for v in part if words.known(v)] for part in cut]
    means = [sum(part) / len(part) if part else None for part in known]
    there = [mean for mean in means if mean is not None]
    low, high = min(there, default=0.0), max(there, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if mean is None else BARS[round((mean - low) * scale)] for mean in means)


def _head(view: View) -> Text:
    identity = view.identity
    started = datetime.strptime(identity["started"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    ago = words.duration((datetime.now(UTC) - started).total_seconds())
    name = (f"{identity['run_name']}  ", "bold")
    text = Text.assemble(name, f"seed {identity['seed']}  lambda {identity['lambda']:g}  begun {ago} ago\n")
    text.append(view.state, STATES[view.state])
    if view.state == "finished":
        return text.append(": the table below is in report.html too")
    text.append(f" in {view.phase}" if view.state == "stopped" else f": {view.phase}")
    if view.left_s is not None:
        text.append(f", steps left for about {words.duration(view.left_s)} at this pace")
    if view.state == "stopped":
        text.append("\nnot running: the same command continues it:\n  ").append(_command(identity["command"]), "bold")
    return text


def _command(argv: Sequence[str]) -> str:
    """As it is typed: `python -m vt_ray.main` where it was no console script."""
    script = Path(argv[0]).name
    return shlex.join([*(("python", "-m", "vt_ray.main") if script == "main.py" else (script,)), *argv[1:]])


def _bars(parts: Sequence[Part], phase: str, width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for part in parts:
        now = part.name == phase or (part.name == "evaluate" and phase.startswith("evaluate"))
        bar = ProgressBar(total=max(part.total, 1), completed=part.done, width=max(min(width // 3, 40), 8))
        took = words.duration(part.seconds) if part.done else ""
        table.add_row(Text(part.name, "bold" if now else ""), bar, f"{part.done}/{part.total}", took)
    return table


def _curves(view: View, width: int) -> Table:
    """Name, curve over all steps so far, newest value."""
    table = Table.grid(padding=(0, 2, 0, 0))
    room = max(min(width - 32, WIDEST_CURVE), NARROWEST_CURVE)
    for lines, curves in ((view.sft, SFT_CURVES), (view.rl, RL_CURVES)):
        for key, name, form in curves if lines else ():
            values = [line.get(key) for line in lines]
            newest = format(values[-1], form) if words.known(values[-1]) else words.UNKNOWN
            table.add_row(name, Text(spark(values, room), "cyan"), newest)
    return table


def _step_time(rl: Lines) -> Text:
    """Of the last step, which is like the next."""
    seconds = rl[-1]["seconds"]
    parts = ", ".join(f"{part} {seconds[part]:.1f}" for part in STEP_PARTS)
    return Text(f"last step {seconds['total']:.1f} s: {parts}", no_wrap=True, overflow="ellipsis")


def _milestones(milestones: Sequence[Mapping[str, Any]], shown: int) -> Table:
    header, *rows = score_rows(milestones)
    table = Table.grid(padding=(0, 3, 0, 0))
    for column in range(len(header)):
        table.add_column(justify="left" if column == 0 else "right", no_wrap=True)
    for index, row in enumerate([header, *rows[-shown:]]):
        table.add_row(*(Text(cell, "dim" if index == 0 else "") for cell in row))
    return table
