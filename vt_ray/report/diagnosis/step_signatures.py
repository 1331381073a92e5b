"""The failure signatures that the RL steps show by themselves, without the milestones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance

from vt_ray.report import formats
from vt_ray.report.diagnosis.trends import MIN_STEPS, Trend, student_t_95, trends
from vt_ray.report.metrics import METRICS, Lines, lookup
from vt_ray.report.run_page.curves import by_stage

# What counts as large: shares, and nats a token.
TRUNCATED_RISE = 0.05
NO_SIGNAL_RISE = 0.10
KL_FLOOR = 1e-3
KL_GROWTH = 1.5
CAPPED_SHARE = 0.05
CLIPPED_SHARE = 0.20
# Of fresh completions the importance ratio is 1 but for rounding: even a small share that is cut says something.
MISMATCH_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Finding:
    """`seen` is None where it cannot be told: not recorded (yet), or too few questions to tell it from chance."""

    name: str
    seen: bool | None
    sentence: str


def step_findings(lines: Lines) -> list[Finding]:
    return [
        _logprobs_drift(lines),
        _truncation_climbs(lines),
        _signal_fades(lines),
        _rollouts_too_old(lines),
        _engine_and_trainer_disagree(lines),
        _sync_retried(lines),
        _updates_skipped(lines),
    ]


def _logprobs_drift(lines: Lines) -> Finding:
    return _climbs(
        "Rollout and trainer drift apart",
        "KL between rollout and trainer probabilities (nats a token)",
        lines,
        "rollout_kl",
        lambda t: abs(t.last) > max(KL_FLOOR, KL_GROWTH * abs(t.first)),
    )


def _truncation_climbs(lines: Lines) -> Finding:
    return _climbs(
        "Truncation climbs",
        "share of truncated answers",
        lines,
        "truncated_share",
        lambda t: t.rise > TRUNCATED_RISE,
    )


def _signal_fades(lines: Lines) -> Finding:
    return _climbs(
        "Groups without a signal climb",
        "share of groups whose answers are all right or all wrong",
        lines,
        "no_signal_share",
        lambda t: t.rise > NO_SIGNAL_RISE,
    )


def _climbs(name: str, what: str, lines: Lines, key: str, large: Callable[[Trend], bool]) -> Finding:
    """Whether the metric `key`, called `what` in the sentence, climbed in a stage by a `large` amount."""
    found, form = trends(lines, key), METRICS[key].format
    if not found:
        return Finding(name, None, f"Not checked: it needs a stage of {MIN_STEPS} steps or more.")
    bad = [t for t in found if t.clear and large(t)]
    moved = "; ".join(f"{t.stage} from {t.first:{form}} to {t.last:{form}}" for t in bad or found)
    if bad:
        return Finding(name, True, f"The {what} climbed within a stage: {moved}.")
    return Finding(name, False, f"Not seen: {what}: {moved}.")


def _rollouts_too_old(lines: Lines) -> Finding:
    """Where a token's importance ratio is cut, by its cap or by the clipping, the update takes less from it than it
    would from a fresh one. That is the price of rollouts that are older than the weights they update."""
    name = "Rollouts are too old for the update"
    cut = _cut_shares(lines)
    if not cut:
        return Finding(name, None, "Not checked: how old completions were has not been recorded.")
    bad = [one for one in cut if one.age > 0 and _lowest_mean(one.shares) > one.large]
    said = "; ".join(
        f"{formats.percent(fmean(one.shares))} of the tokens in {one.stage}, whose completions were {one.age:.1f} "
        "weight versions old"
        for one in bad or cut
    )
    if bad:
        remedy = "A smaller signal.max_staleness makes them fresher."
        return Finding(name, True, f"The importance ratio was cut for {said}. {remedy}")
    return Finding(name, False, f"Not seen: the importance ratio was cut for {said}.")


def _engine_and_trainer_disagree(lines: Lines) -> Finding:
    """On-policy, engine and trainer hold the same weights. Tokens whose importance ratio is cut all the same show that
    the two compute unlike probabilities. The cut falls first on rare tokens."""
    name = "Engine and trainer disagree on fresh rollouts"
    fresh = [one for one in _cut_shares(lines) if one.age == 0]
    if not fresh:
        return Finding(name, None, "Not checked: no stage whose completions were all sampled under the newest weights.")
    bad = [one for one in fresh if _lowest_mean(one.shares) > MISMATCH_SHARE]
    said = "; ".join(f"{formats.percent(fmean(one.shares))} of the tokens in {one.stage}" for one in bad or fresh)
    if bad:
        says = (
            f"The importance ratio was cut for {said}, sampled under the very weights they updated. "
            "signal.mgpo.importance_cap=2 keeps the clips from acting on this difference; model.dtype=float32 removes "
            "most of it."
        )
        return Finding(name, True, says)
    return Finding(name, False, f"Not seen: on fresh rollouts, the importance ratio was cut for {said}.")


@dataclass(frozen=True, slots=True)
class _Cut:
    """The share of a stage's tokens, step by step, whose importance ratio was cut; above `large` it is much."""

    stage: str
    age: float
    shares: list[float]
    large: float


def _cut_shares(lines: Lines) -> list[_Cut]:
    """Of each stage whose staleness has been recorded."""
    return [_cut_share(stage, part) for _, stage, part in by_stage(lines) if _numbers(part, "staleness_mean")]


def _cut_share(stage: str, lines: Lines) -> _Cut:
    age = fmean(_numbers(lines, "staleness_mean"))
    if capped := _numbers(lines, "importance_capped_share"):
        return _Cut(stage, age, capped, CAPPED_SHARE)
    return _Cut(stage, age, _numbers(lines, "clip_share") or [0.0], CLIPPED_SHARE)


def _sync_retried(lines: Lines) -> Finding:
    name = "Weight syncs had to be tried again"
    tried = [line for line in lines if lookup(line, "sync/retried") is not None]
    if not tried:
        return Finding(name, None, "Not checked: whether a weight sync was tried again has not been recorded.")
    again = [line for line in tried if lookup(line, "sync/retried")]
    if not again:
        return Finding(name, False, f"Not seen: each of {len(tried)} weight syncs held the first time.")
    says = (
        f"In {len(again)} of {len(tried)} steps, first in step {again[0].get('step')} of {again[0].get('stage')}, the "
        "generators did not hold the trainer's weights until they were sent a second time. Nothing was generated with "
        "wrong weights, but something on the way damages or delays them: see logs/."
    )
    return Finding(name, True, says)


def _updates_skipped(lines: Lines) -> Finding:
    name = "Updates were skipped"
    if not lines:
        return Finding(name, None, "Not checked: no RL step has been recorded.")
    skipped = [line for line in lines if line.get("skipped")]
    if not skipped:
        return Finding(name, False, f"Not seen: each of {len(lines)} steps made its update.")
    first = skipped[0]
    says = (
        f"{len(skipped)} of {len(lines)} steps changed no weight, first step {first.get('step')} of "
        f"{first.get('stage')}: the loss or the norm of its gradients was not finite. Lower signal.optimizer.lr, or "
        "take model.dtype=float32 where it is bfloat16."
    )
    return Finding(name, True, says)


def _numbers(lines: Lines, key: str) -> list[float]:
    return [float(line[key]) for line in lines if formats.known(line.get(key))]


def _lowest_mean(values: list[float]) -> float:
    """The lower end of the 95% interval of their mean; below everything where a single value says nothing of it."""
    if len(values) < 3:
        return -float("inf")
    return fmean(values) - student_t_95(len(values) - 1) * sqrt(variance(values) / len(values))
