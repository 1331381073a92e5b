"""The stages one after the other: each starts from the model of the one before (section 3.4).

start model --filter--> pool --loop or pipelined, until the gate--> rl/<stage>/model, stage.json --> the next stage
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vt_ray.checkpoint import newest, write_folder, write_json
from vt_ray.config import Config, OptimizerConfig, StageConfig
from vt_ray.data.problem_sets import ProblemSets, of_stage, stage_problems
from vt_ray.data.prompts import PromptEncoder
from vt_ray.interfaces import Cluster, Generator, Recorder, Tracker, Verifier
from vt_ray.records import Problem
from vt_ray.signal_phase import loop, pipelined
from vt_ray.signal_phase.commit import LEARNER, TRACKER
from vt_ray.signal_phase.offline_filter import filtered, measure_pool
from vt_ray.signal_phase.stage_end import StageHistory
from vt_ray.signal_phase.stage_run import StageRun
from vt_ray.tracking import MetricsLog

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
        model, version, before = start_model, 0, None
        for stage in config.curriculum.stages:
            folder = root / "rl" / stage.name
            if not (folder / STAGE_DONE).exists():
                end = _train(all_stages, stage, model, version, before)
                _write_end(folder, stage, version, end)
            elif (found := newest(folder / "checkpoints")) is not None:
                all_stages.tracker.load(found[0] / TRACKER)
            version = json.loads((folder / STAGE_DONE).read_text())["weight_version"]
            model, before = folder / "model", folder
            all_stages.generator.load_checkpoint(model, version)
            after_stage(stage, all_stages.generator, all_stages.verifier)


def _train(c: Curriculum, stage: StageConfig, model: Path, version: int, before: Path | None) -> StageHistory:
    """One stage from `model` to rl/<stage>/model; `before` is the folder of the stage before."""
    config, folder = c.config, c.root / "rl" / stage.name
    pool = _pool(c, stage, model, version, folder)
    optimizer = stage_optimizer(config.signal.optimizer, stage)
    with c.cluster.learner(model, optimizer, stage.steps, config.signal.mgpo.kl_coef > 0) as learner:
        if stage.optimizer_state == "keep" and before is not None and (kept := newest(before / "checkpoints")):
            learner.load_state(kept[0] / LEARNER, restart_schedule=True)
        run = StageRun(
            stage=stage,
            signal=config.signal,
            seed=config.seed,
            first_version=version,
            problems=pool,
            held_out=of_stage(stage, c.problems.probe),
            encoder=c.encoder,
            probe=c.encoder.text_probe(c.problems.train[0], config.signal.sync.probe_tokens),
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


def _pool(c: Curriculum, stage: StageConfig, model: Path, version: int, folder: Path) -> list[Problem]:
    """The stage's problems, filtered where it asks for it. Their ids lie in pool.json: from them and the seeds an
    auditor knows what every step had to ask."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = stage_problems(stage, c.problems.train)
    if stage.filter_samples:
        key = (c.config.seed, c.config.signal.seed, stage.name)
        c.generator.load_checkpoint(model, version)
        groups = measure_pool(stage, pool, c.encoder, key, c.generator, c.verifier, folder / "filter")
        if newest(folder / "checkpoints") is None:
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
