"""Figures for Ray's dashboard and for Prometheus, through ray.util.metrics (docs/monitoring.md).

generator: its engine's counters, every EXPORT_S seconds --\\
driver: the numbers of the newest step's line, repeated ---+--> Ray's agent of the node: text at its metrics port

Ray adds the prefix `ray_` to each name. The labels `run` and `actor` name the run and the process.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

from vt_ray.engines.generation import CountingEngine

EXPORT_S = 5.0
TAGS = ("run", "actor")
# The engine's counters (`engines.vllm.counters`) that are exported: what each one is. Sums become Prometheus counters.
ENGINE_GAUGES = {
    "running": "Sequences that the engine decodes",
    "waiting": "Sequences that wait in the engine's queue or before it",
    "kv_usage": "Share of the KV cache in use",
    "memory_gb_max": "Peak of tensors on the generator's GPU, 1e9 bytes",
}
ENGINE_SUMS = {
    "tokens": "Sampled tokens",
    "engine_steps": "Engine steps",
    "step_seconds": "Seconds of engine steps",
    "preemptions": "Sequences that lost their KV cache and are computed again",
    "prefix_queries": "Prompt tokens that were looked up in the prefix cache",
    "prefix_hits": "Prompt tokens that were found in the prefix cache",
}
# The parts of a step's line whose numbers are exported besides its own.
PARTS = ("seconds", "sync", "generation", "evaluation")


class Exporter:
    """The exported figures of one process, under the labels `run` and `actor`."""

    def __init__(self, run: str, actor: str):
        self._tags = {"run": run, "actor": actor}
        self._gauges: dict[str, Gauge] = {}
        # Each counter with its value so far.
        self._counters: dict[str, tuple[Counter, float]] = {}

    def gauge(self, name: str, value: Any, what: str, actor: str = "") -> None:
        """Sets a gauge. A value that is no finite number is ignored. `actor` replaces the label."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return
        if name not in self._gauges:
            self._gauges[name] = Gauge(name, what, tag_keys=TAGS)
        self._gauges[name].set(value, tags={**self._tags, **({"actor": actor} if actor else {})})

    def total(self, name: str, value: float, what: str) -> None:
        """Raises a counter to `value`."""
        counter, before = self._counters.get(name) or (Counter(name, what, tag_keys=TAGS), 0)
        if value > before:
            counter.inc(value - before, tags=self._tags)
        self._counters[name] = counter, max(value, before)

    def engine(self, counters: Mapping[str, Any]) -> None:
        """Exports the counters of an engine."""
        for name, what in ENGINE_GAUGES.items():
            self.gauge(f"vt_ray_engine_{name}", counters.get(name), what)
        for name, what in ENGINE_SUMS.items():
            self.total(f"vt_ray_engine_{name}_total", counters[name], what)

    def line(self, line: Mapping[str, Any]) -> None:
        """Exports the numbers of a step's line, and the busy share of each actor under the actor's own label."""
        for name, value in line_numbers(line).items():
            self.gauge(name, value, f"A figure of the newest {str(line.get('phase', 'rl')).upper()} step")
        for actor, share in line.get("busy", {}).items():
            self.gauge("vt_ray_busy_share", share, "Share of the newest RL step that the actor worked", actor)


class LineExporter:
    """Exports the driver's newest line every EXPORT_S seconds, in a thread.

    Ray drops a gauge that was not set for 20 seconds, and a step may take longer.
    """

    def __init__(self, run: str):
        self._exporter = Exporter(run, "driver")
        self._newest: Mapping[str, Any] = {}
        self._news, self._closed = threading.Event(), False
        self._thread: threading.Thread | None = None

    def publish(self, line: Mapping[str, Any]) -> None:
        self._newest = line
        self._news.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="export", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Must be called before Ray is shut down."""
        self._closed = True
        self._news.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            self._exporter.line(self._newest)
            self._news.wait(EXPORT_S)
            self._news.clear()


def line_numbers(line: Mapping[str, Any]) -> dict[str, Any]:
    """{exported name: value} of a step's line, RL or SFT. A part's numbers have the part's name before theirs."""
    values = dict(line)
    for part in PARTS:
        if isinstance(values.get(part), Mapping):
            values |= {f"{part}_{name}": value for name, value in values.pop(part).items()}
    prefix = "vt_ray_sft" if line.get("phase") == "sft" else "vt_ray_step"
    return {f"{prefix}_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}": value for name, value in values.items()}


def export_engine(run: str, actor: str, engine: object) -> None:
    """Exports the counters of this process's engine from now on, in a thread. An engine without counters has none."""
    if not isinstance(engine, CountingEngine):
        return
    exporter = Exporter(run, actor)

    def export() -> None:
        while True:
            exporter.engine(engine.counters())
            time.sleep(EXPORT_S)

    threading.Thread(target=export, name="export", daemon=True).start()
