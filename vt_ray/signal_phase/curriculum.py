"""The stages one after the other: each starts from the model of the one before (section 3.4).

start model --filter--> pool --loop or pipelined, until the gate--> rl/<stage>/model, stage.json --> the next stage
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vt_ray.config import Config, OptimizerConfig, StageConfig
from vt_ray.data.problem_sets import ProblemSets, of_stage, stage_problems
from vt_ray.data.prompts import PromptEncoder
from vt_ray.interfaces import Cluster, Generator, Recorder, Tracker, Verifier
from vt_ray.records import Problem
from vt_ray.run.checkpoint import exists, newest, of_step, read_json, write_folder, write_json
from vt_ray.run.metrics_log import MetricsLog
from vt_ray.signal_phase import loop, pipelined
from vt_ray.signal_phase.commit import LEARNER, TRACKER
from vt_ray.signal_phase.offline_filter import filtered, measure_pool
from vt_ray.signal_phase.stage_end import StageHistory
from vt_ray.signal_phase.stage_run import StageRun

STAGE_DONE = "stage.json"
POOL = "pool.json"


@dataclass(frozen=True)
class Curriculum:
    """What all stages share. `root` is the run's folder, `base` what the engines are opened with."""

    config: Config
    cluster: Cluster
    base: Path
    problems: ProblemSets
    encoder: PromptEncoder
    root: Path
    log: MetricsLog
    generator: Generator
    verifier: Verifier
    tracker: Tracker
    recorder: Recorder


def run_curriculum(
    config: Config,
    cluster: Cluster,
    base: Path,
    start_model: Path,
    problems: ProblemSets,
    encoder: PromptEncoder,
    root: Path,
    after_stage: Callable[[StageConfig, Generator, Verifier], None],
) -> None:
    """Run every stage into `root`/rl/<stage>/; `after_stage` is called with generators that hold its result.

    A finished stage is not repeated; an interrupted one goes on from its newest commit.
    """
    with ExitStack() as opened:
        all_stages = Curriculum(
            config=config,
            cluster=cluster,
            base=base,
            problems=problems,
            encoder=encoder,
            root=root,
            log=MetricsLog(root / "metrics.jsonl"),
            generator=opened.enter_context(cluster.generator(base)),
            verifier=opened.enter_context(cluster.verifier()),
            tracker=opened.enter_context(cluster.tracker(config.tracker)),
            recorder=opened.enter_context(cluster.recorder()),
        )
        model, version, before, tracker_of = start_model, 0, None, None
        for stage in config.curriculum.stages:
            folder = root / "rl" / stage.name
            finished = exists(folder / STAGE_DONE)
            if not finished:
                end = _train(all_stages, stage, model, version, before, tracker_of)
                _write_end(folder, stage, version, end)
            version = read_json(folder / STAGE_DONE)["weight_version"]
            model, before = folder / "model", folder
            # The tracker of a stage that an earlier start has finished is on disk only.
            tracker_of = folder if finished else None
            all_stages.generator.load_checkpoint(model, version)
            after_stage(stage, all_stages.generator, all_stages.verifier)


def _train(
    c: Curriculum, stage: StageConfig, model: Path, version: int, before: Path | None, tracker_of: Path | None
) -> StageHistory:
    """One stage from `model` to rl/<stage>/model; `before` is the folder of the stage before, `tracker_of` the same
    folder where its tracker is to be loaded. A stage that has commits needs neither: it goes on from these."""
    config, folder = c.config, c.root / "rl" / stage.name
    begins = newest(folder / "checkpoints") is None
    if begins and tracker_of is not None:
        c.tracker.load(_last_commit(tracker_of) / TRACKER)
    pool = _pool(c, stage, model, version, folder, begins)
    optimizer = stage_optimizer(config.signal.optimizer, stage)
    with c.cluster.learner(model, optimizer, stage.steps, config.signal.mgpo.kl_coef > 0) as learner:
        if begins and before is not None and stage.optimizer_state == "keep":
            learner.load_state(_last_commit(before) / LEARNER, restart_schedule=True)
        run = StageRun(
            stage=stage,
            signal=config.signal,
            seed=config.seed,
            first_version=version,
            problems=pool,
            probe_problems=of_stage(stage, c.problems.probe),
            encoder=c.encoder,
            fingerprint=c.encoder.fingerprint(c.problems.train[0], config.signal.sync.fingerprint_tokens),
            generator=c.generator,
            verifier=c.verifier,
            tracker=c.tracker,
            learner=learner,
            recorder=c.recorder,
            busy_seconds=c.cluster.busy_seconds,
            log=c.log,
            rollouts=c.root / "rollouts" / stage.name,
            checkpoints=folder / "checkpoints",
        )
        run_stage = pipelined.run_stage if config.signal.schedule == "pipelined" else loop.run_stage
        end = run_stage(run)
        write_folder(folder / "model", learner.save_hf)
    return end


def stage_optimizer(optimizer: OptimizerConfig, stage: StageConfig) -> OptimizerConfig:
    """The signal phase's, at the stage's own rate where it has one."""
    return optimizer if stage.lr is None else replace(optimizer, lr=stage.lr)


def _last_commit(folder: Path) -> Path:
    """The commit that the finished stage in `folder` ended with. Raises CheckpointError where it is lost: an older one
    holds other weights and another tracker."""
    return of_step(folder / "checkpoints", read_json(folder / STAGE_DONE)["steps"])


def _pool(c: Curriculum, stage: StageConfig, model: Path, version: int, folder: Path, begins: bool) -> list[Problem]:
    """The stage's problems, filtered where it asks for it. Their ids lie in pool.json: from them and the seeds an
    auditor knows what every step had to ask. `begins`: the stage has no commit yet."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = stage_problems(stage, c.problems.train)
    if stage.filter_samples:
        key = (c.config.seed, c.config.signal.seed, stage.name)
        c.generator.load_checkpoint(model, version)
        groups = measure_pool(stage, pool, c.encoder, key, c.generator, c.verifier, folder / "filter")
        if begins:
            # A commit of the stage holds a tracker that knows of them.
            c.tracker.note(groups, version)
        pool = filtered(stage, pool, groups)
    write_json(folder / POOL, [problem.question_id for problem in pool])
    return pool


def _write_end(folder: Path, stage: StageConfig, version: int, end: StageHistory) -> None:
    record: dict[str, Any] = {
        "stage": stage.name,
        "first_version": version,
        "steps": end.steps,
        "weight_version": version + end.steps,
        "ended": end.ended,
        # Begun ahead, for steps that never came: dropped, and named here for the audit.
        "unused": end.unused,
    }
    write_json(folder / STAGE_DONE, record)
