"""The groups that one update takes: drawn, verified, weighed, and drawn anew in place of groups without a signal.

step_prompts --rollout--> groups --tracker--> weights --+--> the update's batch
     ^                                                  |
     +---- refill_prompts, `refill_rounds` times <---- without a signal
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from vt_ray.algorithms.ledger import fates, fates_of_replaced
from vt_ray.records import GradedGroup, GroupAdvantages, Prompt
from vt_ray.signal_phase.controls import shuffled_rewards
from vt_ray.signal_phase.stage_run import StageRun, refill_prompts, step_key, step_prompts

# Prompts in, their graded groups out, in the order of the prompts.
Rollout = Callable[[Sequence[Prompt]], list[GradedGroup]]


@dataclass
class Batch:
    """The groups that a step has drawn: `groups` with their `weights` go into the update, `replaced` ones do not.

    `prompts` are all prompts that were asked, `rounds` counts the rounds beyond the first.
    """

    groups: list[GradedGroup] = field(default_factory=list)
    weights: list[GroupAdvantages] = field(default_factory=list)
    replaced: list[GradedGroup] = field(default_factory=list)
    replaced_weights: list[GroupAdvantages] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    rounds: int = 0

    @property
    def drawn(self) -> list[GradedGroup]:
        return [*self.groups, *self.replaced]

    @property
    def drawn_weights(self) -> list[GroupAdvantages]:
        return [*self.weights, *self.replaced_weights]

    @property
    def fates(self) -> list[tuple[str, ...]]:
        """The fate of each completion of `drawn` (the ledger)."""
        return [*fates(self.groups, self.weights), *fates_of_replaced(self.replaced)]


def gather(run: StageRun, step: int, rollout: Rollout) -> Batch:
    """The step's batch. A group without a signal is replaced in at most `refill_rounds` rounds; those that are left
    without one after the last round stay, so that every update counts as many groups."""
    batch = Batch()
    prompts = step_prompts(run, step)
    while True:
        batch.prompts += prompts
        groups = _as_the_stage_sees_them(run, step, rollout(prompts))
        weights = run.tracker.compute_advantages(groups, run.first_version + step, run.advantage_config)
        idle = [i for i, weight in enumerate(weights) if not any(weight.advantages)]
        prompts = []
        if batch.rounds < run.stage.refill_rounds and idle:
            prompts = refill_prompts(run, step, batch.prompts, len(idle))
        gone = set(idle[: len(prompts)])
        for i, (group, weight) in enumerate(zip(groups, weights, strict=True)):
            kept = (batch.replaced, batch.replaced_weights) if i in gone else (batch.groups, batch.weights)
            kept[0].append(group)
            kept[1].append(weight)
        if not prompts:
            return batch
        batch.rounds += 1


def in_order(graded: Iterable[GradedGroup], prompts: Sequence[Prompt]) -> list[GradedGroup]:
    """Groups come as they finish; the update takes them in the order of the prompts."""
    arrived: dict[str, list[GradedGroup]] = {}
    for group in graded:
        arrived.setdefault(group.question_id, []).append(group)
    return [arrived[prompt.problem.question_id].pop(0) for prompt in prompts]


def _as_the_stage_sees_them(run: StageRun, step: int, groups: list[GradedGroup]) -> list[GradedGroup]:
    if run.stage.truncated == "mask":
        groups = [replace(group, mask_truncated=True) for group in groups]
    if run.signal.control == "shuffled_rewards":
        groups = shuffled_rewards(groups, step_key(run, step))
    return groups
