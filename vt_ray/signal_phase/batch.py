"""The groups of one update: generated, verified, with advantages, and replaced if a group has no signal.

step_prompts --rollout--> groups --tracker--> advantages --+--> the update's batch
     ^                                                     |
     +---- refill_prompts, `refill_rounds` times <---- groups without a signal
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from vt_ray.algorithms.ledger import fates, fates_of_replaced
from vt_ray.records import GradedGroup, GroupAdvantages, Prompt
from vt_ray.signal_phase.controls import shuffled_rewards
from vt_ray.signal_phase.stage_run import StageRun, refill_prompts, step_key, step_prompts

# Takes prompts and returns their graded groups, in the order of the prompts.
Rollout = Callable[[Sequence[Prompt]], list[GradedGroup]]


class Generation(Protocol):
    """A schedule's source of graded groups. `max_staleness` is in weight versions.

    `generated_at` is the time (`time.monotonic()`) at which the last group of the newest `rollout` was generated. It
    is None if generation overlaps with other parts of the step.
    """

    max_staleness: int
    generated_at: float | None

    def start(self, step: int) -> None:
        """Submit the prompts that may be generated once step `step` begins."""
        ...

    def rollout(self, prompts: Sequence[Prompt]) -> list[GradedGroup]: ...

    def unused(self) -> dict[int, list[str]]:
        """Ids of questions that were submitted and never taken, by the step that they were meant for."""
        ...


@dataclass
class Batch:
    """The groups that a step has generated: `groups` with their `advantages` go into the update, `replaced` do not.

    `prompts` are the prompts of all these groups. `rounds` counts the rounds after the first.
    """

    groups: list[GradedGroup] = field(default_factory=list)
    advantages: list[GroupAdvantages] = field(default_factory=list)
    replaced: list[GradedGroup] = field(default_factory=list)
    replaced_advantages: list[GroupAdvantages] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    rounds: int = 0

    @property
    def all_groups(self) -> list[GradedGroup]:
        return [*self.groups, *self.replaced]

    @property
    def all_advantages(self) -> list[GroupAdvantages]:
        return [*self.advantages, *self.replaced_advantages]

    @property
    def fates(self) -> list[tuple[str, ...]]:
        """The fate of each completion of `all_groups` (`algorithms.ledger`)."""
        return [*fates(self.groups, self.advantages), *fates_of_replaced(self.replaced)]


def gather(run: StageRun, step: int, rollout: Rollout) -> Batch:
    """The batch of step `step`. Groups without a signal are replaced in at most `refill_rounds` rounds.

    Groups that still have no signal after the last round stay in the batch, so every update counts equally many groups.
    """
    batch = Batch()
    prompts = step_prompts(run, step)
    while True:
        batch.prompts += prompts
        groups = _with_stage_options(run, step, rollout(prompts))
        advantages = run.tracker.compute_advantages(groups, run.first_version + step, run.advantage_config)
        idle = [i for i, group in enumerate(advantages) if not any(group.advantages)]
        prompts = []
        if batch.rounds < run.stage.refill_rounds and idle:
            prompts = refill_prompts(run, step, batch.prompts, len(idle))
        replaced = set(idle[: len(prompts)])
        for i, (group, its_advantages) in enumerate(zip(groups, advantages, strict=True)):
            if i in replaced:
                batch.replaced.append(group)
                batch.replaced_advantages.append(its_advantages)
            else:
                batch.groups.append(group)
                batch.advantages.append(its_advantages)
        if not prompts:
            return batch
        batch.rounds += 1


def in_order(graded: Iterable[GradedGroup], prompts: Sequence[Prompt]) -> list[GradedGroup]:
    """The groups in the order of the prompts. They arrive in the order in which they finish."""
    arrived: dict[str, list[GradedGroup]] = {}
    for group in graded:
        arrived.setdefault(group.question_id, []).append(group)
    return [arrived[prompt.problem.question_id].pop(0) for prompt in prompts]


def refuse_stale(groups: Sequence[GradedGroup], oldest: int) -> None:
    """Raise RuntimeError if a completion was started under a weight version below `oldest`."""
    found = min((version for group in groups for version in group.first_versions), default=oldest)
    if found < oldest:
        raise RuntimeError(f"a completion of weight version {found} reached an update that takes {oldest} and newer")


def _with_stage_options(run: StageRun, step: int, groups: list[GradedGroup]) -> list[GradedGroup]:
    if run.stage.truncated == "mask":
        groups = [replace(group, mask_truncated=True) for group in groups]
    if run.signal.control == "shuffled_rewards":
        groups = shuffled_rewards(groups, step_key(run, step))
    return groups
