"""One GPU, two sides: a generator and a learner rank take turns, and the idle side lies in host memory.

    learner.mgpo_step, export_weights --> [learner sleeps, generator wakes] --> generator.load, generate --> ...

The phases know nothing of turns: they hold the two wrappers below, which ask for the GPU before each call. Weights that
the learner has exported lie in the object store, so the generator can load them while the learner sleeps. Where the
GPU's memory holds both sides (`plan.generator_share`) no turns are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import MgpoConfig
from vt_ray.interfaces import Acknowledgement, Generator, Handle, Learner, PromptFeed, Weights
from vt_ray.records import GradedGroup, GroupAdvantages, Prompt, Sampling


class Side(Protocol):
    def sleep(self) -> None: ...

    def wake_up(self) -> None: ...


class Turns:
    """The side that has the GPU. Where no GPU is shared (`shared` false) no side is ever put to sleep."""

    def __init__(self, shared: bool):
        self.shared = shared
        self._awake: Side | None = None

    def take(self, side: Side) -> None:
        """Give the GPU to `side`; the side that has it is put to sleep first."""
        if self.shared and side is not self._awake:
            self.vacate()
            side.wake_up()
            self._awake = side

    def vacate(self) -> None:
        """An engine is opened on an empty GPU."""
        if self._awake is not None:
            self._awake.sleep()
            self._awake = None

    def spare(self) -> None:
        """From now on both sides stay awake."""
        self.shared, self._awake = False, None

    def opened(self, side: Side) -> None:
        if self.shared:
            self._awake = side

    def closed(self, side: Side) -> None:
        if side is self._awake:
            self._awake = None


class SharingGenerator(Side, Generator, Protocol):
    """A generator that can sleep."""

    @property
    def respawns(self) -> int: ...


class SharingLearner(Side, Learner, Protocol):
    """A learner that can sleep."""


class TurnTakingGenerator:
    """Implements `interfaces.Generator`."""

    def __init__(self, generator: SharingGenerator, turns: Turns):
        self.generator, self.turns = generator, turns

    @property
    def respawns(self) -> int:
        """Generators that were replaced so far."""
        return self.generator.respawns

    def generate(self, prompts: Sequence[Prompt] | PromptFeed, sampling: Sampling) -> Iterator[Handle]:
        self.turns.take(self.generator)
        yield from self.generator.generate(prompts, sampling)

    def load(self, weights: Weights, fingerprint: Sequence[int]) -> list[Acknowledgement]:
        self.turns.take(self.generator)
        return self.generator.load(weights, fingerprint)

    def load_checkpoint(self, folder: Path, version: int) -> None:
        self.turns.take(self.generator)
        self.generator.load_checkpoint(folder, version)


class TurnTakingLearner:
    """Implements `interfaces.Learner`."""

    def __init__(self, learner: SharingLearner, turns: Turns):
        self.learner, self.turns = learner, turns

    def sft_step(self, sequences: Sequence[TrainSequence]) -> dict[str, float]:
        self.turns.take(self.learner)
        return self.learner.sft_step(sequences)

    def mgpo_step(
        self,
        groups: Sequence[GradedGroup],
        weights: Sequence[GroupAdvantages],
        mgpo: MgpoConfig,
        temperature: float,
        max_new_tokens: int,
    ) -> dict[str, float]:
        self.turns.take(self.learner)
        return self.learner.mgpo_step(groups, weights, mgpo, temperature, max_new_tokens)

    def export_weights(self, version: int, fingerprint: Sequence[int], bucket_bytes: int) -> Weights:
        self.turns.take(self.learner)
        return self.learner.export_weights(version, fingerprint, bucket_bytes)

    def save_hf(self, folder: Path) -> None:
        self.turns.take(self.learner)
        self.learner.save_hf(folder)

    def save_state(self, folder: Path) -> None:
        self.turns.take(self.learner)
        self.learner.save_state(folder)

    def load_state(self, folder: Path, restart_schedule: bool = False) -> None:
        self.turns.take(self.learner)
        self.learner.load_state(folder, restart_schedule)
