"""The counts of a source of problems or traces on the terminal: the output of `vt-tools data`."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from vt_ray.data.contents import Contents, quantiles

# An example's text is shortened to so many characters. The file of --json has it whole.
_SHOWN_CHARACTERS = 300
# Counts of at most so many different values are shown.
_SHOWN_VALUES = 12


def print_contents(found: Contents, console: Console, unit: str) -> None:
    """Prints the counts and the examples of a source. `unit` is that of the lengths: characters or tokens."""
    table = Table(title=found.path, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    copies = f", {found.copies:,} rows repeat one of them" if found.copies else ""
    conflicts = f", {found.conflicts:,} of these with another answer" if found.conflicts else ""
    layouts = [*found.layouts, *(f"{name} (traces)" for name in found.trace_layouts)]
    lines = {
        "layout": ", ".join(layouts) or "unknown",
        "rows": f"{found.rows:,}",
        "questions": f"{found.questions:,} distinct{copies}{conflicts}",
        "kinds": _counts(found.kinds),
        "subdomains": _counts(found.subdomains),
        "levels": _counts(dict(sorted(found.levels.items()))),
        "traces": f"{found.traces:,}" if found.traces else "",
        f"question {unit}": _lengths(found.question_lengths),
        f"trace {unit}": _lengths(found.trace_lengths),
        "gold answers": f"{found.golds_checked:,} checked" if found.golds_checked else "",
        "dropped": "\n".join(f"{count:,}: {reason}" for reason, count in found.dropped.most_common()) or "nothing",
    }
    for name, value in lines.items():
        if value:
            table.add_row(name, value)
    for number, example in enumerate(found.examples, start=1):
        table.add_row(f"example {number}", _example(example))
    console.print(table, markup=False)


def _counts(counts: Mapping[Any, int]) -> str:
    shown = ", ".join(f"{name}: {count:,}" for name, count in list(counts.items())[:_SHOWN_VALUES])
    return shown + (f" and {len(counts) - _SHOWN_VALUES} more" if len(counts) > _SHOWN_VALUES else "")


def _lengths(lengths: array[int]) -> str:
    found = quantiles(lengths)
    return f"median {found['median']:,}, 95% {found['p95']:,}, longest {found['max']:,}" if found else ""


def _example(example: Mapping[str, Any]) -> str:
    parts = {
        example["kind"]: example["question"],
        "options": " | ".join(example["options"]),
        "gold": example["gold"] or "",
        "tests": ", ".join(f"{name} {value}" for name, value in (example["tests"] or {}).items()),
    }
    parts |= {f"trace {number}": text for number, text in enumerate(example["traces"], start=1)}
    return "\n".join(f"{name}: {_short(text)}" for name, text in parts.items() if text)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN_CHARACTERS else f"{flat[:_SHOWN_CHARACTERS]} ..."
