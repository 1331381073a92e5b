"""One stage of MGPO, on-policy: every rollout batch gives one update (arXiv 2511.06221, section 3.4).

problems --> generator --> verifier --> tracker (p_c, w_ME, A') --> learner --> weight sync, version + 1
   ^                                                                                |
   +--------------------------------- next step <-----------------------------------+
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vt_ray.progress import bar
from vt_ray.records import GradedGroup, Prompt
from vt_ray.report.last_step import StepPanel, rate
from vt_ray.report.stage_ends import ALL_STEPS
from vt_ray.signal_phase.batch import Batch, gather, in_order
from vt_ray.signal_phase.commit import resume
from vt_ray.signal_phase.stage_end import StageHistory, close_step
from vt_ray.signal_phase.stage_run import StageRun
from vt_ray.signal_phase.step_record import StepWatch
from vt_ray.signal_phase.sync import sync_weights


def run_stage(run: StageRun) -> StageHistory:
    """Train through the stage's steps, from the newest committed one; every step is a line in the metrics.

    Returns how far it came and why it ended.
    """
    start = resume(run)
    sync_weights(run.learner, run.generator, run.first_version + start, run.fingerprint, run.signal.sync)
    history = StageHistory.read(run, start)
    with bar(run.stage.name, run.stage.steps, start) as advance:
        while not history.ended:
            line = mgpo_step(run, history.steps)
            close_step(run, line, history, lambda prompts: rollout(run, prompts))
            advance(note(line, history.ended), 1, StepPanel(line))
    return history


def mgpo_step(run: StageRun, step: int) -> dict[str, Any]:
    """Generate, verify, weigh, update, sync: the paper's step in its order. Returns the line for the metrics."""
    watch = StepWatch(run)
    with watch("generate"):
        batch = gather(run, step, lambda prompts: rollout(run, prompts, watch))
    return update(run, step, batch, watch)


def rollout(run: StageRun, prompts: Sequence[Prompt], watch: StepWatch | None = None) -> list[GradedGroup]:
    """Graded groups, in the order of the prompts. Each is verified as it comes: the verification that is left
    after the last one is the step's second figure."""
    handles = run.generator.generate(prompts, run.sampling)
    return in_order(run.verifier.grade(watch.last_of(handles) if watch else handles), prompts)


def update(run: StageRun, step: int, batch: Batch, watch: StepWatch) -> dict[str, Any]:
    """From the weighed batch to generators that hold the next version."""
    with watch("update"):
        metrics = run.learner.mgpo_step(
            batch.groups, batch.weights, run.signal.mgpo, run.stage.temperature, run.stage.max_new_tokens
        )
    with watch("rest"):
        path = run.rollout_file(step)
        run.recorder.write(path, run.stage.name, step + 1, batch.drawn, batch.drawn_weights, batch.fates)
    with watch("sync"):
        sync = sync_weights(run.learner, run.generator, run.first_version + step + 1, run.fingerprint, run.signal.sync)
    return watch.line(step, batch, metrics, sync)


def note(line: dict[str, Any], ended: str) -> str:
    """What stands beside the bar: the figures of the moment, or why a gate has ended the stage."""
    if ended not in ("", ALL_STEPS):
        return ended
    generated, updated = (rate(line[f"{what}_tokens_per_second"]) for what in ("generated", "updated"))
    return f"reward {line['reward_mean']:.3f}  gen {generated}, train {updated} tok/s"
