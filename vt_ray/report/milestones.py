"""Reads the milestones of summary.json: base, sft_last, sft_best, fused, and one per RL stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vt_ray.report import formats
from vt_ray.run.milestone_names import BEFORE_RL, SELF_DISTIL, STARTS

Milestone = Mapping[str, Any]


def reached(summary: Mapping[str, Any]) -> list[Milestone]:
    """The milestones of the summary in their order; empty if the run has not been evaluated."""
    return list(summary.get("milestones") or [])


def named(milestones: Sequence[Milestone], name: str) -> Milestone | None:
    return next((m for m in milestones if m["name"] == name), None)


def after_rl(milestones: Sequence[Milestone]) -> list[Milestone]:
    """The milestones of the RL stages, or of the SFT in their place."""
    return [m for m in milestones if m["name"] not in (*BEFORE_RL, SELF_DISTIL)]


def start_of_rl(milestones: Sequence[Milestone]) -> Milestone | None:
    """The milestone that RL starts from: the last one before RL, normally `fused`; None if there is none."""
    return next((m for m in reversed(milestones) if m["name"] in BEFORE_RL), None)


def largest_k(milestones: Sequence[Milestone]) -> int:
    """The K of the evaluation's Pass@K; 1 if only Pass@1 was measured."""
    keys = [key for m in milestones for key in m if key.startswith("pass_at_")]
    return max((int(key.removeprefix("pass_at_")) for key in keys), default=1)


def score(milestone: Mapping[str, Any] | None, k: int) -> dict[str, float] | None:
    """{mean, low, high} of Pass@k of a milestone or of one of its subdomains; None if it was not measured."""
    return (milestone or {}).get(f"pass_at_{k}")


def subdomain_score(milestone: Milestone, subdomain: str, k: int) -> dict[str, float] | None:
    return score((milestone.get("by_subdomain") or {}).get(subdomain), k)


def subdomains(milestones: Sequence[Milestone]) -> list[str]:
    return sorted({name for m in milestones for name in m.get("by_subdomain") or {}})


def gain_sentence(summary: Mapping[str, Any]) -> str:
    """The gain of the signal phase over its start, or the best of several starts; "" if it is not known."""
    gain = summary.get("gain")
    if not gain:
        return ""
    sure = not gain["low"] <= 0 <= gain["high"]
    parts = ", ".join(f"{d} {100 * part['mean']:+.1f}" for d, part in gain["by_subdomain"].items() if part)
    start = gain["from"]
    # A summary of an older run may have no milestones.
    starts = [m["name"] for m in reached(summary) if m["name"] in STARTS] if reached(summary) else STARTS[:2]
    if len(starts) > 1:
        better = "the better of" if len(starts) == 2 else "the best of"
        start = f"{start}, {better} {', '.join(starts[:-1])} and {starts[-1]}"
    return (
        f"The milestone {gain['to']} against {start}: {formats.points(gain)} points of "
        f"Pass@1{'' if sure else ', which is within noise'} ({parts})."
    )


def headline(milestones: Sequence[Milestone], gain: str = "") -> str:
    """The result of the run: the scores of the first and last milestone, then `gain` or the last change."""
    if not milestones:
        return "No milestone of this run has been evaluated yet."
    first, last = milestones[0], milestones[-1]
    where = f"{formats.thousands(last.get('num_problems'))} held-out problems"
    if first is last:
        alone = f"{first['name']} solves {formats.interval(score(first, 1))} of {where}"
        return f"{alone}; no later milestone has been evaluated."
    k = largest_k(milestones)
    wide = "" if k == 1 else f", and Pass@{k} {_change(score(first, k), score(last, k))}"
    narrow = f"Pass@1 on {where} {_change(score(first, 1), score(last, 1))}"
    return f"From {first['name']} to {last['name']}, {narrow}{wide}.{f' {gain}' if gain else _last_step(last)}"


def _change(before: Mapping[str, float] | None, after: Mapping[str, float] | None) -> str:
    if not before or not after:
        return "is not known at both milestones"
    start, end = formats.percent(before["mean"]), formats.percent(after["mean"])
    if start == end:
        return f"stayed at {end}"
    return f"{'rose' if after['mean'] > before['mean'] else 'fell'} from {start} to {end}"


def _last_step(last: Milestone) -> str:
    difference = last.get("difference")
    if not difference:
        return ""
    sure = not difference["low"] <= 0 <= difference["high"]
    end = "." if sure else ", which is within noise."
    step = f"{difference['from']} to {last['name']}"
    return f" The last step, {step}, changed Pass@1 by {formats.points(difference)} points{end}"
