"""The failure signatures a user must be told of without asking, each checked and said in one sentence.

    summary.json's milestones, RL and SFT metric lines --> [Finding(name, seen, sentence), ...]

A trend is looked for within one stage, since the next one has other questions and another context length:
the mean of the stage's last third of steps against that of its first third, beyond twice its standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance
from typing import Any

from vt_ray.report import milestones as ms
from vt_ray.report import words

Lines = Sequence[Mapping[str, Any]]

# Two steps in each third: below that a trend has no standard error.
MIN_STEPS = 6
CODE = "code"
# What counts as large: differences of accuracy and of shares, and nats a token.
CODE_GAP = 0.25
REWARD_RISE = 0.02
TRUNCATED_RISE = 0.05
NO_SIGNAL_RISE = 0.10
KL_FLOOR = 1e-3
KL_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class Finding:
    """`seen` is None where the run has not (yet) recorded what the check needs."""

    name: str
    seen: bool | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Trend:
    """Means over the first and last third of a stage's steps; `clear` where they differ beyond noise."""

    stage: str
    first: float
    last: float
    clear: bool

    @property
    def rise(self) -> float:
        return self.last - self.first


def diagnose(summary: Mapping[str, Any], rl_lines: Lines, sft_lines: Lines = ()) -> list[Finding]:
    """Every signature, in the order of the paper's phases. Missing data gives `seen=None`, never an error."""
    reached = ms.of(summary)
    return [
        _sft_fits_its_data(reached, sft_lines),
        _fusion_failed(reached),
        _spectrum_not_amplified(reached),
        _rl_fits_its_data(reached, rl_lines),
        _code_apart(reached),
        _logprobs_drift(rl_lines),
        _truncation_climbs(rl_lines),
        _signal_fades(rl_lines),
    ]


def trends(lines: Lines, key: str) -> list[Trend]:
    """The trend of metric `key` in each stage that has at least `MIN_STEPS` steps with a number for it."""
    stages: dict[str, list[float]] = {}
    for line in lines:
        if words.known(line.get(key)):
            stages.setdefault(str(line.get("stage", "")), []).append(float(line[key]))
    return [_trend(stage, values) for stage, values in stages.items() if len(values) >= MIN_STEPS]


def _trend(stage: str, values: list[float]) -> Trend:
    third = len(values) // 3
    first, last = values[:third], values[-third:]
    error = sqrt((variance(first) + variance(last)) / third)
    return Trend(stage, fmean(first), fmean(last), abs(fmean(last) - fmean(first)) > 2 * error)


def _sft_fits_its_data(reached: Sequence[ms.Milestone], lines: Lines) -> Finding:
    name = "SFT fits its training data only"
    found = trends(lines, "loss")
    base, last = ms.score(ms.named(reached, "base"), 1), ms.score(ms.named(reached, "sft_last"), 1)
    if not (found and base and last):
        return Finding(name, None, "Not checked: it needs SFT losses and the scores of base and sft_last.")
    loss = f"the SFT loss went from {found[0].first:.3f} to {found[0].last:.3f}"
    held_out = f"held-out Pass@1 from {words.interval(base)} to {words.interval(last)}"
    if found[0].clear and found[0].rise < 0 and last["mean"] <= base["mean"]:
        return Finding(name, True, f"Training loss fell while held-out scores stood still: {loss}, {held_out}.")
    return Finding(name, False, f"Not seen: {loss}, {held_out}.")


def _fusion_failed(reached: Sequence[ms.Milestone]) -> Finding:
    name = "Fusion lost breadth"
    k = ms.largest_k(reached)
    fused = ms.score(ms.named(reached, "fused"), k)
    sft = {n: s for n in ms.SFT if (s := ms.score(ms.named(reached, n), k))}
    if k == 1 or not fused or not sft:
        return Finding(name, None, "Not checked: it needs Pass@K of the fused model and of an SFT checkpoint.")
    best = max(sft, key=lambda n: sft[n]["mean"])
    compared = f"fused {words.interval(fused)}, {best} {words.interval(sft[best])}"
    if fused["mean"] < sft[best]["mean"]:
        return Finding(
            name,
            True,
            f"Pass@{k} of the fused model is below the best SFT checkpoint's: {compared}"
            f"{_doubt(fused, sft[best])}. RL has less to amplify than before fusion.",
        )
    return Finding(
        name,
        False,
        f"Not seen: Pass@{k} of the fused model is not below the best SFT checkpoint's: {compared}.",
    )


