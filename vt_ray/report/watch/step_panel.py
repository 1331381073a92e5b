"""The figures of one RL step on the terminal: below the bar of a stage, and in `vt-tools watch`.

    step 8.4 s  ━━━━━━━━━━━━  generate 6.2  verify 0.4  update 1.2  sync 0.4  rest 0.2
    p_c ▅▂▁▃▇    no signal 23.4%    truncated 12.5%    entropy 0.512    ...

Figures that the line lacks are left out: lines of older runs have fewer figures.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from vt_ray.report import formats
from vt_ray.report.metrics import METRICS, STEP_PARTS, Line, as_text, lookup

BARS = "▁▂▃▄▅▆▇█"
PARTS = tuple(zip(STEP_PARTS, ("blue", "cyan", "yellow", "magenta", "bright_black"), strict=True))
FIGURES = (
    "no_signal_share",
    "truncated_share",
    "entropy",
    "clip_share",
    "importance_capped_share",
    "importance_masked_share",
    "skipped_steps",
    "rollout_kl",
    "reference_kl",
    "replaced_groups",
    "probe_accuracy",
    "evaluation/pass_at_1",
    "generation/preemptions",
    "sync/seconds",
)
# Shown only in a step where they are not zero.
COUNTS = ("skipped_steps", "replaced_groups", "generation/preemptions")
# The histogram of p_c is reduced to at most this number of blocks between its two ends.
MOST_INNER_BLOCKS = 12
CELL = 19
NARROWEST_SPLIT, WIDEST_SPLIT = 5, 60


class StepPanel:
    """Renders a step's line of the metrics in the available width."""

    def __init__(self, line: Line):
        self.line = line

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Group(time_split(self.line, options.max_width), _cells(figures(self.line), options.max_width))


def figures(line: Line) -> list[tuple[str, str]]:
    """(name, value) of the step's figures, the most useful first. A figure that the line lacks is left out."""
    histogram = line.get("p_c_histogram") or []
    found = [(METRICS[key].name, as_text(line, key)) for key in FIGURES if key not in COUNTS or lookup(line, key)]
    found = [("p_c", histogram_blocks(histogram) if histogram else None), *found, ("stale", _staleness(line))]
    return [(name, text) for name, text in found if text]


def histogram_blocks(counts: Sequence[int]) -> str:
    """The histogram of p_c from 0 to 1 as block characters, scaled to the highest bin; a dot for an empty bin.

    If bins must be joined, the two ends are kept apart: in these groups all answers are wrong, or all are correct.
    """
    inner = counts[1:-1]
    bins = max(-(-len(inner) // MOST_INNER_BLOCKS), 1)
    shown = [counts[0], *(sum(inner[i : i + bins]) for i in range(0, len(inner), bins)), *counts[1:][-1:]]
    highest = max(shown)
    return "".join(BARS[-(-count * len(BARS) // highest) - 1] if count else "·" for count in shown)


def time_split(line: Line, width: int) -> Text:
    """The seconds of the step as a bar of coloured parts, followed by the numbers."""
    seconds = line.get("seconds") or {}
    if not formats.known(seconds.get("total")):
        return Text("no times recorded for this step")
    digits = 2 if seconds["total"] < 2 else 1 if seconds["total"] < 100 else 0
    text = Text(f"step {seconds['total']:.{digits}f} s  ", no_wrap=True, overflow="ellipsis")
    parts = [(name, colour, seconds[name]) for name, colour in PARTS if formats.known(seconds.get(name))]
    parts = [part for part in parts if part[2] > 0]
    labels = [(f"{name} ", f"{spent:.{digits}f}", colour) for name, colour, spent in parts]
    if not seconds.get("verify"):
        # Pipelined: other actors generate and verify ahead, and the step only waits for them.
        labels = [("waiting " if name == "generate " else name, value, colour) for name, value, colour in labels]
    room = width - text.cell_len - sum(len(name) + len(value) + 2 for name, value, _ in labels)
    if room >= NARROWEST_SPLIT:
        text.append_text(_split(parts, min(room, WIDEST_SPLIT)))
    for i, (name, value, colour) in enumerate(labels):
        text.append("  " if i or room >= NARROWEST_SPLIT else "")
        text.append(name, colour).append(value)
    return text


def _split(parts: Sequence[tuple[str, str, float]], width: int) -> Text:
    """The bar: `width` characters divided among the parts. Cumulative rounding makes them fill the bar exactly."""
    total = sum(spent for _, _, spent in parts)
    text, before, drawn = Text(), 0.0, 0
    for _, colour, spent in parts:
        before += spent
        end = round(width * before / total)
        text.append("━" * (end - drawn), colour)
        drawn = end
    return text


def _cells(found: Sequence[tuple[str, str]], width: int) -> Table:
    """The figures in as many columns as fit the width, filled row by row."""
    across = max(1, width // CELL)
    table = Table.grid(padding=0)
    for _ in range(across):
        table.add_column(width=CELL, no_wrap=True)
    cells = [Text.assemble((f"{name} ", "dim"), value) for name, value in found]
    for start in range(0, len(cells), across):
        table.add_row(*cells[start : start + across])
    return table


def _staleness(line: Line) -> str | None:
    """Mean and maximum staleness; None if all completions used the newest weights, as in on-policy training."""
    if not line.get("staleness_max"):
        return None
    return f"{line['staleness_mean']:.1f} max {line['staleness_max']}"
