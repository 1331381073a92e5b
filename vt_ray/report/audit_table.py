"""The result of an audit on the terminal: a table with a row for each stage, then the contradictions."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from vt_ray.algorithms.ledger import CONSUMED
from vt_ray.run.audit import MOST_SHOWN, StageAudit


def print_audit(stages: Sequence[StageAudit], console: Console) -> bool:
    """Print the table. Returns True if there is no contradiction."""
    table = Table("stage", "steps", "ended by", "completions", "updated", "no signal", "dropped", "faults")
    for stage in stages:
        dropped = {fate: n for fate, n in sorted(stage.fates.items()) if fate not in CONSUMED and n}
        table.add_row(
            stage.name,
            f"{stage.steps:,}" + (f" (+{stage.beyond} not committed)" if stage.beyond else ""),
            stage.ended.split(":")[0] or "not ended",
            f"{stage.completions:,}",
            f"{stage.fates['updated']:,}",
            f"{stage.fates['no_signal']:,}",
            ", ".join(f"{n:,} {fate}" for fate, n in dropped.items()) or "0",
            str(len(stage.faults)),
        )
    console.print(table)
    faults = [f"{stage.name}: {fault}" for stage in stages for fault in stage.faults]
    for fault in faults[:MOST_SHOWN]:
        console.print(fault, style="red", markup=False)
    if len(faults) > MOST_SHOWN:
        console.print(f"... and {len(faults) - MOST_SHOWN} more", style="red")
    if not faults:
        console.print("clean: each completion was consumed by exactly one update, or dropped with a reason")
    return not faults
