"""What one stage works with, and what all its steps are named by: prompts, seeds, sampling, advantage_config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vt_ray.config import MgpoConfig, SignalConfig, StageConfig
from vt_ray.data.prompts import PromptEncoder
from vt_ray.data.stream import batch_indices, refill_indices, weighted_indices
from vt_ray.interfaces import Generator, Learner, Recorder, Tracker, Verifier
from vt_ray.records import AdvantageConfig, Problem, Prompt, Sampling
from vt_ray.run.metrics_log import MetricsLog


@dataclass(frozen=True)
class StageRun:
    """What one stage works with. `first_version` is the weight version it starts from, `problems` its pool after the
    filter, `probe_problems` what its gate looks at; `busy_seconds` is the cluster's."""

    stage: StageConfig
    signal: SignalConfig
    seed: int
    first_version: int
    problems: Sequence[Problem]
    probe_problems: Sequence[Problem]
    encoder: PromptEncoder
    fingerprint: Sequence[int]
    generator: Generator
    verifier: Verifier
    tracker: Tracker
    learner: Learner
    recorder: Recorder
    busy_seconds: Callable[[], dict[str, float]]
    log: MetricsLog
    rollouts: Path
    checkpoints: Path

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.stage.temperature, self.stage.top_p, 0, self.stage.max_new_tokens)

    @property
    def advantage_config(self) -> AdvantageConfig:
        return advantage_config(self.stage, self.signal.mgpo)

    def rollout_file(self, step: int) -> Path:
        return self.rollouts / f"step_{step + 1:06d}.parquet"


def advantage_config(stage: StageConfig, mgpo: MgpoConfig) -> AdvantageConfig:
    """How the stage weighs its groups: its own lambda, where it has one."""
    return AdvantageConfig(mgpo.lam if stage.lam is None else stage.lam, mgpo.advantage_norm, stage.length_reward)


def step_key(run: StageRun, step: int) -> tuple[Any, ...]:
    """All that chance in a step depends on: the run's seed, the signal phase's own, stage and step."""
    return run.seed, run.signal.seed, run.stage.name, step


def step_prompts(run: StageRun, step: int) -> list[Prompt]:
    """The step's questions, in an order and with seeds that depend on (seeds, stage, step) alone; with `sampling` =
    "tracker" the questions depend on what the tracker knows too."""
    *stage_key, _ = key = step_key(run, step)
    count = min(run.stage.prompts_per_step, len(run.problems))
    if run.stage.sampling == "tracker":
        ids = [problem.question_id for problem in run.problems]
        expected = run.tracker.expected_weights(ids, run.first_version + step, run.advantage_config.lam)
        chosen = weighted_indices(expected, count, ("tracker", *key))
    else:
        chosen = batch_indices(len(run.problems), count, step, stage_key)
    return _prompts(run, step, chosen)


def refill_prompts(run: StageRun, step: int, drawn: Sequence[Prompt], count: int) -> list[Prompt]:
    """Up to `count` questions more for the step, none of those `drawn` for it: an order of its own for each step, so
    that how much one step needs changes nothing in the next."""
    taken = {prompt.problem.question_id for prompt in drawn}
    order = refill_indices(len(run.problems), ("refill", *step_key(run, step)))
    chosen = [i for i in order if run.problems[i].question_id not in taken]
    return _prompts(run, step, chosen[:count])


def _prompts(run: StageRun, step: int, chosen: Sequence[int]) -> list[Prompt]:
    problems = [run.problems[i] for i in chosen]
    return run.encoder.prompts(problems, run.stage.group_size, step_key(run, step), step)
