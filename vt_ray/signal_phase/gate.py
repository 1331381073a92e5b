"""When a stage ends: after its steps, at its target, on a plateau, or where its context has become too short."""

from __future__ import annotations

from collections.abc import Sequence

from vt_ray.config import GateConfig


def verdict(gate: GateConfig, steps: int, probe_accuracy: Sequence[float], truncated: Sequence[float]) -> str | None:
    """Why a stage ends after `steps` steps, or None where it goes on.

    `probe_accuracy` holds the accuracies of the stage's probes so far, `truncated` the share of completions cut off in
    each step so far, both oldest first.
    """
    if steps < gate.min_steps:
        return None
    if gate.target and probe_accuracy and probe_accuracy[-1] >= gate.target:
        return f"target: probe accuracy {probe_accuracy[-1]:.3f} reached {gate.target:g}"
    if gate.plateau_evals and _stands_still(probe_accuracy, gate.plateau_evals, gate.plateau_delta):
        return f"plateau: probe accuracy has not risen by {gate.plateau_delta:g} in {gate.plateau_evals} evaluations"
    recent = truncated[-gate.window :]
    if gate.max_truncated_share < 1 and len(recent) == gate.window:
        share = sum(recent) / len(recent)
        if share > gate.max_truncated_share:
            return f"truncation: {share:.1%} of the last {gate.window} steps' completions, above the limit"
    return None


def due(gate: GateConfig, steps: int) -> bool:
    """Whether the probing problems are to be answered after `steps` steps."""
    return gate.eval_every > 0 and steps % gate.eval_every == 0


def _stands_still(accuracies: Sequence[float], patience: int, delta: float) -> bool:
    """None of the last `patience` evaluations is above the best before them by more than `delta`."""
    before, last = accuracies[:-patience], accuracies[-patience:]
    return bool(before) and max(last) <= max(before) + delta
