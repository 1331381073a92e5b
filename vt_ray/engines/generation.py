"""The Protocol of an engine that generates, and the table of engines.

An engine runs in the process that opens it and uses no Ray. To add one: write a module with a class that implements
`GenerationEngine`, and name it in `cluster.generation_engine` as "module:Class", or add a line to ENGINES.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from vt_ray.config import ConfigError
from vt_ray.import_path import import_callable
from vt_ray.records import Prompt, Rollouts, Sampling

if TYPE_CHECKING:
    from vt_ray.engines.weights import Bucket

# `cluster.generation_engine` -> module and class.
ENGINES = {"vllm": "vt_ray.engines.vllm.engine:VllmEngine"}


@dataclass(frozen=True)
class EngineSpec:
    """The settings of an engine. `context_tokens` limits prompt and completion together."""

    model_path: str
    dtype: str
    context_tokens: int
    max_num_seqs: int
    gpus: int
    tensor_parallel_size: int
    kv_cache_gb: int
    gpu_memory_utilization: float
    threads: int
    seed: int
    can_sleep: bool = False
    # On a GPU: neither torch.compile nor CUDA graphs. vLLM's CPU build never uses them.
    enforce_eager: bool = False
    # "nccl" or "ipc": weights do not pass through Ray but through vLLM's engine of that name. "": through Ray.
    weight_transfer: str = ""
    engine: str = "vllm"
    # `cluster.engine_args`: passed to vLLM as they are.
    engine_args: Mapping[str, Any] = field(default_factory=dict)


class GenerationBatch(Protocol):
    """The prompts of one caller. Iterating yields (ticket, Rollouts) as soon as all completions of a prompt are done,
    and raises any error of a prompt or of the engine."""

    def submit(self, prompts: Iterable[tuple[Hashable, Prompt]]) -> None:
        """Adds (ticket, prompt) pairs, also while another thread iterates."""
        ...

    def close(self) -> None:
        """No more prompts will come: the iteration ends when all are done."""
        ...

    def abandon(self) -> None:
        """Drops unfinished prompts: the iteration ends."""
        ...

    def __iter__(self) -> Iterator[tuple[Hashable, Rollouts]]: ...


class GenerationEngine(Protocol):
    """Every method may be called from any thread."""

    @property
    def weight_version(self) -> int:
        """The version of the newest load; -1 before the first one."""
        ...

    @property
    def proven(self) -> bool:
        """False from the beginning of a load until the engine holds what was sent. It samples no token meanwhile."""
        ...

    @property
    def lost_a_worker(self) -> bool:
        """Whether a process of the engine has died, so that the engine can do nothing more."""
        ...

    def open_batch(self, sampling: Sampling) -> GenerationBatch:
        """Opens a batch. The engine runs all open batches together."""
        ...

    def token_logprobs(self, token_ids: Sequence[int]) -> list[float]:
        """log p(token[t] | tokens before) at temperature 1 for t >= 1, in nats, under the loaded weights.

        Raises RuntimeError unless the weights are `proven`.
        """
        ...

    def load_weights(self, arrivals: Iterable[Bucket | Any], version: int, place: int = 0) -> dict[str, int | None]:
        """Replaces all weights between two steps; requests that run continue.

        `arrivals` are Buckets, or the notices of a transfer that does not pass through Ray. `place` is the number of
        this engine among all generators. Returns the checksum of each tensor, by its checkpoint name, as read back from
        the engine; None for a tensor whose copies differ.
        """
        ...

    def pause(self) -> None:
        """Samples no token until the next load."""
        ...

    def sleep(self) -> None:
        """Frees the GPU. Requests continue after `wake_up`."""
        ...

    def wake_up(self) -> None: ...

    def busy_seconds(self) -> float:
        """Seconds of work so far."""
        ...

    def stuck_seconds(self) -> float:
        """Seconds since the piece of work that runs now has begun; 0 if idle. The watchdog kills on it."""
        ...


@runtime_checkable
class CountingEngine(Protocol):
    """An engine with counters of its own. An engine may do without: its run then lacks these figures."""

    def counters(self, restart_peak: bool = False) -> dict[str, float | None]:
        """The fields of `engines.vllm.counters.EngineCounters`, and `memory_gb_max`. With `restart_peak`,
        `kv_usage_max` is measured anew from now on. Called from any thread; must not wait for an engine step."""
        ...


def engine_class(name: str) -> Callable[[EngineSpec], GenerationEngine]:
    """The class that `cluster.generation_engine` names. Raises ConfigError if it cannot be imported."""
    try:
        return import_callable(ENGINES.get(name, name), ("spec",))
    except ValueError as error:
        raise ConfigError(
            f"cluster.generation_engine={name} is not {', '.join(ENGINES)}, nor the import path of an engine: {error}"
        ) from error
