"""One stage's inputs and actors, and its steps' prompts, seeds, sampling and advantage settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from vt_ray.config import MgpoConfig, SignalConfig, StageConfig
from vt_ray.data.mixture import Mixture
from vt_ray.data.prompts import PromptEncoder
from vt_ray.data.stream import batch_indices, refill_indices, weighted_indices
from vt_ray.interfaces import Generator, Learner, Recorder, Tracker, Verifier
from vt_ray.records import AdvantageConfig, Problem, Prompt, Sampling
from vt_ray.run.metrics_log import MetricsLog
from vt_ray.run.paths import StagePaths
from vt_ray.run.step_line import EvaluationFigures, StepLine


@dataclass(frozen=True)
class StageRun:
    """Everything that one stage works with.

    `first_version` is the weight version that the stage starts from. `problems` is its pool after the filter, and its
    gate measures the accuracy on `probe_problems`. Both sides of a weight sync must agree on the log-probabilities of
    the token ids in `fingerprint`. `evaluate` measures the current weights on the held-out problems after the given
    number of steps. `busy_seconds`, `engine_counters` and `publish` are those of the `Cluster`. `mixture` shares the
    questions of a step among sources with weights.
    """

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
    evaluate: Callable[[int], EvaluationFigures]
    busy_seconds: Callable[[], dict[str, float]]
    log: MetricsLog
    paths: StagePaths
    mixture: Mixture | None = None
    engine_counters: Callable[[], dict[str, dict[str, Any]]] = dict
    publish: Callable[[StepLine], None] = lambda line: None

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.stage.temperature, self.stage.top_p, 0, self.stage.max_new_tokens)

    @property
    def advantage_config(self) -> AdvantageConfig:
        return advantage_config(self.stage, self.signal.mgpo)


def advantage_config(stage: StageConfig, mgpo: MgpoConfig) -> AdvantageConfig:
    """The advantage settings of a stage. Its own lambda, if it has one, replaces that of `signal.mgpo`."""
    return AdvantageConfig(
        lam=mgpo.lam if stage.lam is None else stage.lam,
        advantage_norm=mgpo.advantage_norm,
        length_reward=stage.length_reward,
        weight=mgpo.weight,
        group_size=stage.group_size,
        pass_k=stage.pass_k,
        overlong_buffer=stage.overlong_buffer,
        max_new_tokens=stage.max_new_tokens,
    )


def step_key(run: StageRun, step: int) -> tuple[Any, ...]:
    """The key of every random draw in a step: the run's seed, the seed of the signal phase, stage and step."""
    return run.seed, run.signal.seed, run.stage.name, step


def step_prompts(run: StageRun, step: int) -> list[Prompt]:
    """The step's questions. Their order and seeds depend only on (seeds, stage, step), and with `sampling` = "tracker"
    also on the accuracies in the tracker."""
    *stage_key, _ = key = step_key(run, step)
    count = min(run.stage.prompts_per_step, len(run.problems))
    if run.stage.sampling == "tracker":
        ids = [problem.question_id for problem in run.problems]
        expected = run.tracker.expected_weights(ids, run.first_version + step, run.advantage_config)
        chosen = weighted_indices(expected, count, ("tracker", *key))
    else:
        chosen = batch_indices(len(run.problems), count, step, stage_key, run.mixture)
    return _prompts(run, step, chosen)


def refill_prompts(run: StageRun, step: int, used: Sequence[Prompt], count: int) -> list[Prompt]:
    """Up to `count` more questions for the step, without the questions of its prompts in `used`.

    Each step has an order of refills of its own, so the number of refills of one step does not change the next step.
    """
    taken = {prompt.problem.question_id for prompt in used}
    order = refill_indices(len(run.problems), ("refill", *step_key(run, step)), run.mixture)
    chosen = islice((i for i in order if run.problems[i].question_id not in taken), count)
    return _prompts(run, step, list(chosen))


def _prompts(run: StageRun, step: int, chosen: Sequence[int]) -> list[Prompt]:
    problems = [run.problems[i] for i in chosen]
    return run.encoder.prompts(problems, run.stage.group_size, step_key(run, step), step)
