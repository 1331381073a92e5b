"""Failure signatures: known ways in which a run fails, each checked and reported in one sentence.

    summary.json's milestones, RL and SFT metric lines, scores by question --> [Finding(name, seen, sentence), ...]

A signature is reported as seen only if its 95% interval excludes chance. The signatures that need only the RL steps are
in step_signatures.py. Trends come from trends.py; changes of a score come from question_scores.py, paired by question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from statistics import fmean
from typing import Any

from vt_ray.report import formats
from vt_ray.report import milestones as ms
from vt_ray.report.diagnosis.step_signatures import Finding, step_findings
from vt_ray.report.diagnosis.trends import MIN_STEPS, Trend, trends
from vt_ray.report.metrics import Lines
from vt_ray.report.question_scores import Scores, change
from vt_ray.run.milestone_names import SFT

Change = Mapping[str, float]

CODE = "code"
# Thresholds, as differences of accuracy.
CODE_GAP = 0.25
SFT_GAIN = 0.05
REWARD_RISE = 0.02


@dataclass(frozen=True, slots=True)
class Evidence:
    """The scores that the signatures are checked on.

    reached: milestones of summary.json.
    held_out: {milestone: scores by question} on the test problems.
    probed: {checkpoint or "fused": scores by question} on the probing problems.
    probe: probe.json.
    stage_subdomains: {stage: subdomains that it trains on}.
    fallback: the specialist that took the place of the fused model, "" for none.
    """

    reached: Sequence[ms.Milestone]
    held_out: Mapping[str, Scores]
    probed: Mapping[str, Scores]
    probe: Mapping[str, Any]
    stage_subdomains: Mapping[str, Sequence[str]]
    fallback: str = ""

    def change(self, before: ms.Milestone, after: ms.Milestone, k: int) -> Change | None:
        """The change of Pass@k: paired by question, or computed from the two intervals if there are no scores."""
        paired = change(self.held_out.get(before["name"]), self.held_out.get(after["name"]), k)
        return paired or _unpaired(ms.score(before, k), ms.score(after, k))

    def stage_change(self, stage: str) -> Change | None:
        """The change of Pass@1 over a stage, on the subdomains that the stage trains on."""
        names = [m["name"] for m in self.reached]
        if stage not in names:
            return None
        before = self.held_out.get(names[max(names.index(stage) - 1, 0)])
        paired = change(before, self.held_out.get(stage), 1, self.stage_subdomains.get(stage, ()))
        return paired or (ms.named(self.reached, stage) or {}).get("difference")


def diagnose(
    summary: Mapping[str, Any],
    rl_lines: Lines,
    sft_lines: Lines = (),
    *,
    held_out: Mapping[str, Scores] | None = None,
    probed: Mapping[str, Scores] | None = None,
    probe: Mapping[str, Any] | None = None,
    stage_subdomains: Mapping[str, Sequence[str]] | None = None,
) -> list[Finding]:
    """Check all signatures, in the order of the phases. Missing data gives `seen=None`, not an error.

    The keyword arguments are the attributes of `RunRecord`. Without them, scores are compared by their intervals.
    """
    gate = summary.get("fusion_gates", {}).get("fused", {})
    fallback = gate["specialist"] if gate.get("fallback") else ""
    evidence = Evidence(
        ms.reached(summary), held_out or {}, probed or {}, probe or {}, stage_subdomains or {}, fallback
    )
    return [
        _sft_fits_its_data(evidence, sft_lines),
        _fusion_failed(evidence),
        _spectrum_not_amplified(evidence),
        _rl_fits_its_data(evidence, rl_lines),
        _code_apart(evidence),
        *step_findings(rl_lines),
    ]


def _sft_fits_its_data(evidence: Evidence, lines: Lines) -> Finding:
    name = "SFT fits its training data only"
    found = trends(lines, "loss")
    base, last = (ms.named(evidence.reached, m) for m in ("base", "sft_last"))
    moved = evidence.change(base, last, 1) if base and last else None
    if not (found and moved):
        return Finding(name, None, "Not checked: the SFT losses and the scores of base and sft_last are required.")
    sentence = (
        f"the SFT loss went from {found[0].first:.3f} to {found[0].last:.3f}, and from base to sft_last held-out "
        f"Pass@1 changed by {formats.points(moved)} points"
    )
    if not (found[0].clear and found[0].rise < 0) or moved["low"] > 0:
        return Finding(name, False, f"Not seen: {sentence}.")
    if moved["high"] >= SFT_GAIN:
        return Finding(name, None, f"Undecided: {sentence}. More held-out problems would narrow the interval.")
    return Finding(name, True, f"Training loss fell without a gain in held-out scores: {sentence}.")


def _fusion_failed(evidence: Evidence) -> Finding:
    name = "Fusion lost breadth"
    compared = _fused_and_specialist(evidence) or _fused_and_sft(evidence)
    if compared is None:
        return Finding(name, None, "Not checked: Pass@K of the fused model and of a specialist is required.")
    moved, sentence = compared
    if moved["high"] < 0:
        goes_on = f"The run goes on with {evidence.fallback}, and its milestone `fused` is this specialist."
        if not evidence.fallback:
            goes_on = "spectrum.fusion.on_loss decides what RL starts from."
        return Finding(name, True, f"The fused model solves fewer problems: {sentence}. {goes_on}")
    doubt = ", which is within noise" if moved["mean"] < 0 else ""
    return Finding(name, False, f"Not seen: {sentence}{doubt}.")


def _fused_and_specialist(evidence: Evidence) -> tuple[Change, str] | None:
    """The change of Pass@K from the best specialist to the fused model on the probing problems, with its sentence."""
    fused, k = evidence.probed.get("fused"), evidence.probe.get("k")
    chosen = set((evidence.probe.get("specialists") or {}).values()) & evidence.probed.keys()
    if not (fused and k and chosen):
        return None

    def breadth(scores: Scores) -> float:
        return fmean(s.pass_at(k) for s in scores.values())

    best = max(sorted(chosen), key=lambda c: breadth(evidence.probed[c]))
    moved = change(evidence.probed[best], fused, k)
    sentence = (
        f"on the probing problems, Pass@{k} is {formats.percent(breadth(fused))} for the fused model and "
        f"{formats.percent(breadth(evidence.probed[best]))} for the best specialist ({best}), which was chosen on "
        f"these problems: a change of {formats.points(moved)} points"
    )
    return (moved, sentence) if moved else None


def _fused_and_sft(evidence: Evidence) -> tuple[Change, str] | None:
    """The change of Pass@K from the better evaluated SFT checkpoint to the fused model on the test problems."""
    k = ms.largest_k(evidence.reached)
    fused = ms.named(evidence.reached, "fused")
    sft = [m for m in evidence.reached if m["name"] in SFT and ms.score(m, k)]
    if k == 1 or not ms.score(fused, k) or fused is None or not sft or evidence.fallback:
        return None
    best = max(sft, key=lambda m: m[f"pass_at_{k}"]["mean"])
    moved = evidence.change(best, fused, k)
    sentence = (
        f"on held-out problems, Pass@{k} is {formats.interval(ms.score(fused, k))} for the fused model and "
        f"{formats.interval(ms.score(best, k))} for {best['name']}"
    )
    return (moved, sentence) if moved else None


def _spectrum_not_amplified(evidence: Evidence) -> Finding:
    name = "RL does not amplify the spectrum"
    k = ms.largest_k(evidence.reached)
    start, end = ms.start_of_rl(evidence.reached), next(reversed(ms.after_rl(evidence.reached)), None)
    one = evidence.change(start, end, 1) if start and end else None
    many = evidence.change(start, end, k) if start and end else None
    if k == 1 or start is None or end is None or one is None or many is None:
        return Finding(name, None, "Not checked: Pass@1 and Pass@K before RL and after an RL stage are required.")
    moved = (
        f"from {start['name']} to {end['name']}, Pass@{k} changed by {formats.points(many)} points and Pass@1 by "
        f"{formats.points(one)}"
    )
    if one["high"] < 0:
        return Finding(name, True, f"Pass@1 fell: {moved}.")
    if many["low"] > 0 and one["low"] <= 0:
        return Finding(name, True, f"Pass@{k} rose but Pass@1 did not: {moved}.")
    return Finding(name, False, f"Not seen: {moved}.")


def _rl_fits_its_data(evidence: Evidence, lines: Lines) -> Finding:
    name = "RL fits its training prompts only"
    checked = [(t, c) for t in trends(lines, "reward_mean") if (c := evidence.stage_change(t.stage))]
    if not checked:
        return Finding(name, None, f"Not checked: an evaluated stage of at least {MIN_STEPS} steps is required.")

    def listed(pairs: Sequence[tuple[Trend, Change]]) -> str:
        return "; ".join(
            f"in {t.stage}, reward went from {formats.percent(t.first)} to {formats.percent(t.last)} and held-out "
            f"Pass@1 changed by {formats.points(c)} points"
            for t, c in pairs
        )

    rose = [(t, c) for t, c in checked if t.clear and t.rise > REWARD_RISE and c["low"] <= 0]
    # If the interval contains the rise of the reward, the scores may have followed it.
    bad = [(t, c) for t, c in rose if c["high"] < t.rise]
    if bad:
        return Finding(name, True, f"Training reward rose more than the held-out scores: {listed(bad)}.")
    if rose:
        return Finding(name, None, f"Undecided: {listed(rose)}. More held-out problems would narrow the interval.")
    return Finding(name, False, f"Not seen: {listed(checked)}.")


def _code_apart(evidence: Evidence) -> Finding:
    name = "Code and mathematics far apart"
    now = _code_gap(evidence.reached[-1]) if evidence.reached else None
    if now is None:
        return Finding(name, None, "Not checked: the evaluation needs code and another subdomain.")
    first, last = evidence.reached[0], evidence.reached[-1]
    gap, sentence = now
    before = _code_gap(first)
    if before is not None and first is not last:
        sentence += f"; at {first['name']} the gap was {100 * abs(before[0]['mean']):.0f} points"
    if abs(gap["mean"]) >= CODE_GAP and not gap["low"] <= 0 <= gap["high"]:
        return Finding(name, True, f"A gap of {100 * abs(gap['mean']):.0f} points: {sentence}.")
    return Finding(name, False, f"Not seen: {sentence}.")


def _code_gap(milestone: ms.Milestone) -> tuple[Change, str] | None:
    """The mean Pass@1 of the other subdomains minus Pass@1 of code, with its sentence."""
    scores = {d: s for d in ms.subdomains([milestone]) if (s := ms.subdomain_score(milestone, d, 1))}
    others = [score for subdomain, score in scores.items() if subdomain != CODE]
    if CODE not in scores or not others:
        return None
    mean = fmean(s["mean"] for s in others)
    half = hypot(*(_half(s) for s in others)) / len(others)
    gap = _unpaired(scores[CODE], {"mean": mean, "low": mean - half, "high": mean + half})
    sentence = (
        f"at milestone {milestone['name']}, Pass@1 is {formats.percent(scores[CODE]['mean'])} in code and "
        f"{formats.percent(mean)} on average in the other subdomains"
    )
    return (gap, sentence) if gap else None


def _unpaired(before: Change | None, after: Change | None) -> Change | None:
    """The difference of two scores with independent 95% intervals."""
    if not before or not after:
        return None
    mean, half = after["mean"] - before["mean"], hypot(_half(before), _half(after))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def _half(score: Change) -> float:
    return (score["high"] - score["low"]) / 2
