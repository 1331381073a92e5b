"""The tables of a run's summary, as rows of text and on the terminal: scores by milestone, costs by phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vt_ray.report import benchmark_table as bench
from vt_ray.report import formats
from vt_ray.report import milestones as ms
from vt_ray.report.probe_tables import racing_sentence, specialist_rows
from vt_ray.run import stage_ends

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Rows = list[list[str]]
WIDEST = 10_000


def print_table(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print milestones and phases of summary.json.

    If the columns of the subdomains do not fit the terminal, they are printed as a second table.
    """
    from rich.console import Console

    console = console or Console()
    reached = ms.reached(summary)
    scores, subdomains = score_rows(reached), subdomain_rows(reached)
    together = _table("Milestones", [a + b[1:] for a, b in zip(scores, subdomains, strict=True)])
    if not reached:
        console.print("No milestone has been evaluated yet.")
    elif _fits(console, together):
        console.print(together)
    else:
        console.print(_table("Milestones", scores))
        # The scores of a run with benchmarks alone are those of the benchmarks.
        if {*subdomains[0][1:]} - {*bench.names(reached)}:
            _print_wide("Pass@1 by subdomain", subdomains, console)
    print_benchmarks(reached, console)
    print_specialists(summary, console)
    if gain := ms.gain_sentence(summary):
        console.print(gain, markup=False, highlight=False)
    for sentence in stage_ends.sentences(summary):
        console.print(sentence, markup=False, highlight=False)
    if summary.get("phases"):
        costs = phase_rows(summary)
        table = _table("Cost by phase", costs)
        # Without the last column, the rate, which the report has.
        console.print(table if _fits(console, table) else _table("Cost by phase", [row[:-1] for row in costs]))


def print_specialists(summary: Mapping[str, Any], console: Console) -> None:
    """Print the specialists of each probing phase, and what racing saved."""
    for probe in (summary.get("probes") or {}).values():
        rows = specialist_rows(probe["specialists"], probe["k"])
        console.print(_table(f"Specialists by {probe['criterion']}, on the probing problems", rows))
        if saved := racing_sentence(probe["racing"]):
            console.print(saved, markup=False, highlight=False)


def print_benchmarks(reached: Sequence[ms.Milestone], console: Console) -> None:
    """Print the tables of the benchmarks and the notes below them."""
    if not bench.names(reached):
        return
    _print_wide("Benchmarks", bench.rows(reached), console)
    if moved := bench.moved_sentence(reached):
        console.print(moved, markup=False, highlight=False, soft_wrap=True)
    details = bench.detail_rows(reached)
    console.print(_table("Other figures", details if len(reached) > 1 else [row[1:] for row in details]))
    if len(votes := bench.vote_rows(reached)) > 1:
        console.print(_table(bench.VOTES, votes if len(reached) > 1 else [row[1:] for row in votes]))
    for title, changes in bench.perturbation_tables(reached):
        console.print(_table(title, changes))
    for note in bench.notes(reached):
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def score_rows(reached: Sequence[ms.Milestone]) -> Rows:
    """A header and a row for each milestone: name, Pass@1, Pass@K, paired change from the previous milestone."""
    k = ms.largest_k(reached)
    wide = [] if k == 1 else [k]
    header = ["milestone", *(f"Pass@{j}, %" for j in [1, *wide]), "change, points"]
    return [
        header,
        *(
            [m["name"], *(formats.interval(ms.score(m, j)).replace("%", "") for j in [1, *wide]), _change(m)]
            for m in reached
        ),
    ]


def subdomain_rows(reached: Sequence[ms.Milestone]) -> Rows:
    """A header and a row for each milestone: name, and Pass@1 of each subdomain in percent."""
    names = ms.subdomains(reached)
    return [
        ["milestone", *names],
        *([m["name"], *(_percent(ms.subdomain_score(m, name, 1)) for name in names)] for m in reached),
    ]


def phase_rows(summary: Mapping[str, Any]) -> Rows:
    """A header, a row for each phase, their total, and the wall time of the whole run if it is known.

    There are columns for CPU-hours and GPU-hours if the summary has the hardware, and for money if it has a price.
    """
    phases = {name: (p.get("seconds") or 0.0, p.get("tokens")) for name, p in (summary.get("phases") or {}).items()}
    phases["total"] = (sum(s for s, _ in phases.values()), sum(t or 0 for _, t in phases.values()))
    if summary.get("wall_seconds"):
        phases["whole run"] = (summary["wall_seconds"], None)
    rates = _hourly(summary)
    rows = [["phase", "wall time", *(name for name, _, _ in rates), "tokens", "tokens/s"]]
    for name, (seconds, tokens) in phases.items():
        held = [shown(rate * seconds / 3600) for _, rate, shown in rates]
        counted = formats.tokens(tokens) if tokens else formats.UNKNOWN
        rows.append([name, formats.duration(seconds), *held, counted, formats.rate(tokens, seconds)])
    return rows


def _hourly(summary: Mapping[str, Any]) -> list[tuple[str, float, Callable[[float], str]]]:
    """[(name, amount per hour of wall time, format)] of CPU-hours, GPU-hours and money."""
    hardware, prices = summary.get("hardware"), summary.get("prices") or {}
    if not hardware:
        return []
    cores, gpus = hardware["cpu_cores"], hardware["gpus"]
    rates: list[tuple[str, float, Callable[[float], str]]]
    rates = [("CPU-h", cores, formats.hours), ("GPU-h", gpus, formats.hours)]
    if price := cores * prices.get("cpu_hour", 0) + gpus * prices.get("gpu_hour", 0):
        rates.append((prices["currency"], price, formats.money))
    return rates


def _change(milestone: ms.Milestone) -> str:
    return formats.points(milestone.get("difference"))


def _percent(score: Mapping[str, float] | None) -> str:
    return f"{100 * score['mean']:.1f}" if score else formats.UNKNOWN


def _table(title: str, rows: Rows) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for index, name in enumerate(rows[0]):
        # Names come from the config. As Text, square brackets in them are not interpreted as markup.
        table.add_column(Text(name), justify="left" if index == 0 else "right", no_wrap=index > 0)
    for row in rows[1:]:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _print_wide(title: str, rows: Rows, console: Console) -> None:
    """Print a table, with rows and columns exchanged if only this fits the terminal, else in parts of its columns."""
    turned = _turned(rows)
    if not _fits(console, _table(title, rows)) and _fits(console, _table(title, turned)):
        rows, turned = turned, rows
    first, *columns = turned
    part: Rows = []
    for column in columns:
        if part and not _fits(console, _table(title, _turned([first, *part, column]))):
            console.print(_table(title, _turned([first, *part])))
            part = []
        part.append(column)
    console.print(_table(title, _turned([first, *part])))


def _turned(rows: Rows) -> Rows:
    return [list(column) for column in zip(*rows, strict=True)]


def _fits(console: Console, table: Table) -> bool:
    from rich.measure import Measurement

    unbounded = console.options.update(max_width=WIDEST)
    return Measurement.get(console, unbounded, table).maximum <= console.width


def print_rows(title: str, rows: Rows) -> None:
    """Print one table; `rows[0]` is its header."""
    from rich.console import Console

    Console().print(_table(title, rows))
