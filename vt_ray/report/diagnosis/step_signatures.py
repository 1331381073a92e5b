"""The failure signatures that need only the metrics of the RL steps, without the milestones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance

from vt_ray.report import formats
from vt_ray.report.diagnosis.trends import MIN_STEPS, Trend, student_t_95, trends
from vt_ray.report.metrics import METRICS, Lines, lookup
from vt_ray.report.run_page.curves import by_stage

# Thresholds: shares, and nats per token.
TRUNCATED_RISE = 0.05
NO_SIGNAL_RISE = 0.10
KL_FLOOR = 1e-3
KL_GROWTH = 1.5
CAPPED_SHARE = 0.05
CLIPPED_SHARE = 0.20
# For fresh completions the importance ratio is 1 up to rounding, so that a small clipped share is a mismatch already.
MISMATCH_SHARE = 0.01
# Fewer steps of a stage have no interval of their mean.
FEWEST_VALUES = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one signature. `seen` is None if it is undecided: not recorded, or within chance."""

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
        return Finding(name, None, f"Not checked: a stage of at least {MIN_STEPS} steps is required.")
    bad = [t for t in found if t.clear and large(t)]
    moved = "; ".join(f"{t.stage} from {t.first:{form}} to {t.last:{form}}" for t in bad or found)
    if bad:
        return Finding(name, True, f"The {what} climbed within a stage: {moved}.")
    return Finding(name, False, f"Not seen: {what}: {moved}.")


def _rollouts_too_old(lines: Lines) -> Finding:
    """Whether many importance ratios of stale rollouts are capped, masked or clipped: these tokens contribute less to
    the update than tokens of fresh rollouts."""
    name = "Rollouts are too old for the update"
    clipped = _clipped_shares(lines)
    if not clipped:
        return Finding(name, None, "Not checked: this run has not recorded the staleness of its completions.")
    bad = [one for one in clipped if one.age > 0 and _lowest_mean(one.shares) > one.large]
    listed = "; ".join(
        f"{formats.percent(fmean(one.shares))} of the tokens in {one.stage}, whose completions were {one.age:.1f} "
        "weight versions old"
        for one in bad or clipped
    )
    if bad:
        remedy = "Lower signal.max_staleness."
        return Finding(name, True, f"The importance ratio was capped, masked or clipped for {listed}. {remedy}")
    if any(one.age > 0 and _too_few(one.shares, one.large) for one in clipped):
        return Finding(name, None, f"Too few steps: the importance ratio was capped, masked or clipped for {listed}.")
    return Finding(name, False, f"Not seen: the importance ratio was capped, masked or clipped for {listed}.")


def _engine_and_trainer_disagree(lines: Lines) -> Finding:
    """Whether importance ratios of on-policy rollouts are capped, masked or clipped. Engine and trainer have the same
    weights, so that this shows a numerical difference between the two. It affects rare tokens first."""
    name = "Engine and trainer disagree on fresh rollouts"
    fresh = [one for one in _clipped_shares(lines) if one.age == 0]
    if not fresh:
        return Finding(name, None, "Not checked: a stage with completions of the newest weights only is required.")
    bad = [one for one in fresh if _lowest_mean(one.shares) > MISMATCH_SHARE]
    listed = "; ".join(f"{formats.percent(fmean(one.shares))} of the tokens in {one.stage}" for one in bad or fresh)
    if bad:
        sentence = (
            f"The importance ratio was capped, masked or clipped for {listed}, although they were sampled with the "
            "weights that they update. signal.mgpo.importance.kind=truncate keeps this difference from triggering the "
            "clips; model.dtype=float32 removes most of it."
        )
        return Finding(name, True, sentence)
    if any(_too_few(one.shares, MISMATCH_SHARE) for one in fresh):
        sentence = f"Too few steps: on fresh rollouts, the importance ratio was capped, masked or clipped for {listed}."
        return Finding(name, None, sentence)
    return Finding(
        name, False, f"Not seen: on fresh rollouts, the importance ratio was capped, masked or clipped for {listed}."
    )


@dataclass(frozen=True, slots=True)
class _ClippedShare:
    """The share of tokens with a capped, masked or clipped importance ratio, for each step of a stage.

    `age` is the mean staleness in weight versions; a share above `large` is reported.
    """

    stage: str
    age: float
    shares: list[float]
    large: float


def _clipped_shares(lines: Lines) -> list[_ClippedShare]:
    """The clipped shares of each stage that has recorded its staleness."""
    return [_clipped_share(stage, part) for _, stage, part in by_stage(lines) if _numbers(part, "staleness_mean")]


def _clipped_share(stage: str, lines: Lines) -> _ClippedShare:
    age = fmean(_numbers(lines, "staleness_mean"))
    for key in ("importance_capped_share", "importance_masked_share"):
        if corrected := _numbers(lines, key):
            return _ClippedShare(stage, age, corrected, CAPPED_SHARE)
    return _ClippedShare(stage, age, _numbers(lines, "clip_share") or [0.0], CLIPPED_SHARE)


def _sync_retried(lines: Lines) -> Finding:
    name = "Weight syncs were retried"
    tried = [line for line in lines if lookup(line, "sync/retried") is not None]
    if not tried:
        return Finding(name, None, "Not checked: this run has not recorded whether weight syncs were retried.")
    again = [line for line in tried if lookup(line, "sync/retried")]
    if not again:
        return Finding(name, False, f"Not seen: all {len(tried)} weight syncs were right at the first attempt.")
    sentence = (
        f"In {len(again)} of {len(tried)} steps, first in step {again[0].get('step')} of {again[0].get('stage')}, the "
        "generators had wrong weights after the first transfer and the right ones after the second. No token was "
        "generated with wrong weights, but the transfer is unreliable: see logs/."
    )
    return Finding(name, True, sentence)


def _updates_skipped(lines: Lines) -> Finding:
    name = "Updates were skipped"
    if not lines:
        return Finding(name, None, "Not checked: there is no RL step yet.")
    skipped = [line for line in lines if line.get("skipped")]
    if not skipped:
        return Finding(name, False, f"Not seen: all {len(lines)} steps made an update.")
    first = skipped[0]
    sentence = (
        f"{len(skipped)} of {len(lines)} steps made no update, first step {first.get('step')} of "
        f"{first.get('stage')}: the loss or the gradient norm was not finite. Lower signal.optimizer.lr, or set "
        "model.dtype=float32 if it is bfloat16."
    )
    return Finding(name, True, sentence)


def _numbers(lines: Lines, key: str) -> list[float]:
    return [float(line[key]) for line in lines if formats.known(line.get(key))]


def _too_few(values: list[float], large: float) -> bool:
    """Whether the mean is above `large`, but of too few values for an interval."""
    return len(values) < FEWEST_VALUES and fmean(values) > large


def _lowest_mean(values: list[float]) -> float:
    """The lower end of the 95% interval of the mean; minus infinity for fewer than FEWEST_VALUES values."""
    if len(values) < FEWEST_VALUES:
        return -float("inf")
    return fmean(values) - student_t_95(len(values) - 1) * sqrt(variance(values) / len(values))
