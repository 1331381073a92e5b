"""The vt_ray side of step_vs_trl.py: a stage on a RayCluster as `signal_phase.curriculum` opens it, with made rewards.

Setting --Hydra--> Config --RayCluster--> StageRun, whose verifier is `MadeVerifier` --> loop.mgpo_step
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from vt_ray.config import Config, to_config
from vt_ray.records import GradedGroup, Rollouts, Verdict

# Threads of each side. vt_ray has two processes of one thread each, which is faster than one process of two. TRL has
# one process with two threads, as on one machine of a user. Two processes of TRL were not tried.
THREADS = 2
LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Setting:
    """`micro_batch`: completions that TRL computes at once, the faster choice. `steps`: steps of a block; `blocks`:
    blocks of each side, which alternate."""

    model: str
    prompts: int
    max_new_tokens: int
    micro_batch: int
    warm_up: int
    steps: int
    blocks: int
    group_size: int = 8


class MadeVerifier:
    """Implements `interfaces.Verifier`: every second sample is right; with `half`, none in every second group."""

    def __init__(self, pool: Any):
        self.pool, self.half = pool, False
        self.graded: list[Rollouts] = []

    def counts(self) -> Any:
        return self.pool.counts()

    def grade(self, rollouts: Iterable[Any]) -> Iterator[GradedGroup]:
        import ray

        self.graded = []
        for index, handle in zip(count(), rollouts, strict=False):
            group = ray.get(handle)
            self.graded.append(group)
            yield graded_group(handle, group, silent=self.half and index % 2 == 1)


def graded_group(handle: Any, group: Rollouts, silent: bool) -> GradedGroup:
    right = [c.sample % 2 == 1 and not silent for c in group.completions]
    return GradedGroup(
        question_id=group.problem.question_id,
        subdomain=group.problem.subdomain,
        verdicts=tuple(Verdict("correct" if r else "wrong") for r in right),
        prompt_tokens=len(group.prompt_token_ids),
        completion_tokens=tuple(len(c.token_ids) for c in group.completions),
        truncated=tuple(c.finish_reason == "length" for c in group.completions),
        rollouts=handle,
        step=group.step,
        first_versions=tuple(c.version_runs[0][0] for c in group.completions),
    )


def composed(setting: Setting, steps: int) -> Config:
    from hydra import compose, initialize_config_dir

    from vt_ray.main import CONF

    stage = (
        f"{{name: step, subdomains: [algebra, geometry, calculus, statistics], steps: {steps}, "
        f"prompts_per_step: {setting.prompts}, group_size: {setting.group_size}, "
        f"max_new_tokens: {setting.max_new_tokens}}}"
    )
    overrides = [
        *("experiment=demo", f"model={setting.model}", f"curriculum.stages=[{stage}]", "signal.mgpo.lam=0"),
        *(f"signal.optimizer.lr={LEARNING_RATE}", "signal.optimizer.warmup_steps=0", "cluster.num_verifiers=1"),
        *(f"cluster.num_generators={THREADS}", f"cluster.num_learners={THREADS}"),
        *("cluster.generator_threads=1", "cluster.learner_threads=1"),
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_config(compose("config", overrides))


def open_run(opened: ExitStack, config: Config, folder: Path) -> tuple[Any, Path]:
    """Opens the stage like `curriculum` except for the verifier; generators have version 0. Yields stage and model."""
    from transformers import AutoTokenizer

    from vt_ray.actors.cluster import RayCluster
    from vt_ray.data.problem_sets import load_problem_sets, stage_problems
    from vt_ray.data.prompts import PromptEncoder
    from vt_ray.engines.base_model import prepare_base_model
    from vt_ray.run.metrics_log import MetricsLog
    from vt_ray.run.paths import RunPaths
    from vt_ray.signal_phase.stage_run import StageRun
    from vt_ray.signal_phase.sync import sync_weights

    problems, stage, model = load_problem_sets(config.data, config.seed), config.curriculum.stages[0], folder / "model"
    corpus = [text for p in problems.train for text in (p.question, *(s.text for s in p.solutions))]
    prepare_base_model(config.model, corpus, config.seed, model, config.context_tokens)
    encoder = PromptEncoder(AutoTokenizer.from_pretrained(model), config.data)
    cluster = opened.enter_context(RayCluster(config, folder / "logs"))
    run = StageRun(
        stage=stage,
        signal=config.signal,
        seed=config.seed,
        first_version=0,
        problems=stage_problems(stage, problems.train),
        probe_problems=[],
        encoder=encoder,
        fingerprint=encoder.fingerprint(problems.train[0], config.signal.sync.fingerprint_tokens),
        generator=opened.enter_context(cluster.generator(model)),
        verifier=MadeVerifier(opened.enter_context(cluster.verifier())),
        tracker=opened.enter_context(cluster.tracker(config.tracker)),
        learner=opened.enter_context(cluster.learner(model, config.signal.optimizer, stage.steps)),
        recorder=opened.enter_context(cluster.recorder()),
        evaluate=lambda _: {},
        busy_seconds=cluster.busy_seconds,
        log=MetricsLog(folder / "metrics.jsonl"),
        paths=RunPaths(folder).stage(stage.name),
    )
    sync_weights(run.learner, run.generator, 0, run.fingerprint, run.signal.sync)
    return run, model