def _spectrum_not_amplified(reached: Sequence[ms.Milestone]) -> Finding:
    name = "RL does not amplify the spectrum"
    k = ms.largest_k(reached)
    start, end = ms.start_of_rl(reached), next(reversed(ms.after_rl(reached)), None)
    one, many = (ms.score(start, 1), ms.score(end, 1)), (ms.score(start, k), ms.score(end, k))
    if k == 1 or start is None or end is None or not (one[0] and one[1] and many[0] and many[1]):
        return Finding(name, None, "Not checked: it needs Pass@1 and Pass@K before RL and after a stage of it.")
    moved = (
        f"from {start['name']} to {end['name']}, Pass@{k} went from {words.interval(many[0])} to "
        f"{words.interval(many[1])}, Pass@1 from {words.interval(one[0])} to {words.interval(one[1])}"
    )
    if many[1]["mean"] > many[0]["mean"] and one[1]["mean"] <= one[0]["mean"]:
        return Finding(name, True, f"Pass@{k} rose but Pass@1 did not: {moved}{_doubt(many[0], many[1])}.")
    return Finding(name, False, f"Not seen: {moved}.")


def _rl_fits_its_data(reached: Sequence[ms.Milestone], lines: Lines) -> Finding:
    name = "RL fits its training prompts only"
    checked = [
        (trend, difference)
        for trend in trends(lines, "reward_mean")
        if (difference := (ms.named(reached, trend.stage) or {}).get("difference"))
    ]
    if not checked:
        return Finding(name, None, f"Not checked: it needs a stage of {MIN_STEPS} steps or more with its milestone.")

    def said(trend: Trend, difference: Mapping[str, Any]) -> str:
        return (
            f"in {trend.stage}, reward went from {words.percent(trend.first)} to {words.percent(trend.last)} "
            f"and held-out Pass@1 changed by {words.points(difference)} points"
        )

    bad = [said(t, d) for t, d in checked if t.clear and t.rise > REWARD_RISE and d["low"] <= 0]
    if bad:
        return Finding(name, True, f"Training reward rose without a sure held-out gain: {'; '.join(bad)}.")
    return Finding(name, False, f"Not seen: {'; '.join(said(t, d) for t, d in checked)}.")


def _code_apart(reached: Sequence[ms.Milestone]) -> Finding:
    name = "Code and mathematics far apart"
    last = reached[-1] if reached else {}
    scores = {d: s["mean"] for d in ms.subdomains(reached[-1:]) if (s := ms.subdomain_score(last, d, 1))}
    others = [score for subdomain, score in scores.items() if subdomain != CODE]
    if CODE not in scores or not others:
        return Finding(name, None, "Not checked: the evaluation does not hold both code and other subdomains.")
    gap = fmean(others) - scores[CODE]
    compared = (
        f"at milestone {last['name']}, Pass@1 is {words.percent(scores[CODE])} in code and "
        f"{words.percent(fmean(others))} on average in the other subdomains"
    )
    if abs(gap) >= CODE_GAP:
        return Finding(
            name,
            True,
            f"A gap of {100 * abs(gap):.0f} points, maybe the base model's own leaning: {compared}.",
        )
    return Finding(name, False, f"Not seen: {compared}.")


def _logprobs_drift(lines: Lines) -> Finding:
    return _climbs(
        "Rollout and trainer drift apart",
        "KL between rollout and trainer probabilities (nats a token)",
        trends(lines, "rollout_kl"),
        lambda t: abs(t.last) > max(KL_FLOOR, KL_GROWTH * abs(t.first)),
        lambda value: f"{value:.2g}",
    )


def _truncation_climbs(lines: Lines) -> Finding:
    return _climbs(
        "Truncation climbs",
        "share of truncated answers",
        trends(lines, "truncated_share"),
        lambda t: t.rise > TRUNCATED_RISE,
        words.percent,
    )


def _signal_fades(lines: Lines) -> Finding:
    return _climbs(
        "Groups without a signal climb",
        "share of groups whose answers are all right or all wrong",
        trends(lines, "no_signal_share"),
        lambda t: t.rise > NO_SIGNAL_RISE,
        words.percent,
    )


def _climbs(
    name: str, what: str, found: list[Trend], large: Callable[[Trend], bool], shown: Callable[[float], str]
) -> Finding:
    if not found:
        return Finding(name, None, f"Not checked: it needs a stage of {MIN_STEPS} steps or more.")
    bad = [t for t in found if t.clear and large(t)]
    moved = "; ".join(f"{t.stage} from {shown(t.first)} to {shown(t.last)}" for t in bad or found)
    if bad:
        return Finding(name, True, f"The {what} climbed within a stage: {moved}.")
    return Finding(name, False, f"Not seen: {what}: {moved}.")


def _doubt(one: Mapping[str, float], other: Mapping[str, float]) -> str:
    overlap = one["low"] <= other["high"] and other["low"] <= one["high"]
    return " (the intervals overlap, so it may be noise)" if overlap else ""
