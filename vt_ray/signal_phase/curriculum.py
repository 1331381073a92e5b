"""The stages of the curriculum in order: each starts from the model of the previous one (section 3.4).

start model --filter--> pool --loop or pipelined, until the gate--> rl/<stage>/model, stage.json --> the next stage
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vt_ray.config import ConfigError, OptimizerConfig, StageConfig
from vt_ray.data.problem_sets import of_stage, stage_mixture, stage_problems
from vt_ray.evaluation.milestones import milestone_summaries
from vt_ray.experiment import Experiment
from vt_ray.interfaces import Generator, Recorder, Tracker, Verifier
from vt_ray.records import Problem
from vt_ray.run.checkpoint import commit_of_step, exists, newest, read_json, write_folder, write_json
from vt_ray.run.metrics_log import MetricsLog
from vt_ray.run.paths import StagePaths, step_name
from vt_ray.run.step_line import EvaluationFigures
from vt_ray.signal_phase.commit import LEARNER, TRACKER
from vt_ray.signal_phase.loop import StageDisplay, run_stage
from vt_ray.signal_phase.offline_filter import filtered, measure_pool
from vt_ray.signal_phase.stage_run import StageRun

# evaluate(experiment, milestone, generator, verifier, folder) scores the weights that the generator holds.
Evaluate = Callable[[Experiment, str, Generator, Verifier, Path], None]


@dataclass(frozen=True)
class StageActors:
    """The actors that all stages share. Each stage opens a learner of its own."""

    generator: Generator
    verifier: Verifier
    tracker: Tracker
    recorder: Recorder


@dataclass(frozen=True)
class StageStart:
    """The model and weight version that a stage starts from. `previous` is the previous stage, None for the first."""

    model: Path
    version: int
    previous: StagePaths | None = None

    @staticmethod
    def after(previous: StagePaths) -> StageStart:
        return StageStart(previous.model, read_json(previous.end)["weight_version"], previous)


def run_curriculum(e: Experiment, start_model: Path, evaluate: Evaluate, display: StageDisplay) -> list[str]:
    """Train every stage in rl/<stage>/ and evaluate it. Returns the names of the stages.

    A finished stage is not repeated, and an interrupted stage resumes from its newest commit.
    """
    stages = e.config.curriculum.stages
    names = [stage.name for stage in stages]
    if all(e.run.paths.scores(name).exists() for name in names):
        return names
    with open_actors(e) as actors:
        start = StageStart(start_model, 0)
        for stage in stages:
            paths = e.run.paths.stage(stage.name)
            if not exists(paths.end):
                with open_stage(e, actors, stage, start, evaluate) as run:
                    end = run_stage(run, display)
                    write_folder(paths.model, run.learner.save_hf)
                write_json(paths.end, end.record(stage.name, start.version))
            start = StageStart.after(paths)
            actors.generator.load_checkpoint(start.model, start.version)
            evaluate(e, stage.name, actors.generator, actors.verifier, e.run.paths.evaluation)
    return names


@contextmanager
def open_actors(e: Experiment) -> Iterator[StageActors]:
    with (
        e.cluster.generator(e.base) as generator,
        e.cluster.verifier() as verifier,
        e.cluster.tracker(e.config.tracker) as tracker,
        e.cluster.recorder() as recorder,
    ):
        yield StageActors(generator, verifier, tracker, recorder)


@contextmanager
def open_stage(
    e: Experiment, actors: StageActors, stage: StageConfig, start: StageStart, evaluate: Evaluate
) -> Iterator[StageRun]:
    """Open the learner and everything else that the stage needs.

    A stage without a commit takes the tracker, and on request the optimizer state, of the previous stage. A stage with
    commits needs neither, because it resumes from its newest commit.
    """
    signal, paths = e.config.signal, e.run.paths.stage(stage.name)
    is_new = newest(paths.checkpoints) is None
    if is_new and start.previous:
        actors.tracker.load(_last_commit(start.previous) / TRACKER)
    pool = _pool(e, actors, stage, start, is_new)
    mixture = stage_mixture(stage, pool, e.problems.sources)
    if mixture:
        write_json(paths.mixture, {"sources": list(mixture.sources), "weights": list(mixture.weights)})
    optimizer = stage_optimizer(signal.optimizer, stage)

    def evaluate_step(step: int) -> EvaluationFigures:
        evaluate(e, step_name(step), actors.generator, actors.verifier, paths.evaluation)
        return evaluation_figures(paths.evaluation / f"{step_name(step)}.json")

    with e.cluster.learner(start.model, optimizer, stage.steps, signal.mgpo.kl_coef > 0) as learner:
        if is_new and start.previous and stage.optimizer_state == "keep":
            learner.load_state(_last_commit(start.previous) / LEARNER, restart_schedule=True)
        yield StageRun(
            stage=stage,
            signal=signal,
            seed=e.config.seed,
            first_version=start.version,
            problems=pool,
            probe_problems=of_stage(stage, e.problems.probe),
            encoder=e.encoder,
            fingerprint=e.encoder.fingerprint(e.problems.train[0], signal.sync.fingerprint_tokens),
            generator=actors.generator,
            verifier=actors.verifier,
            tracker=actors.tracker,
            learner=learner,
            recorder=actors.recorder,
            evaluate=evaluate_step,
            busy_seconds=e.cluster.busy_seconds,
            log=MetricsLog(e.run.paths.metrics),
            paths=paths,
            mixture=mixture,
            engine_counters=e.cluster.engine_counters,
            publish=e.cluster.publish,
        )


def evaluation_figures(scores: Path) -> EvaluationFigures:
    """Pass@1 and its cost from a file of held-out scores."""
    record, (summary,) = read_json(scores), milestone_summaries([scores], 1)
    passed = summary["pass_at_1"]
    tokens = sum(score["tokens"] for score in record["scores"])
    return {
        "pass_at_1": passed["mean"],
        "low": passed["low"],
        "high": passed["high"],
        "seconds": record["seconds"],
        "tokens": tokens,
    }


def stage_optimizer(optimizer: OptimizerConfig, stage: StageConfig) -> OptimizerConfig:
    """The optimizer of the signal phase, with the stage's own learning rate if it has one."""
    return optimizer if stage.lr is None else replace(optimizer, lr=stage.lr)


