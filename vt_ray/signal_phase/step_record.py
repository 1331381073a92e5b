"""The record of a step: its seconds by part, the working share of each actor, and its line in the metrics."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from vt_ray.algorithms.flops import COUNTS, throughput
from vt_ray.records import GradedGroup, GroupAdvantages
from vt_ray.run.skipped_steps import was_skipped
from vt_ray.run.step_line import BatchFigures, RolloutFigures, SpeedFigures, StepLine, StepSeconds, UpdateFigures
from vt_ray.signal_phase.batch import Batch
from vt_ray.signal_phase.engine_record import engine_record
from vt_ray.signal_phase.stage_run import StageRun
from vt_ray.signal_phase.sync import SyncReport
from vt_ray.signal_phase.verify_record import verify_record

# The quarters of a completion, for the entropy by position.
QUARTERS = range(1, 5)
# The learner's metrics with a name or a denominator of their own in the line. A user's loss may return more.
KNOWN_METRICS = {
    *("loss", "entropy", "tokens", "rollout_kl", "logprob_gap_max", "reference_kl"),
    *("importance_capped_tokens", "importance_masked_tokens", "high_covariance_tokens", "entropy_coef"),
    *(f"{name}_q{i}" for name in ("entropy", "tokens") for i in QUARTERS),
    *("clipped_tokens", "clipped_low_tokens", "clipped_high_tokens", "clipped_dual_tokens"),
    *("grad_norm", "skipped", "learning_rate", "updated_completions", "consumed_digest"),
    *("trainable_share", "memory_gb_max", *COUNTS),
}


class StepWatch:
    """Measures the seconds of a step by part. `verify` is the verification time after the last group was generated.

    `generated_at` is the time (`time.monotonic()`) at which the last group was generated, or None if generation
    overlaps with other parts of the step.
    """

    def __init__(self, run: StageRun) -> None:
        self.run = run
        self.busy, self.counts = run.busy_seconds(), run.verifier.counts()
        self.engines = run.engine_counters()
        self.start = time.monotonic()
        self.parts: dict[str, float] = {}
        self.generated_at: float | None = None

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.parts[part] = time.monotonic() - start

    def split(self) -> StepSeconds:
        total = time.monotonic() - self.start
        parts = dict(self.parts)
        until_graded = parts.pop("generate")
        # In the pipelined schedule the two overlap: all the waiting counts as `generate`.
        generate = until_graded
        if self.generated_at is not None:
            generate = min(self.generated_at - self.start, until_graded)
        known = {"generate": generate, "verify": until_graded - generate, **parts}
        known["rest"] = total - sum(v for k, v in known.items() if k != "rest")
        return cast(StepSeconds, {**known, "total": total})

    def line(self, step: int, batch: Batch, metrics: Mapping[str, float], sync: SyncReport) -> StepLine:
        """The step's line in the metrics. `step` counts from 0, the line's `step` from 1."""
        run, seconds = self.run, self.split()
        version = run.first_version + step
        kinds = [prompt.problem.kind for prompt in _prompts_of(batch)]
        line: StepLine = {
            "phase": "rl",
            "stage": run.stage.name,
            "step": step + 1,
            "weight_version": version,
            **_rollout_figures(batch.all_groups, batch.all_advantages, run.stage.group_size),
            **_batch_figures(batch, version),
            **_update_figures(metrics),
            **_speeds(batch, metrics, seconds, run.signal.schedule == "pipelined"),
            "seconds": seconds,
            "sync": {
                "version": sync.version,
                "seconds": sync.seconds,
                "bytes": sync.num_bytes,
                "logprob_gap": sync.logprob_gap,
                "retried": sync.retried,
            },
            "verify": verify_record(batch.all_groups, kinds, self.counts, run.verifier.counts()),
            "busy": busy_shares(self.busy, run.busy_seconds(), seconds["total"]),
        }
        return cast(StepLine, {**line, **engine_record(self.engines, run.engine_counters())})


def busy_shares(before: Mapping[str, float], after: Mapping[str, float], seconds: float) -> dict[str, float]:
    """The share of `seconds` that each actor worked. The seconds of a replaced actor start from 0 again."""
    worked = {name: after[name] - before.get(name, 0.0) for name in after}
    return {name: max(0.0, spent) / seconds for name, spent in worked.items()}


def _prompts_of(batch: Batch) -> list[Any]:
    """The prompts in the order of `batch.all_groups`."""
    by_id = {prompt.problem.question_id: prompt for prompt in batch.prompts}
    return [by_id[group.question_id] for group in batch.all_groups]


def _rollout_figures(
    groups: Sequence[GradedGroup], advantages: Sequence[GroupAdvantages], group_size: int
) -> RolloutFigures:
    """Figures of all generated completions, including completions that the update does not take."""
    lengths = [n for g in groups for n in g.completion_tokens]
    p10, p90 = np.percentile(lengths, (10, 90)).tolist()
    verdicts = [v for g in groups for v in g.verdicts]
    counted = [v for g in groups for v, valid in zip(g.verdicts, g.valid, strict=True) if valid]
    known = [a for a in advantages if a.accuracy is not None]
    histogram = Counter(round((a.accuracy or 0.0) * group_size) for a in known)
    return {
        "reward_mean": sum(v.reward for v in counted) / max(len(counted), 1),
        "p_c_histogram": [histogram[i] for i in range(group_size + 1)],
        "no_signal_share": sum(not any(a.advantages) for a in known) / max(len(known), 1),
        "truncated_share": sum(t for g in groups for t in g.truncated) / len(lengths),
        "unverified": sum(not v.valid for v in verdicts),
        "reasons": dict(Counter(v.reason for v in verdicts if v.reason)),
        "completion_tokens_mean": sum(lengths) / len(lengths),
        "completion_tokens_p10": p10,
        "completion_tokens_p90": p90,
        "tokens": sum(lengths),
    }


def _batch_figures(batch: Batch, version: int) -> BatchFigures:
    """Staleness is in weight versions, and counts from the version of a completion's first (oldest) token."""
    staleness = [version - first for group in batch.groups for first in group.first_versions] or [0]
    return {
        "refill_rounds": batch.rounds,
        "replaced_groups": len(batch.replaced),
        "staleness_mean": sum(staleness) / len(staleness),
        "staleness_max": max(staleness),
    }


