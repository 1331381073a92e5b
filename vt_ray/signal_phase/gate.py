"""The gate of a stage: ends it at a target accuracy, on a plateau, or if too many completions are truncated."""

from __future__ import annotations

from collections.abc import Sequence

from vt_ray.config import GateConfig


def end_reason(gate: GateConfig, steps: int, probe_accuracy: Sequence[float], truncated: Sequence[float]) -> str | None:
    """The reason why a stage ends after `steps` steps, or None if it continues.

    `probe_accuracy` are the accuracies of the stage's probes so far, and `truncated` the share of truncated completions
    in each step so far, both oldest first.
    """
    if steps < gate.min_steps:
        return None
    if gate.target and probe_accuracy and probe_accuracy[-1] >= gate.target:
        return f"target: probe accuracy {probe_accuracy[-1]:.3f} reached {gate.target:g}"
    if gate.plateau_evals and _is_plateau(probe_accuracy, gate.plateau_evals, gate.plateau_delta):
        return f"plateau: probe accuracy has not risen by {gate.plateau_delta:g} in {gate.plateau_evals} evaluations"
    recent = truncated[-gate.window :]
    if gate.max_truncated_share < 1 and len(recent) == gate.window:
        share = sum(recent) / len(recent)
        if share > gate.max_truncated_share:
            return f"truncation: {share:.1%} of the last {gate.window} steps' completions, above the limit"
    return None


def due(gate: GateConfig, steps: int) -> bool:
    """Whether the gate probes after `steps` steps."""
    return gate.eval_every > 0 and steps % gate.eval_every == 0


def _is_plateau(accuracies: Sequence[float], patience: int, delta: float) -> bool:
    """Whether none of the last `patience` evaluations exceeds the best one before them by more than `delta`."""
    before, last = accuracies[:-patience], accuracies[-patience:]
    return bool(before) and max(last) <= max(before) + delta