def _last_commit(stage: StagePaths) -> Path:
    """The last commit of a finished stage. Raises CheckpointError if it is lost: an older commit holds other weights
    and another tracker."""
    return commit_of_step(stage.checkpoints, read_json(stage.end)["steps"])


def _pool(e: Experiment, actors: StageActors, stage: StageConfig, start: StageStart, is_new: bool) -> list[Problem]:
    """The stage's problems, after its filter if it has one.

    Their ids are written to pool.json: `vt-tools audit` computes the questions of each step from them and the seeds.
    """
    paths = e.run.paths.stage(stage.name)
    paths.folder.mkdir(parents=True, exist_ok=True)
    pool = stage_problems(stage, e.problems.train)
    if stage.filter_samples:
        key = (e.config.seed, e.config.signal.seed, stage.name)
        actors.generator.load_checkpoint(start.model, start.version)
        groups = measure_pool(stage, pool, e.encoder, key, actors.generator, actors.verifier, paths.filter)
        if is_new:
            # The tracker in a commit of the stage contains these verdicts already.
            actors.tracker.note(groups, start.version)
        pool = filtered(stage, pool, groups)
    ids = [problem.question_id for problem in pool]
    if not is_new and exists(paths.pool):
        _refuse_other_pool(stage.name, read_json(paths.pool), ids)
    write_json(paths.pool, ids)
    return pool


def _refuse_other_pool(stage: str, known: Sequence[str], ids: Sequence[str]) -> None:
    """Raises ConfigError if a stage would continue with other questions, or the same ones in another order."""
    if known != ids:
        raise ConfigError(
            f"stage {stage} began with {len(known):,} questions and has {len(ids):,} now, of which "
            f"{len({*known} & {*ids}):,} are the same: this version of vt_ray reads other questions or gives them "
            "other ids; continue with the version that began the run, or set another run_name=..."
        )