def _update_figures(metrics: Mapping[str, float]) -> UpdateFigures:
    """Divides the learner's sums over tokens by the number of updated tokens.

    The figures of a user's loss are added as `loss_<name>`.
    """
    updated = max(metrics.get("tokens", 0), 1)
    of_the_loss = metrics.keys() - KNOWN_METRICS
    options = {
        "importance_capped_share": metrics.get("importance_capped_tokens"),
        "importance_masked_share": metrics.get("importance_masked_tokens"),
        "reference_kl": metrics.get("reference_kl"),
        "clip_low_share": metrics.get("clipped_low_tokens"),
        "clip_high_share": metrics.get("clipped_high_tokens"),
        "clip_dual_share": metrics.get("clipped_dual_tokens"),
        "high_covariance_share": metrics.get("high_covariance_tokens"),
    }
    by_quarter = {f"entropy_q{i}": metrics[f"entropy_q{i}"] / n for i in QUARTERS if (n := metrics.get(f"tokens_q{i}"))}
    figures = {
        "loss": metrics["loss"],
        # Not a number in a step without an updated token: 0 would be the entropy of a policy that has collapsed.
        "entropy": metrics["entropy"] / (metrics["tokens"] or math.nan),
        "clip_share": metrics["clipped_tokens"] / updated,
        "rollout_kl": metrics["rollout_kl"] / updated,
        **{name: total / updated for name, total in options.items() if total is not None},
        "logprob_gap_max": metrics["logprob_gap_max"],
        "grad_norm": metrics["grad_norm"],
        "skipped": was_skipped(metrics),
        "learning_rate": metrics["learning_rate"],
        "updated_tokens": metrics["tokens"],
        "updated_completions": metrics["updated_completions"],
        "consumed_digest": metrics["consumed_digest"],
        **by_quarter,
        **{name: metrics[name] for name in ("trainable_share", "memory_gb_max", "entropy_coef") if name in metrics},
        **{f"loss_{name}": metrics[name] / (1 if name.endswith("_max") else updated) for name in sorted(of_the_loss)},
    }
    return cast(UpdateFigures, figures)


def _speeds(batch: Batch, metrics: Mapping[str, float], seconds: StepSeconds, overlap: bool) -> SpeedFigures:
    """With `overlap`, generators work during the whole step, not only while the step waits for them."""
    tokens = sum(n for g in batch.all_groups for n in g.completion_tokens)
    update = throughput(metrics, max(seconds["update"], 1e-9))
    figures = {
        "tokens_per_second": tokens / seconds["total"],
        "generated_tokens_per_second": tokens / max(seconds["total" if overlap else "generate"], 1e-9),
        "updated_tokens_per_second": metrics["tokens"] / max(seconds["update"], 1e-9),
    }
    return cast(SpeedFigures, figures | {name: update[name] for name in ("padding_share", "mfu") if name in update})
