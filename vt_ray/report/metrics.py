"""The table of metrics: key in a step's line, title, short name and format. All views take them from here.

The keys are those of `run.step_line.StepLine`. Lines are read as plain mappings: a line of an older run lacks the keys
that were added later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vt_ray.report import formats

Line = Mapping[str, Any]
Lines = Sequence[Line]

# The parts of a step's time, in the order of the step.
STEP_PARTS = ("generate", "verify", "update", "sync", "rest")


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a step.

    key: its key in the line, or `part/name` for a nested figure.
    title: title of its chart.
    name: short name for the terminal.
    format: Python format of one value, as text.
    axis: plotly's format of the chart's axis.
    low, high: keys of the metrics that bound the chart's band; without them the band is a 95% interval.
    hide_zero: whether the metric is hidden in a run where it is always zero.
    sparse: whether most steps lack the metric; the terminal's curve then skips these steps.
    """

    key: str
    title: str
    name: str
    format: str
    axis: str = ""
    low: str = ""
    high: str = ""
    hide_zero: bool = False
    sparse: bool = False


_METRICS = (
    Metric("loss", "Loss", "loss", ".4f"),
    Metric("reward_mean", "Reward: share of correct rollouts", "reward", ".3f", ".0%"),
    Metric("probe_accuracy", "Probe accuracy at the gates", "probe acc", ".1%", ".0%", sparse=True),
    Metric("evaluation/pass_at_1", "Pass@1 on the held-out problems", "held-out", ".1%", ".0%", sparse=True),
    Metric("no_signal_share", "Share of groups without a signal", "no signal", ".1%", ".0%"),
    Metric("truncated_share", "Share of truncated rollouts", "truncated", ".1%", ".0%"),
    Metric("entropy", "Entropy, nats a token", "entropy", ".3f"),
    Metric("entropy_q1", "Entropy in the first quarter, nats a token", "entropy q1", ".3f"),
    Metric("entropy_q4", "Entropy in the last quarter, nats a token", "entropy q4", ".3f"),
    Metric("entropy_coef", "Coefficient of the entropy bonus", "bonus", ".1e", hide_zero=True),
    Metric(
        "high_covariance_share",
        "Share of tokens with a high covariance",
        "high cov.",
        ".2%",
        "~%",
    ),
    Metric("rollout_kl", "KL rollout to trainer, nats a token", "KL rollout", ".1e"),
    Metric("reference_kl", "KL to the frozen reference, nats a token", "KL ref.", ".1e"),
    Metric("clip_share", "Share of clipped tokens", "clipped", ".2%", "~%"),
    Metric("clip_dual_share", "Share of tokens clipped by the dual clip", "dual clip", ".2%", "~%", hide_zero=True),
    Metric(
        "importance_capped_share",
        "Share of tokens with a capped importance ratio",
        "capped",
        ".2%",
        "~%",
        hide_zero=True,
    ),
    Metric(
        "importance_masked_share",
        "Share of tokens masked for the mismatch",
        "masked",
        ".2%",
        "~%",
        hide_zero=True,
    ),
    Metric("grad_norm", "Gradient norm", "grad norm", ".3g"),
    Metric("skipped_steps", "Steps of the stage without an update", "skipped", ",.0f", hide_zero=True),
    Metric("replaced_groups", "Groups replaced by fresh ones", "replaced", ",.0f", hide_zero=True),
    Metric("staleness_mean", "Staleness, weight versions", "staleness", ".1f", hide_zero=True),
    Metric("generated_tokens_per_second", "Generation, tokens/s", "gen tok/s", ",.0f"),
    Metric("updated_tokens_per_second", "Training, tokens/s", "train tok/s", ",.0f"),
    Metric("generation/running", "Sequences that the engines decode", "running", ",.1f"),
    Metric("generation/waiting", "Sequences that wait for an engine", "waiting", ",.1f", hide_zero=True),
    Metric("generation/kv_usage_max", "Largest share of a KV cache in use", "KV max", ".1%", ".0%"),
    Metric("generation/preemptions", "Preempted sequences", "preempted", ",.0f", hide_zero=True),
    Metric("generation/prefix_hit_share", "Share of prompt tokens in the prefix cache", "prefix hits", ".1%", ".0%"),
    Metric(
        "generation/decode_tokens_per_second", "Decoding, tokens per second of engine steps", "decode tok/s", ",.0f"
    ),
    Metric("generation/memory_gb_max", "Peak memory of a generator's GPU, GB", "gen GB", ".1f"),
    Metric("padding_share", "Share of padding in the update", "padding", ".1%", "~%"),
    Metric("mfu", "MFU of the update", "MFU", ".1%", "~%"),
    Metric("memory_gb_max", "Peak memory of a learner rank, GB", "train GB", ".1f"),
    Metric("sync/seconds", "Weight sync, seconds", "sync, s", ".2f"),
    Metric(
        "completion_tokens_mean",
        "Completion length, tokens (band: p10 to p90)",
        "length, tok",
        ".1f",
        low="completion_tokens_p10",
        high="completion_tokens_p90",
    ),
    Metric("unverified", "Rollouts without a verdict", "unverified", ",.0f"),
)
METRICS = {metric.key: metric for metric in _METRICS}


def lookup(line: Line, key: str) -> Any:
    """The figure `key` (or `part/name`) of the line; None if the line has none."""
    part, _, name = key.rpartition("/")
    return ((line.get(part) or {}) if part else line).get(name)


def as_text(line: Line, key: str) -> str | None:
    """The figure as text in its own format; None if the line has no finite number for it."""
    found = lookup(line, key)
    return format(found, METRICS[key].format) if formats.known(found) else None
