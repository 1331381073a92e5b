"""The section of the machines: the engines' own counters, the learner's use of its hardware, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from vt_ray.report import formats
from vt_ray.report.html import Section, Table
from vt_ray.report.metrics import METRICS
from vt_ray.report.run_page import curves
from vt_ray.report.run_record import RunRecord
from vt_ray.report.tables import Rows

# The charts, in the order of the page.
MACHINE_CURVES = tuple(
    METRICS[key]
    for key in (
        "generation/running",
        "generation/waiting",
        "generation/decode_tokens_per_second",
        "generation/kv_usage_max",
        "generation/prefix_hit_share",
        "generation/preemptions",
        "generation/memory_gb_max",
        "padding_share",
        "mfu",
        "memory_gb_max",
    )
)


def machines_section(record: RunRecord) -> Section:
    title = "Engines and memory"
    if not record.rl:
        return Section("machines", title, ["No RL step has recorded the counters of the engines."])
    text = [
        "The counters of the generators are the engine's own, over all generators: sequences are means over the engine "
        "steps, the KV cache and the memory are the largest of one generator. A preempted sequence has lost its KV "
        "cache and is computed again: lower cluster.max_num_seqs or give the cache more memory."
    ]
    rows = generator_rows(record.rl)
    if len(rows) == 1:
        text = ["This run has not recorded the counters of the engines."]
    drawn = [curves.rl_curve(record.rl, curve) for curve in MACHINE_CURVES]
    tables = [Table("Generators: means over the steps, preemptions in all", rows, folded=len(rows) > 9)]
    figures = [figure for figure in drawn if figure is not None]
    return Section("machines", title, text, figures, columns=True, tables=tables if len(rows) > 1 else [])


def generator_rows(lines: Sequence[Mapping[str, Any]]) -> Rows:
    """A row for each generator of the steps' lines, below a header."""
    steps: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        for name, figures in (line.get("generators") or {}).items():
            steps.setdefault(str(name), []).append(figures)
    header = ["generator", "running", "waiting", "KV cache, most", "preemptions", "prefix hits", "tokens/s", "GPU, GB"]
    rows = []
    for name, figures in steps.items():
        values: dict[str, list[Any]] = {
            key: [v for f in figures if formats.known(v := f.get(key))] for key in figures[0]
        }
        mean = {key: fmean(known) for key, known in values.items() if known}
        rows.append(
            [
                name,
                *(f"{mean[key]:.1f}" if key in mean else formats.UNKNOWN for key in ("running", "waiting")),
                formats.percent(max(values.get("kv_usage_max") or [], default=None)),
                formats.thousands(sum(values.get("preemptions") or [])),
                formats.percent(mean.get("prefix_hit_share")),
                formats.thousands(mean.get("decode_tokens_per_second")),
                f"{max(memory):.1f}" if (memory := values.get("memory_gb_max")) else formats.UNKNOWN,
            ]
        )
    return [header, *rows]
