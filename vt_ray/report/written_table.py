"""What became of the questions that a model wrote: the output of `vt-tools write-problems`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vt_ray.problem_writer.writer import Written, dropped_path


def print_written(found: Written, output: Path, console: Console) -> None:
    """Prints the counts of problems, of dropped questions by reason, the agreement, tokens and cost."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    levels = Counter(row["level"] for row in found.rows)
    shares = sorted(row["agreement"] for row in found.rows)
    dropped = "\n".join(f"{count:,}: {reason}" for reason, count in found.reasons)
    lines = {
        "questions": f"{found.questions:,} written",
        "problems": f"{len(found.rows):,}" + (f" ({found.end})" if found.end else ""),
        "levels": ", ".join(f"{level}: {levels[level]:,}" for level in sorted(levels)),
        "agreement": f"lowest {shares[0]:.2f}, median {shares[len(shares) // 2]:.2f}, highest {shares[-1]:.2f}",
        "dropped": dropped or "nothing",
        "details": str(dropped_path(output)) if dropped else "",
        "tokens": f"{found.spent.prompt_tokens:,} of prompts, {found.spent.reply_tokens:,} of replies",
        "cost": f"{found.cost:,.4f}" if found.cost else "",
    }
    for name, value in lines.items():
        if value:
            table.add_row(name, value)
    console.print(table, markup=False)
    console.print(f"problems: {output}", markup=False, soft_wrap=True)
