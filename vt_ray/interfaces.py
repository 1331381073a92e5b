"""Protocols between the phases and the machines. `actors/` implements them on Ray, the unit tests without it.

A phase gets a `Cluster` and opens generators, learners, verifiers and a tracker from it, each for the length of a
`with` block. Tokens and log-probabilities go from actor to actor: the phase only passes their handles on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vt_ray.config import MgpoConfig, OptimizerConfig, TrackerConfig
from vt_ray.records import AdvantageConfig, GradedGroup, GroupAdvantages, Prompt, Rollouts, Sampling

# algorithms.packing loads torch: without it an actor starts sooner and needs half the memory.
if TYPE_CHECKING:
    from vt_ray.algorithms.packing import TrainSequence

Handle = Any


class Weights(Protocol):
    """One version of the model's weights, sent to the generators."""

    @property
    def version(self) -> int: ...

    @property
    def buckets(self) -> tuple[Handle, ...]:
        """Handles of `engines.weights.Bucket`, or of the notice of a transfer that does not pass through Ray."""
        ...

    @property
    def checksums(self) -> dict[str, int]:
        """By tensor name: a generator that holds these weights has the same."""
        ...

    @property
    def fingerprint_logprobs(self) -> tuple[float, ...]:
        """The learner's log-probabilities of the fingerprint, in nats."""
        ...

    @property
    def num_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The proof that one generator gives after a load, read back from its engine.

    `fingerprint_logprobs`, in nats, are NaN if the checksums differ from those in the buckets.
    """

    holder: str
    version: int
    checksums: dict[str, int | None]
    fingerprint_logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Hardware:
    """The hardware that a run occupies: the cores of its machines and the GPUs of its actors."""

    cpu_cores: int
    gpus: int


@dataclass(frozen=True, slots=True)
class VerifierCounts:
    """Since the start of the run: completions that were graded again, and verifiers that were replaced.

    `backends` is the number of verifiers by the way they confine programs.
    """

    retries: int
    respawns: int
    backends: dict[str, int]


class PromptFeed(Protocol):
    """Prompts that become available while generation runs. Called from another thread than the phase's."""

    @property
    def ended(self) -> bool:
        """True once `take` will return no more prompts."""
        ...

    def take(self) -> list[Prompt]:
        """Returns the prompts that may start now, without waiting."""
        ...


class Generator(Protocol):
    """All generators of the cluster."""

    def generate(self, prompts: Sequence[Prompt] | PromptFeed, sampling: Sampling) -> Iterator[Handle]:
        """Yields handles of `Rollouts`, each as soon as its group is complete. Weights may be loaded meanwhile."""
        ...

    def load(self, weights: Weights, fingerprint: Sequence[int]) -> list[Acknowledgement]:
        """Loads `weights` into every generator. `fingerprint`: token ids. Returns the proof of each generator."""
        ...

    def load_checkpoint(self, folder: Path, version: int) -> None:
        """Loads a Hugging Face folder into every generator. Raises SyncError if a checksum differs from the files."""
        ...


class Verifier(Protocol):
    def grade(self, rollouts: Iterable[Handle]) -> Iterator[GradedGroup]:
        """Yields each group when it is graded, in any order, with exactly one verdict per completion."""
        ...

    def rollouts(self, group: GradedGroup) -> Rollouts:
        """Returns the completions of a graded group, with their texts and tokens."""
        ...

    def counts(self) -> VerifierCounts: ...


class Tracker(Protocol):
    def compute_advantages(
        self, groups: Sequence[GradedGroup], version: int, config: AdvantageConfig
    ) -> list[GroupAdvantages]:
        """Records the verdicts. Returns p_c, weight and A' of each group, in order (arXiv 2511.06221, section 3.4)."""
        ...

    def note(self, groups: Sequence[GradedGroup], version: int) -> None:
        """Records verdicts of completions that no update will consume."""
        ...

    def expected_weights(self, question_ids: Sequence[str], version: int, config: AdvantageConfig) -> list[float]:
        """Returns the expected weight of each question under its posterior at `version`, before it is asked."""
        ...

    def save(self, path: Path) -> None: ...

    def load(self, path: Path) -> None: ...


class Learner(Protocol):
    """All ranks of the learner. Metrics are sums over ranks and tokens."""

    def sft_step(self, sequences: Sequence[TrainSequence]) -> dict[str, float]: ...

    def update(
        self,
        groups: Sequence[GradedGroup],
        advantages: Sequence[GroupAdvantages],
        mgpo: MgpoConfig,
        temperature: float,
        max_new_tokens: int,
    ) -> dict[str, float]:
        """One update. `max_new_tokens` is the stage's length limit, the divisor of aggregation "fixed_length"."""
        ...

    def completion_nll(self, sequences: Sequence[TrainSequence]) -> list[float]:
        """Returns the mean negative log-likelihood of each completion, in nats per token. Changes no weight."""
        ...

    def export_weights(self, version: int, fingerprint: Sequence[int], bucket_bytes: int) -> Weights:
        """Exports the weights as `version`, in buckets of at most `bucket_bytes`. `fingerprint`: token ids."""
        ...

    def save_hf(self, folder: Path) -> None: ...

    def save_state(self, folder: Path) -> None: ...

    def load_state(self, folder: Path, restart_schedule: bool = False) -> None:
        """Loads weights, moments and step count. With `restart_schedule` step count and learning rate start again."""
        ...


class Recorder(Protocol):
    def write(
        self,
        path: Path,
        stage: str,
        step: int,
        groups: Sequence[GradedGroup],
        advantages: Sequence[GroupAdvantages],
        fates: Sequence[Sequence[str]],
    ) -> None:
        """Writes one parquet file with a row per completion. The file is complete or absent.

        `fates` are the fates of each group's completions (`algorithms.ledger`).
        """
        ...


class Cluster(Protocol):
    """Opens the other parts. Opening with the same arguments again returns the same engine, still warm."""

    def generator(self, model_path: Path) -> AbstractContextManager[Generator]: ...

    def learner(
        self, model_path: Path, optimizer: OptimizerConfig, total_steps: int, with_reference: bool = False
    ) -> AbstractContextManager[Learner]:
        """`with_reference` keeps a frozen copy of the start model, for a KL term."""
        ...

    def verifier(self) -> AbstractContextManager[Verifier]: ...

    def tracker(self, tracker: TrackerConfig) -> AbstractContextManager[Tracker]: ...

    def recorder(self) -> AbstractContextManager[Recorder]: ...

    def busy_seconds(self) -> dict[str, float]:
        """Returns the seconds that each actor (`generator_0`, `learner_0`, `tracker`, ...) has worked so far."""
        ...

    def engine_counters(self) -> dict[str, dict[str, Any]]:
        """Returns the counters of each generator's engine since it was opened; empty for an engine without counters.

        The largest share of the KV cache in use is the largest since the last call.
        """
        ...

    def publish(self, line: Mapping[str, Any]) -> None:
        """Shows the line of an SFT or RL step to the cluster's monitoring."""
        ...

    def recover(self, error: BaseException) -> str:
        """Replaces the actors whose death raised `error`, and returns their names. The caller opens everything again.

        Raises ClusterError if a node has died, and `error` itself if nothing has died.
        """
        ...

    def hardware(self) -> Hardware: ...
