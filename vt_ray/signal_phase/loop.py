"""One stage of MGPO, on-policy: every rollout batch gives one update (section 3).

problems --> generator --> verifier --> tracker (p_c, w_ME, A') --> learner --> weight sync, version + 1
   ^                                                                                |
   +--------------------------------- next step <-----------------------------------+
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vt_ray.algorithms.ledger import fates
from vt_ray.checkpoint import commit, newest
from vt_ray.config import MgpoConfig, SignalConfig, StageConfig
from vt_ray.data.prompts import PromptEncoder
from vt_ray.data.stream import batch_indices
from vt_ray.interfaces import Generator, Learner, Recorder, Tracker, Verifier
from vt_ray.progress import bar
from vt_ray.records import GradedGroup, GroupWeight, Problem, Prompt, Sampling, Weighing
from vt_ray.signal_phase.controls import shuffled_rewards
from vt_ray.signal_phase.sync import SyncReport, sync_weights
from vt_ray.signal_phase.verify_record import verify_record
from vt_ray.tracking import MetricsLog


@dataclass(frozen=True)
class StageRun:
    """What one stage works with. `first_version` is the weight version it starts from; `busy_seconds` is the
    cluster's."""

    stage: StageConfig
    signal: SignalConfig
    seed: int
    first_version: int
    problems: Sequence[Problem]
    encoder: PromptEncoder
    probe: Sequence[int]
    generator: Generator
    verifier: Verifier
    tracker: Tracker
    learner: Learner
    recorder: Recorder
    busy_seconds: Callable[[], dict[str, float]]
    log: MetricsLog
    rollouts: Path
    checkpoints: Path


def run_stage(run: StageRun) -> None:
    """Train through the stage's steps, from the newest committed one; every step is a line in the metrics."""
    start = _resume(run)
    sync_weights(run.learner, run.generator, run.first_version + start, run.probe, run.signal.sync)
    with bar(run.stage.name, run.stage.steps, start) as advance:
        for step in range(start, run.stage.steps):
            line = mgpo_step(run, step)
            run.log.write(line)
            advance(f"reward {line['reward_mean']:.3f}  {line['tokens_per_second']:,.0f} tokens/s", 1)
            done = step + 1
            if done % run.signal.checkpoint_every == 0 or done == run.stage.steps:
                _commit(run, done)


def mgpo_step(run: StageRun, step: int) -> dict[str, Any]:
    """Generate, verify, weigh, update, sync: the paper's step in its order. Returns the line for the metrics."""
    version = run.first_version + step
    prompts = step_prompts(run, step)
    busy, counts = run.busy_seconds(), run.verifier.counts()
    clock = _Clock()
    with clock("generate"):
        # Groups are verified as they come: what is left to verify after the last one is the second figure.
        graded = run.verifier.grade(clock.last_of(run.generator.generate(prompts, _sampling(run.stage))))
        groups = in_order(graded, prompts)
    verify = verify_record(groups, [prompt.problem.kind for prompt in prompts], counts, run.verifier.counts())
    if run.signal.control == "shuffled_rewards":
        groups = shuffled_rewards(groups, step_key(run, step))
    weights = run.tracker.weigh(groups, version, weighing(run.stage, run.signal.mgpo))
    with clock("update"):
        metrics = run.learner.mgpo_step(
            groups, weights, run.signal.mgpo, run.stage.temperature, run.stage.max_new_tokens
        )
    with clock("rest"):
        run.recorder.write(_rollout_file(run, step), run.stage.name, step + 1, groups, weights, fates(groups, weights))
    with clock("sync"):
        sync = sync_weights(run.learner, run.generator, version + 1, run.probe, run.signal.sync)
    seconds = clock.split()
    line = _metrics_line(run.stage, step + 1, version, groups, weights, metrics, seconds, sync)
    return {**line, "verify": verify, "busy": busy_shares(busy, run.busy_seconds(), seconds["total"])}


def step_prompts(run: StageRun, step: int) -> list[Prompt]:
    """The step's questions, in an order and with seeds that depend on (seeds, stage, step) alone."""
    *stage_key, _ = key = step_key(run, step)
    chosen = batch_indices(len(run.problems), run.stage.prompts_per_step, step, stage_key)
    return run.encoder.prompts([run.problems[i] for i in chosen], run.stage.group_size, key)


def step_key(run: StageRun, step: int) -> tuple[Any, ...]:
    """All that chance in a step depends on: the run's seed, the signal phase's own, stage and step."""
    return run.seed, run.signal.seed, run.stage.name, step


def in_order(graded: Iterator[GradedGroup], prompts: Sequence[Prompt]) -> list[GradedGroup]:
    """Groups come as they finish; the update takes them in the order of the prompts, whoever was first."""
    arrived: dict[str, list[GradedGroup]] = {}
    for group in graded:
        arrived.setdefault(group.question_id, []).append(group)
    return [arrived[prompt.problem.question_id].pop(0) for prompt in prompts]


