"""`vt-tools watch`: shows the state of a run on the terminal."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vt_ray.config import MgpoConfig, weight_label
from vt_ray.report import formats
from vt_ray.report.metrics import METRICS, Lines, Metric, lookup
from vt_ray.report.tables import score_rows
from vt_ray.report.watch.run_view import LiveRun, Part, View
from vt_ray.report.watch.step_panel import BARS, StepPanel

REFRESH_S = 2.0
# Two curves side by side if the terminal is wide enough.
CURVE_COLUMN, WIDEST_CURVE = 40, 60
NARROWEST_CURVE = 8
STATES = {"running": "green", "finished": "bold green", "stopped": "bold red"}


# The most useful first: on a short screen the last ones are left out.
RL_CURVES = (
    "reward_mean",
    "probe_accuracy",
    "evaluation/pass_at_1",
    "no_signal_share",
    "truncated_share",
    "entropy",
    "rollout_kl",
    "clip_share",
    "clip_dual_share",
    "skipped_steps",
    "staleness_mean",
    "importance_capped_share",
    "importance_masked_share",
    "generated_tokens_per_second",
    "updated_tokens_per_second",
    "generation/running",
    "generation/kv_usage_max",
    "generation/preemptions",
    "mfu",
    "memory_gb_max",
    "sync/seconds",
    "completion_tokens_mean",
    "loss",
)


def watch(root: Path, once: bool, console: Console) -> None:
    """Show the run until it has finished, or once. Raises FileNotFoundError and ValueError as `read_run`."""
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
    """The whole screen. If `height` lines are too few, the last curves and the oldest milestones are left out."""
    above: list[RenderableType] = [_head(view), _bars(view.parts, view.phase, width)]
    above += [Padding(StepPanel(view.rl[-1]), (1, 0, 0, 0))] if view.rl else []
    rows = _curves(view, width)
    shown = len(view.milestones)
    if height is not None:
        left = height - len(Console(width=width).render_lines(Group(*above), pad=False))
        # A blank line above the curves; another one and a header above the milestones.
        rows = rows[: max(left - 1 - (3 if shown else 0), 1)]
        shown = min(shown, max(left - (len(rows) + 1 if rows else 0) - 3, 1))
    if rows:
        above.append(Padding(_side_by_side(rows), (1, 0, 0, 0)))
    if shown:
        above.append(Padding(_milestones(view.milestones, shown), (1, 0, 0, 0)))
    return Group(*above)


def spark(values: Sequence[Any], width: int) -> str:
    """A curve of block characters: the means over equal parts of `values`, with a blank for a part without numbers."""
    parts = min(len(values), width)
    cut = [values[i * len(values) // parts : (i + 1) * len(values) // parts] for i in range(parts)]
    known = [[v for v in part if formats.known(v)] for part in cut]
    means = [sum(part) / len(part) if part else None for part in known]
    numbers = [mean for mean in means if mean is not None]
    low, high = min(numbers, default=0.0), max(numbers, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if mean is None else BARS[round((mean - low) * scale)] for mean in means)


def _head(view: View) -> Text:
    identity = view.identity
    started = datetime.strptime(identity["started"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    ago = formats.duration((datetime.now(UTC) - started).total_seconds())
    name = (f"{identity['run_name']}  ", "bold")
    weight = weight_label(identity.get("weight", MgpoConfig.weight), identity["lambda"])
    text = Text.assemble(name, f"seed {identity['seed']}  {weight}  started {ago} ago\n")
    text.append(view.state, STATES[view.state])
    if view.state == "finished":
        return _recovered(view, text.append(": report.html has the table below too"))
    text.append(f" in {view.phase}" if view.state == "stopped" else f": {view.phase}")
    if view.left_s is not None:
        text.append(f", about {formats.duration(view.left_s)} of steps left at this rate")
    if view.state == "stopped":
        text.append("\nnot running; this command continues it:\n  ").append(_command(identity["command"]), "bold")
    return _recovered(view, text)


def _recovered(view: View, text: Text) -> Text:
    """Append the number of replaced actors and the name of the last one."""
    if not view.recoveries:
        return text
    last = view.recoveries[-1]
    when = formats.duration(datetime.now(UTC).timestamp() - last["time"])
    text.append(f"\nrecovered {formats.times(len(view.recoveries))}", "yellow")
    return text.append(f", last {when} ago after the loss of {last['lost']}")


def _command(argv: Sequence[str]) -> str:
    """The command line of the run; `python -m vt_ray.main` if it was not started by the console script."""
    script = Path(argv[0]).name
    return shlex.join([*(("python", "-m", "vt_ray.main") if script == "main.py" else (script,)), *argv[1:]])


def _bars(parts: Sequence[Part], phase: str, width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for part in parts:
        now = part.name == phase or (part.name == "evaluate" and phase.startswith("evaluate"))
        total = part.done if part.ended else part.total
        bar = ProgressBar(total=max(total, 1), completed=part.done, width=max(min(width // 3, 40), 8))
        took = formats.duration(part.seconds) if part.done else ""
        ended = Text(part.ended, "yellow", no_wrap=True, overflow="ellipsis")
        table.add_row(Text(part.name, "bold" if now else ""), bar, f"{part.done}/{part.total}", took, ended)
    return table


def _curves(view: View, width: int) -> list[list[Text]]:
    """Rows of name, curve over all steps and newest value, one or two of them side by side."""
    across = max(1, min(2, width // CURVE_COLUMN))
    room = max(min(width // across - 26, WIDEST_CURVE), NARROWEST_CURVE)
    cells = [_curve(METRICS[key].name, METRICS[key], view.rl, room) for key in RL_CURVES]
    cells.append(_curve("SFT loss", replace(METRICS["loss"], format=".3f"), view.sft, room))
    found = [cell for cell in cells if cell]
    return [sum(found[i : i + across], []) for i in range(0, len(found), across)]


def _curve(name: str, metric: Metric, lines: Lines, room: int) -> list[Text]:
    """Name, curve and newest value of a metric; empty if the run has no figures to show for it."""
    values = [lookup(line, metric.key) for line in lines]
    known = [v for v in values if formats.known(v)]
    if not known or (metric.hide_zero and not any(known)):
        return []
    values = known if metric.sparse else values
    newest = format(values[-1], metric.format) if formats.known(values[-1]) else formats.UNKNOWN
    return [Text(name), Text(spark(values, room), "cyan"), Text(newest)]


def _side_by_side(rows: Sequence[Sequence[Text]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    return table


def _milestones(milestones: Sequence[Mapping[str, Any]], shown: int) -> Table:
    header, *rows = score_rows(milestones)
    table = Table.grid(padding=(0, 3, 0, 0))
    for column in range(len(header)):
        table.add_column(justify="left" if column == 0 else "right", no_wrap=True)
    for index, row in enumerate([header, *rows[-shown:]]):
        table.add_row(*(Text(cell, "dim" if index == 0 else "") for cell in row))
    return table
