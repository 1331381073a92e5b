"""The stages one after the other: each starts from the model of the one before (section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vt_ray.checkpoint import newest, write_folder, write_json
from vt_ray.config import Config, StageConfig
from vt_ray.data.problem_sets import stage_problems
from vt_ray.data.prompts import PromptEncoder
from vt_ray.interfaces import Cluster, Generator, Verifier
from vt_ray.records import Problem
from vt_ray.signal_phase.loop import StageRun, run_stage
from vt_ray.tracking import MetricsLog

STAGE_DONE = "stage.json"


def run_curriculum(
    config: Config,
    cluster: Cluster,
    base: Path,
    start_model: Path,
    problems: Sequence[Problem],
    encoder: PromptEncoder,
    root: Path,
    after_stage: Callable[[StageConfig, Generator, Verifier], None],
) -> None:
    """Run every stage into `root`/rl/<stage>/; `after_stage` is called with generators that hold its result.

    A finished stage is not repeated; an interrupted one goes on from its newest commit.
    """
    log = MetricsLog(root / "metrics.jsonl")
    model, version = start_model, 0
    with (
        cluster.generator(base) as generator,
        cluster.verifier() as verifier,
        cluster.tracker(config.tracker) as tracker,
        cluster.recorder() as recorder,
    ):
        for stage in config.curriculum.stages:
            folder = root / "rl" / stage.name
            if not (folder / STAGE_DONE).exists():
                with cluster.learner(model, config.signal.optimizer, stage.steps) as learner:
                    run = StageRun(
                        stage=stage,
                        signal=config.signal,
                        seed=config.seed,
                        first_version=version,
                        problems=stage_problems(stage, problems),
                        encoder=encoder,
                        probe=encoder.text_probe(problems[0], config.signal.sync.probe_tokens),
                        generator=generator,
                        verifier=verifier,
                        tracker=tracker,
                        learner=learner,
                        recorder=recorder,
                        busy_seconds=cluster.busy_seconds,
                        log=log,
                        rollouts=root / "rollouts" / stage.name,
                        checkpoints=folder / "checkpoints",
                    )
                    run_stage(run)
                    write_folder(folder / "model", learner.save_hf)
                write_json(folder / STAGE_DONE, {"stage": stage.name, "weight_version": version + stage.steps})
            elif (found := newest(folder / "checkpoints")) is not None:
                tracker.load(found[0] / "tracker.json")
            model, version = folder / "model", version + stage.steps
            generator.load_checkpoint(model, version)
            after_stage(stage, generator, verifier)
