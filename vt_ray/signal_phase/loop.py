"""One stage of MGPO: every rollout batch gives one update (arXiv 2511.06221, section 3.4).

problems --> generator --> verifier --> tracker (p_c, w_ME, A') --> learner --> weight sync, version + 1
   ^                                                                                |
   +--------------------------------- next step <-----------------------------------+

`OnPolicy` generates the step's groups within the step. `pipelined.py` generates them ahead of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from vt_ray.records import GradedGroup, Prompt
from vt_ray.run.step_line import StepLine
from vt_ray.signal_phase.batch import Generation, gather, in_order, refuse_stale
from vt_ray.signal_phase.commit import resume
from vt_ray.signal_phase.pipelined import generate_ahead
from vt_ray.signal_phase.stage_end import StageHistory, close_step
from vt_ray.signal_phase.stage_run import StageRun
from vt_ray.signal_phase.step_record import StepWatch
from vt_ray.signal_phase.sync import sync_weights

# display(stage, steps, done) opens the progress display of a stage. It yields show(line, ended) for every step.
StageDisplay = Callable[[str, int, int], AbstractContextManager[Callable[[StepLine, str], None]]]


def run_stage(run: StageRun, display: StageDisplay) -> StageHistory:
    """Train from the newest committed step until the stage's last step or its gate. Each step is a line in the metrics.

    Returns the number of steps and the reason for the end.
    """
    start = resume(run)
    sync_weights(run.learner, run.generator, run.first_version + start, run.fingerprint, run.signal.sync)
    history = StageHistory.read(run, start)
    generate = generate_ahead if run.signal.schedule == "pipelined" else generate_on_policy
    with generate(run) as generation, display(run.stage.name, run.stage.steps, start) as show:
        while not history.ended:
            line = mgpo_step(run, history.steps, generation)
            close_step(run, line, history, generation.rollout)
            show(line, history.ended)
        history.unused = generation.unused()
    return history


def mgpo_step(run: StageRun, step: int, generation: Generation) -> StepLine:
    """Generate, verify, compute advantages, update, sync. `step` counts from 0. Returns the line for the metrics."""
    watch = StepWatch(run)
    with watch("generate"):
        generation.start(step)
        batch = gather(run, step, generation.rollout)
        watch.generated_at = generation.generated_at
    refuse_stale(batch.groups, run.first_version + step - generation.max_staleness)
    with watch("update"):
        metrics = run.learner.update(
            batch.groups, batch.advantages, run.signal.mgpo, run.stage.temperature, run.stage.max_new_tokens
        )
    with watch("rest"):
        path = run.paths.rollout_file(step + 1)
        run.recorder.write(path, run.stage.name, step + 1, batch.all_groups, batch.all_advantages, batch.fates)
    with watch("sync"):
        sync = sync_weights(run.learner, run.generator, run.first_version + step + 1, run.fingerprint, run.signal.sync)
    return watch.line(step, batch, metrics, sync)


@contextmanager
def generate_on_policy(run: StageRun) -> Iterator[OnPolicy]:
    yield OnPolicy(run)


class OnPolicy:
    """Implements `batch.Generation`: the weights do not change between generation and update."""

    max_staleness = 0

    def __init__(self, run: StageRun) -> None:
        self.run = run
        self.generated_at: float | None = None

    def start(self, step: int) -> None:
        """Nothing is generated before `rollout` is called."""

    def rollout(self, prompts: Sequence[Prompt]) -> list[GradedGroup]:
        """Graded groups in the order of the prompts. Each group is verified while the next ones are generated."""
        handles = self._until_last(self.run.generator.generate(prompts, self.run.sampling))
        return in_order(self.run.verifier.grade(handles), prompts)

    def unused(self) -> dict[int, list[str]]:
        return {}

    def _until_last(self, handles: Iterator[Any]) -> Iterator[Any]:
        yield from handles
        self.generated_at = time.monotonic()
