"""What the phases know of the machinery: Protocols only. `actors/` implements them on Ray; tests by hand.

A phase gets a `Cluster`, opens what it needs for as long as a `with` block lasts, and passes handles on
without looking inside: tokens and log-probabilities go from actor to actor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import MgpoConfig, OptimizerConfig
from vt_ray.records import GradedGroup, GroupWeight, Prompt, Sampling

Handle = Any


@dataclass(frozen=True, slots=True)
class Weights:
    """One version of the model's weights on their way to the generators.

    `buckets` are handles of `engines.weights.Bucket`; `checksums` and `probe_logprobs` say what a generator
    that loaded them must show.
    """

    version: int
    buckets: tuple[Handle, ...]
    checksums: dict[str, int]
    probe_logprobs: tuple[float, ...]
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What one generator really holds after a load, read back from its engine."""

    holder: str
    version: int
    checksums: dict[str, int | None]
    probe_logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a run keeps from others while it lasts: the cores of its machines, the GPUs that its actors hold."""

    cpu_cores: int
    gpus: int


@dataclass(frozen=True, slots=True)
class VerifierCounts:
    """What the verifiers have been through since the run began: completions verified again, workers replaced.

    `backends` counts the workers by how they confine programs.
    """

    retries: int
    respawns: int
    backends: dict[str, int]


class Generator(Protocol):
    """All generators of the cluster as one."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Handle]:
        """Handles of `Rollouts`, each as soon as its group is whole."""
        ...

    def load(self, weights: Weights, probe: Sequence[int]) -> list[Acknowledgement]: ...

    def load_checkpoint(self, folder: Path, version: int) -> None:
        """Load a Hugging Face folder, checked against its files. Raises SyncError on a mismatch."""
        ...


class Verifier(Protocol):
    def grade(self, rollouts: Iterable[Handle]) -> Iterator[GradedGroup]:
        """Verdicts for each group as they come, in any order: exactly one for each completion."""
        ...

    def counts(self) -> VerifierCounts: ...


class Tracker(Protocol):
    def weigh(self, groups: Sequence[GradedGroup], version: int) -> list[GroupWeight]:
        """Note the verdicts and return p_c, w_ME and A' for each group, in order."""
        ...

    def save(self, path: Path) -> None: ...

    def load(self, path: Path) -> None: ...


class Learner(Protocol):
    """All ranks of the learner as one. Metrics are sums over ranks and tokens."""

    def sft_step(self, sequences: Sequence[TrainSequence]) -> dict[str, float]: ...

    def mgpo_step(
        self,
        groups: Sequence[GradedGroup],
        weights: Sequence[GroupWeight],
        mgpo: MgpoConfig,
        temperature: float,
    ) -> dict[str, float]: ...

    def export_weights(self, version: int, probe: Sequence[int], bucket_bytes: int) -> Weights: ...

    def save_hf(self, folder: Path) -> None: ...

    def save_state(self, folder: Path) -> None: ...

    def load_state(self, folder: Path) -> None: ...


class Recorder(Protocol):
    def write(
        self,
        path: Path,
        stage: str,
        step: int,
        groups: Sequence[GradedGroup],
        weights: Sequence[GroupWeight],
    ) -> None:
        """One parquet file with a row for each completion; whole or not there."""
        ...


class Cluster(Protocol):
    """Opens the rest. What is opened twice with the same arguments is the same engine, still warm."""

    def generator(self, model_path: Path) -> AbstractContextManager[Generator]: ...

    def learner(
        self, model_path: Path, optimizer: OptimizerConfig, total_steps: int
    ) -> AbstractContextManager[Learner]: ...

    def verifier(self) -> AbstractContextManager[Verifier]: ...

    def tracker(self, lam: float) -> AbstractContextManager[Tracker]: ...

    def recorder(self) -> AbstractContextManager[Recorder]: ...

    def busy_seconds(self) -> dict[str, float]:
        """Seconds that each actor (`generator_0`, `learner_0`, `tracker`, ...) has worked at training steps so far."""
        ...

    def hardware(self) -> Hardware: ...
