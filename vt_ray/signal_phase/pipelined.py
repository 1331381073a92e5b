"""One stage of MGPO, pipelined: generation runs ahead of the updates by a bounded number of weight versions.

    PromptQueue --> generator --> verifier --> [groups, whoever is first] --> the step's batch --> learner --> sync
        ^   (a thread of its own)                                                                       |
        +------------------------- version + 1 lets one more step's questions begin <-------------------+

Weights change between two engine steps, under what is in flight: each token has the version it was sampled under and
its log-probability as sampled, which the importance ratio corrects for. The step is that of loop.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vt_ray.progress import bar
from vt_ray.records import GradedGroup, Prompt
from vt_ray.report.last_step import StepPanel
from vt_ray.signal_phase.batch import gather
from vt_ray.signal_phase.commit import resume
from vt_ray.signal_phase.loop import note, update
from vt_ray.signal_phase.stage_end import StageHistory, close_step
from vt_ray.signal_phase.stage_run import StageRun, step_prompts
from vt_ray.signal_phase.step_record import StepWatch
from vt_ray.signal_phase.sync import sync_weights
from vt_ray.verify.read_ahead import ReadAhead

# Graded groups that wait for their step: beyond that the verifiers pause.
MOST_WAITING = 4096
LOOK_UP_S = 1.0

Key = tuple[int, str]


def run_stage(run: StageRun) -> StageHistory:
    """As `loop.run_stage`, with `signal.max_staleness` versions between a token and the update that consumes it."""
    start = resume(run)
    sync_weights(run.learner, run.generator, run.first_version + start, run.fingerprint, run.signal.sync)
    history = StageHistory.read(run, start)
    with _generating_ahead(run) as ahead, bar(run.stage.name, run.stage.steps, start) as advance:
        while not history.ended:
            line = pipelined_step(run, history.steps, ahead)
            close_step(run, line, history, ahead.rollout)
            advance(note(line, history.ended), 1, StepPanel(line))
        history.unused = ahead.unused()
    return history


def pipelined_step(run: StageRun, step: int, ahead: Ahead) -> dict[str, Any]:
    """The step's update, while the generators work for the steps that it allows to begin."""
    watch = StepWatch(run)
    with watch("generate"):
        for later in range(step, min(step + run.signal.max_staleness + 1, run.stage.steps)):
            ahead.begin(later)
        batch = gather(run, step, ahead.rollout)
    _refuse_older(batch.groups, run.first_version + step - run.signal.max_staleness)
    return update(run, step, batch, watch)


def _refuse_older(groups: Sequence[GradedGroup], oldest: int) -> None:
    found = min((version for group in groups for version in group.first_versions), default=oldest)
    if found < oldest:
        raise RuntimeError(
            f"a completion begun under weight version {found} reached an update that takes {oldest} and up"
        )


class PromptQueue:
    """Implements `interfaces.PromptFeed`: filled by the driver, emptied by the generators' thread."""

    def __init__(self) -> None:
        self.closed = False
        self._waiting: deque[Prompt] = deque()

    @property
    def ended(self) -> bool:
        return self.closed and not self._waiting

    def put(self, prompts: Sequence[Prompt]) -> None:
        self._waiting.extend(prompts)

    def take(self) -> list[Prompt]:
        # A deque's ends may be used by two threads at once.
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def close(self) -> None:
        """Nothing more will come, and what has not begun is not wanted."""
        self._waiting.clear()
        self.closed = True


class Ahead:
    """What is asked for, and what has come of it. `rollout` is the `batch.Rollout` of this schedule."""

    def __init__(self, run: StageRun, queue: PromptQueue, graded: ReadAhead) -> None:
        self.run, self.queue, self.graded = run, queue, graded
        self._asked: set[Key] = set()
        self._arrived: dict[Key, GradedGroup] = {}
        self._begun = -1

    def begin(self, step: int) -> None:
        """Let the step's questions be generated, unless they have been begun."""
        if step > self._begun:
            self._ask(step_prompts(self.run, step))
            self._begun = step

    def rollout(self, prompts: Sequence[Prompt]) -> list[GradedGroup]:
        """Graded groups, in the order of the prompts: those that are there already, and the rest as they come."""
        self._ask(prompts)
        keys = [_key(prompt.step, prompt.problem.question_id) for prompt in prompts]
        missing = {key for key in keys if key not in self._arrived}
        while missing:
            self.graded.wait(LOOK_UP_S)
            for group in self.graded.take():
                key = _key(group.step, group.question_id)
                self._arrived[key] = group
                missing.discard(key)
            assert not (missing and self.graded.ended), f"{len(missing)} groups never came: {sorted(missing)[:3]}"
        self._asked.difference_update(keys)
        return [self._arrived.pop(key) for key in keys]

    def unused(self) -> dict[int, list[str]]:
        """Questions by the step that they were begun for, of steps that never came: a gate has ended the stage."""
        found: dict[int, list[str]] = {}
        for step, question_id in sorted(self._asked):
            found.setdefault(step, []).append(question_id)
        return found

    def _ask(self, prompts: Sequence[Prompt]) -> None:
        new = [p for p in prompts if _key(p.step, p.problem.question_id) not in self._asked]
        self._asked.update(_key(p.step, p.problem.question_id) for p in new)
        self.queue.put(new)


def _key(step: int, question_id: str) -> Key:
    return step, question_id


@contextmanager
def _generating_ahead(run: StageRun) -> Iterator[Ahead]:
    """Generation and verification in a thread of their own, as long as the block lasts."""
    queue = PromptQueue()
    groups = run.verifier.grade(run.generator.generate(queue, run.sampling))
    try:
        with ReadAhead(groups, MOST_WAITING) as graded:
            try:
                yield Ahead(run, queue, graded)
            finally:
                queue.close()
    finally:
        queue.close()
