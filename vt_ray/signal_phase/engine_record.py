"""The parts `generation` and `generators` of a step's line: the engines' own counters during the step."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vt_ray.run.step_line import EngineFigures

# The counters of one engine (`engines.vllm.counters`): sums since it was opened, and its peaks.
Counters = Mapping[str, Any]
SUMS = (
    *("engine_steps", "step_seconds", "running_sum", "waiting_sum", "tokens", "preemptions"),
    *("prefix_queries", "prefix_hits"),
)


def engine_record(before: Mapping[str, Counters], after: Mapping[str, Counters]) -> dict[str, Any]:
    """{"generation", "generators"} for the metrics line, from two readings of each generator's counters.

    Empty if no engine has counters. A generator that was lost since the first reading counts from its replacement on.
    """
    spans = {name: _span(before.get(name, {}), counters) for name, counters in after.items() if counters}
    if not spans:
        return {}
    generators = {name: _figures(span) for name, span in spans.items()}
    return {"generation": _over_all(list(spans.values()), list(generators.values())), "generators": generators}


def _span(before: Counters, after: Counters) -> Counters:
    """The sums between the two readings, and the peaks. The sums of a replaced generator start from 0 again."""
    if any(after[name] < before.get(name, 0) for name in SUMS):
        before = {}
    return {**after, **{name: after[name] - before.get(name, 0) for name in SUMS}}


def _figures(span: Counters) -> EngineFigures:
    steps = max(span["engine_steps"], 1)
    return {
        "engine_steps": span["engine_steps"],
        "running": span["running_sum"] / steps,
        "waiting": span["waiting_sum"] / steps,
        "kv_usage_max": span["kv_usage_max"],
        "preemptions": span["preemptions"],
        "prefix_hit_share": _share(span["prefix_hits"], span["prefix_queries"]),
        "decode_tokens_per_second": _share(span["tokens"], span["step_seconds"]),
        "memory_gb_max": span["memory_gb_max"],
    }


def _over_all(spans: Collection[Counters], figures: Collection[EngineFigures]) -> EngineFigures:
    """All generators: sums of their figures, and the largest KV usage and memory of one of them."""
    speeds = [f["decode_tokens_per_second"] for f in figures if f["decode_tokens_per_second"] is not None]
    memories = [f["memory_gb_max"] for f in figures if f["memory_gb_max"] is not None]
    return {
        "engine_steps": sum(f["engine_steps"] for f in figures),
        "running": sum(f["running"] for f in figures),
        "waiting": sum(f["waiting"] for f in figures),
        "kv_usage_max": max(f["kv_usage_max"] for f in figures),
        "preemptions": sum(f["preemptions"] for f in figures),
        "prefix_hit_share": _share(sum(s["prefix_hits"] for s in spans), sum(s["prefix_queries"] for s in spans)),
        "decode_tokens_per_second": sum(speeds) if speeds else None,
        "memory_gb_max": max(memories, default=None),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
