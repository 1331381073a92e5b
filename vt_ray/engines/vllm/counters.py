"""vLLM's own counters of one engine: sequences, KV cache, preemptions, prefix cache, sampled tokens.

vLLM's engine step --record(SchedulerStats, IterationStats)--> sums since the engine was opened --counters()--> a dict
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm.v1.metrics.stats import IterationStats, SchedulerStats


@dataclass
class EngineCounters:
    """Takes the place of vLLM's StatLoggerManager, whose Prometheus client would take more time than an engine step of
    a small model.

    The fields are sums over all engine steps, except the last four, which are values of the newest step, and the
    largest share of the KV cache in use since the last `restart_peak`. `queued` counts the sequences that wait before
    the engine. The engine's thread writes the fields, and other threads read them.
    """

    queued: Callable[[], int]
    engine_steps: int = 0
    step_seconds: float = 0.0
    running_sum: int = 0
    waiting_sum: int = 0
    tokens: int = 0
    preemptions: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0
    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    kv_usage_max: float = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Surrounds an engine step."""
        began = time.perf_counter()
        yield
        self.step_seconds += time.perf_counter() - began

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: Any = None,
        engine_idx: int | None = None,
    ) -> None:
        """Called by vLLM after each engine step. `iteration_stats` is None in a step without a new token."""
        if scheduler_stats is not None:
            self.running = scheduler_stats.num_running_reqs
            self.waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs + self.queued()
            self.kv_usage = scheduler_stats.kv_cache_usage
            self.kv_usage_max = max(self.kv_usage_max, self.kv_usage)
            self.engine_steps += 1
            self.running_sum += self.running
            self.waiting_sum += self.waiting
            self.prefix_queries += scheduler_stats.prefix_cache_stats.queries
            self.prefix_hits += scheduler_stats.prefix_cache_stats.hits
        if iteration_stats is not None:
            self.tokens += iteration_stats.num_generation_tokens
            self.preemptions += iteration_stats.num_preempted_reqs

    def log(self) -> None:
        """Called by vLLM every few seconds."""

    def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
        """Called by vLLM when it falls asleep or wakes up."""

    def values(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if name != "queued"}

    def restart_peak(self) -> None:
        self.kv_usage_max = self.kv_usage
