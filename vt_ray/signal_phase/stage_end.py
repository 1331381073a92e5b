"""The end of each step: probe and evaluation, the line in the metrics, the end of the stage, saved model, commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from vt_ray.algorithms.pass_at_k import mean_accuracy
from vt_ray.run.skipped_steps import SkippedSteps
from vt_ray.run.stage_ends import ALL_STEPS
from vt_ray.run.step_line import GateFigures, StepLine
from vt_ray.signal_phase import gate
from vt_ray.signal_phase.batch import Rollout
from vt_ray.signal_phase.commit import commit_step
from vt_ray.signal_phase.saved_models import save_model
from vt_ray.signal_phase.stage_run import StageRun

# The step number of the prompts of the gate, which belong to no step of the stage.
GATE_STEP = -1


@dataclass
class StageHistory:
    """The progress of a stage: the number of `steps` done, and the probe accuracies and truncated shares so far.

    `accuracy_of_step` has the same probe accuracies by step.
    `ended` is the reason for the stage's end, "" before it. `unused` are questions by step (from 0) that were generated
    ahead for steps that the stage did not reach. `skipped` counts the steps that made no update.
    """

    steps: int = 0
    ended: str = ""
    probe_accuracy: list[float] = field(default_factory=list)
    accuracy_of_step: dict[int, float] = field(default_factory=dict)
    truncated: list[float] = field(default_factory=list)
    unused: dict[int, list[str]] = field(default_factory=dict)
    skipped: SkippedSteps = field(default_factory=SkippedSteps)

    @staticmethod
    def read(run: StageRun, start: int) -> StageHistory:
        """The history of a stage that resumes after `start` steps, from its lines in the metrics."""
        history = StageHistory()
        for line in run.log.lines() if start else []:
            if line["stage"] == run.stage.name:
                history.add(cast(StepLine, line))
        history.steps = start
        history.decide(run)
        return history

    def add(self, line: StepLine) -> None:
        self.steps = line["step"]
        line.update(self.skipped.count(line))
        self.truncated.append(line["truncated_share"])
        if (accuracy := line.get("probe_accuracy")) is not None:
            self.probe_accuracy.append(accuracy)
            self.accuracy_of_step[self.steps] = accuracy

    def decide(self, run: StageRun) -> None:
        reason = gate.end_reason(run.stage.gate, self.steps, self.probe_accuracy, self.truncated)
        self.ended = reason or (ALL_STEPS if self.steps >= run.stage.steps else "")

    def record(self, stage: str, first_version: int) -> dict[str, Any]:
        """The content of stage.json, with the questions that were generated ahead for nothing, for `vt-tools audit`."""
        return {
            "stage": stage,
            "first_version": first_version,
            "steps": self.steps,
            "weight_version": first_version + self.steps,
            "ended": self.ended,
            "unused": self.unused,
        }


def close_step(run: StageRun, line: StepLine, history: StageHistory, rollout: Rollout) -> None:
    """Probe and evaluate if it is due, write the step's line, decide whether the stage ends, save and commit.

    Raises TrainingDiverged after several steps in a row without an update.
    """
    if gate.due(run.stage.gate, line["step"]):
        line.update(measure_probe_accuracy(run, rollout))
    if run.signal.evaluate_every and line["step"] % run.signal.evaluate_every == 0:
        line["evaluation"] = run.evaluate(line["step"])
    history.add(line)
    history.decide(run)
    run.log.write(line)
    run.publish(line)
    save_model(run, line["step"], history.accuracy_of_step)
    if history.ended or line["step"] % run.signal.checkpoint_every == 0:
        commit_step(run, line["step"])
    history.skipped.raise_if_diverged(f"stage {run.stage.name}: step {line['step']}", line, "signal")


def measure_probe_accuracy(run: StageRun, rollout: Rollout) -> GateFigures:
    """Measure the current weights on the stage's probing problems, with the stage's sampling and always the same seeds.

    `probe_accuracy` is the mean accuracy, or None if no completion has a verdict. `gate` is the cost in tokens and
    seconds.
    """
    start = time.monotonic()
    # "held out" is part of the seeds and must stay as it is.
    key = (run.seed, run.signal.seed, run.stage.name, "held out")
    groups = rollout(run.encoder.prompts(run.probe_problems, run.stage.gate.samples, key, GATE_STEP))
    counts: Sequence[tuple[int, int]] = [(int(sum(g.rewards)), sum(g.valid)) for g in groups]
    tokens = sum(n for group in groups for n in group.completion_tokens)
    return {
        "probe_accuracy": mean_accuracy(counts),
        "gate": {"seconds": time.monotonic() - start, "tokens": tokens},
    }
