"""vLLM's own counters of one engine: sequences, KV cache, preemptions, prefix cache, sampled tokens.

vLLM's engine core --EngineCoreOutputs, with SchedulerStats--> sums since the engine was opened --values()--> a dict
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm.v1.engine import EngineCoreOutputs


@dataclass
class EngineCounters:
    """Sums over all engine steps; `running`, `waiting` and `kv_usage` are values of the newest step, and `kv_usage_max`
    is the largest share of the KV cache in use since the last `restart_peak`.

    `queued` counts the sequences that wait before the engine. The engine's thread writes the fields, and other threads
    read them.
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

    def attach(self, engine: Any) -> None:
        """Counts each output of the core of a vLLM LLMEngine that was opened with `disable_log_stats=False`.

        The engine's own statistics and its Prometheus client are switched off: they take 2 microseconds a token, which
        is 2% of a step of the demo's model.
        """
        engine.log_stats, engine.logger_manager = False, None
        core, get_output = engine.engine_core, engine.engine_core.get_output

        def counted() -> EngineCoreOutputs:
            outputs: EngineCoreOutputs = get_output()
            self.record(outputs)
            return outputs

        core.get_output = counted

    def record(self, outputs: EngineCoreOutputs) -> None:
        ended = 0
        for output in outputs.outputs:
            ended += output.finish_reason is not None
            self.tokens += len(output.new_token_ids)
            if output.events:
                self.preemptions += sum(event.type.name == "PREEMPTED" for event in output.events)
        if (stats := outputs.scheduler_stats) is not None:
            self.engine_steps += 1
            self.running = stats.num_running_reqs
            self.waiting = stats.num_waiting_reqs + stats.num_skipped_waiting_reqs + self.queued()
            self.kv_usage = stats.kv_cache_usage
            self.kv_usage_max = max(self.kv_usage_max, self.kv_usage)
            # vLLM counts after the step, without the sequences that ended in it.
            self.running_sum += self.running + ended
            self.waiting_sum += self.waiting
            self.prefix_queries += stats.prefix_cache_stats.queries
            self.prefix_hits += stats.prefix_cache_stats.hits

    def values(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if name != "queued"}

    def restart_peak(self) -> None:
        self.kv_usage_max = self.kv_usage