def busy_shares(before: Mapping[str, float], after: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Of `seconds`, the share that each actor worked. One that was lost and restarted counts from 0 again."""
    worked = {name: after[name] - before.get(name, 0.0) for name in after}
    return {name: max(0.0, spent) / seconds for name, spent in worked.items()}


def weighing(stage: StageConfig, mgpo: MgpoConfig) -> Weighing:
    """How the stage weighs its groups: its own lambda, where it has one."""
    return Weighing(mgpo.lam if stage.lam is None else stage.lam, mgpo.advantage_norm, stage.length_reward)


def _sampling(stage: StageConfig) -> Sampling:
    return Sampling(stage.temperature, stage.top_p, 0, stage.max_new_tokens)


def _rollout_file(run: StageRun, step: int) -> Path:
    return run.rollouts / f"step_{step + 1:06d}.parquet"


def _metrics_line(
    stage: StageConfig,
    step: int,
    version: int,
    groups: Sequence[GradedGroup],
    weights: Sequence[GroupWeight],
    metrics: dict[str, float],
    seconds: dict[str, float],
    sync: SyncReport,
) -> dict[str, Any]:
    lengths = [n for g in groups for n in g.completion_tokens]
    p10, p90 = np.percentile(lengths, (10, 90)).tolist()
    verdicts = [v for g in groups for v in g.verdicts]
    valid = [v for v in verdicts if v.valid]
    updated = max(metrics.get("tokens", 0), 1)
    known = [w for w in weights if w.accuracy is not None]
    histogram = Counter(round((w.accuracy or 0.0) * stage.group_size) for w in known)
    return {
        "phase": "rl",
        "stage": stage.name,
        "step": step,
        "weight_version": version,
        "loss": metrics["loss"],
        "reward_mean": sum(v.reward for v in valid) / max(len(valid), 1),
        "p_c_histogram": [histogram[i] for i in range(stage.group_size + 1)],
        "no_signal_share": sum(not any(w.advantages) for w in known) / max(len(known), 1),
        "truncated_share": sum(t for g in groups for t in g.truncated) / len(lengths),
        "unverified": len(verdicts) - len(valid),
        "reasons": dict(Counter(v.reason for v in verdicts if v.reason)),
        "completion_tokens_mean": sum(lengths) / len(lengths),
        "completion_tokens_p10": p10,
        "completion_tokens_p90": p90,
        "entropy": metrics["entropy"] / updated,
        "clip_share": metrics["clipped_tokens"] / updated,
        "rollout_kl": metrics["rollout_kl"] / updated,
        "logprob_gap_max": metrics["logprob_gap_max"],
        "grad_norm": metrics["grad_norm"],
        "learning_rate": metrics["learning_rate"],
        "tokens": sum(lengths),
        "updated_tokens": metrics["tokens"],
        "tokens_per_second": sum(lengths) / seconds["total"],
        "seconds": seconds,
        "sync": {"version": sync.version, "bytes": sync.num_bytes, "logprob_gap": sync.logprob_gap},
    }


def _commit(run: StageRun, done: int) -> None:
    def write_state(folder: Path) -> None:
        run.learner.save_state(folder / "learner")
        run.tracker.save(folder / "tracker.json")

    manifest = {
        "stage": run.stage.name,
        "step": done,
        "weight_version": run.first_version + done,
        "data_position": done * run.stage.prompts_per_step,
        # No random state: every seed follows from (seed, stage, step, question, sample).
        "seed": run.seed,
        "metrics_offset": run.log.offset,
        "rollouts_end": f"step_{done:06d}.parquet",
    }
    folder = run.checkpoints / f"step_{done:06d}"
    commit(folder, manifest, write_state, keep=run.signal.keep_checkpoints)


def _resume(run: StageRun) -> int:
    """The step to go on from. Metrics and rollouts beyond the newest commit are cut off: they will come again."""
    found = newest(run.checkpoints)
    if found is None:
        # The stage's start is a commit too: it knows where the metrics of the stage begin.
        run.log.keep(lambda line: line["stage"] != run.stage.name)
        _commit(run, 0)
        done = 0
    else:
        folder, manifest = found
        done = manifest["step"]
        run.learner.load_state(folder / "learner")
        run.tracker.load(folder / "tracker.json")
        run.log.cut(manifest["metrics_offset"])
    for file in run.rollouts.glob("step_*"):
        if file.suffix != ".parquet" or file.stem > f"step_{done:06d}":
            file.unlink()
    return done


class _Clock:
    """Seconds by part of a step. `verify` is what was still to verify when the last group was generated."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.parts: dict[str, float] = {}
        self.generated = self.start

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.parts[part] = time.monotonic() - began

    def last_of(self, handles: Iterator[Any]) -> Iterator[Any]:
        yield from handles
        self.generated = time.monotonic()

    def split(self) -> dict[str, float]:
        total = time.monotonic() - self.start
        parts = dict(self.parts)
        until_graded = parts.pop("generate")
        generate = min(self.generated - self.start, until_graded)
        known = {"generate": generate, "verify": until_graded - generate, **parts}
        known["rest"] = total - sum(v for k, v in known.items() if k != "rest")
        return {**known, "total": total}
