"""The pipelined schedule: generation runs ahead of the updates by a bounded number of weight versions.

    PromptQueue --> generator --> verifier --> [groups, in order of arrival] --> the step's batch --> learner --> sync
        ^   (in a separate thread)                                                                      |
        +------------------------- version + 1 lets the questions of one more step start <--------------+

The weights change between two engine steps, while completions are in flight. Each token keeps the version that sampled
it and its log-probability under that version, which the importance ratio corrects for. loop.py runs the steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vt_ray.data.prefetch import Prefetcher
from vt_ray.records import GradedGroup, Prompt
from vt_ray.signal_phase.stage_run import StageRun, step_prompts

# The verifiers pause when so many graded groups wait for their step.
MAX_WAITING_GROUPS = 4096
POLL_S = 1.0

Key = tuple[int, str]


@contextmanager
def generate_ahead(run: StageRun) -> Iterator[Ahead]:
    """Generate and verify in a separate thread until the block ends."""
    queue = PromptQueue()
    groups = run.verifier.grade(run.generator.generate(queue, run.sampling))
    try:
        with Prefetcher(groups, MAX_WAITING_GROUPS) as graded:
            try:
                yield Ahead(run, queue, graded)
            finally:
                queue.close()
    finally:
        queue.close()


class PromptQueue:
    """Implements `interfaces.PromptFeed`: the driver puts prompts in, the thread of the generators takes them out."""

    def __init__(self) -> None:
        self.closed = False
        self._waiting: deque[Prompt] = deque()

    @property
    def ended(self) -> bool:
        return self.closed and not self._waiting

    def put(self, prompts: Sequence[Prompt]) -> None:
        self._waiting.extend(prompts)

    def take(self) -> list[Prompt]:
        # Two threads may use the two ends of a deque at the same time.
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def close(self) -> None:
        """End the feed and drop the prompts that have not started."""
        self._waiting.clear()
        self.closed = True


class Ahead:
    """Implements `batch.Generation`: submits the questions of later steps and keeps the groups that arrive early."""

    generated_at: float | None = None

    def __init__(self, run: StageRun, queue: PromptQueue, graded: Prefetcher) -> None:
        self.run, self.queue, self.graded = run, queue, graded
        self.max_staleness = run.signal.max_staleness
        self._submitted: set[Key] = set()
        self._arrived: dict[Key, GradedGroup] = {}
        self._newest_step = -1

    def start(self, step: int) -> None:
        """Submit the questions of this step and of the next `max_staleness` steps, each step once."""
        for later in range(step, min(step + self.max_staleness + 1, self.run.stage.steps)):
            if later > self._newest_step:
                self._submit(step_prompts(self.run, later))
                self._newest_step = later

    def rollout(self, prompts: Sequence[Prompt]) -> list[GradedGroup]:
        """Graded groups in the order of the prompts. Waits for the groups that have not arrived."""
        self._submit(prompts)
        keys = [(prompt.step, prompt.problem.question_id) for prompt in prompts]
        missing = {key for key in keys if key not in self._arrived}
        while missing:
            self.graded.wait(POLL_S)
            for group in self.graded.take():
                key = (group.step, group.question_id)
                self._arrived[key] = group
                missing.discard(key)
            assert not (missing and self.graded.ended), f"{len(missing)} groups never came: {sorted(missing)[:3]}"
        self._submitted.difference_update(keys)
        return [self._arrived.pop(key) for key in keys]

    def unused(self) -> dict[int, list[str]]:
        """Ids of questions that were submitted for steps after the gate ended the stage, by step."""
        found: dict[int, list[str]] = {}
        for step, question_id in sorted(self._submitted):
            found.setdefault(step, []).append(question_id)
        return found

    def _submit(self, prompts: Sequence[Prompt]) -> None:
        new = [p for p in prompts if (p.step, p.problem.question_id) not in self._submitted]
        self._submitted.update((p.step, p.problem.question_id) for p in new)
        self.queue.put(new)
