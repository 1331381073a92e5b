"""Training steps without an update: their count, and the error that ends a run after several in a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from vt_ray.run.step_line import SkippedFigures

MOST_IN_A_ROW = 3


class TrainingDiverged(RuntimeError):
    """Several steps in a row made no update. The message has the step, its loss and gradient norm, and remedies."""


def was_skipped(metrics: Mapping[str, Any]) -> bool:
    """Whether a step made no update: its metrics say `skipped`, or its loss or gradient norm is not finite.

    None counts as not finite: a line of metrics.jsonl has null in place of NaN and infinity.
    """
    figures = (metrics.get("loss", 0.0), metrics.get("grad_norm", 0.0))
    return bool(metrics.get("skipped")) or not all(f is not None and isfinite(f) for f in figures)


@dataclass
class SkippedSteps:
    """The skipped steps of one phase: `total`, and `in_a_row` up to its newest step."""

    total: int = 0
    in_a_row: int = 0

    def count(self, metrics: Mapping[str, Any]) -> SkippedFigures:
        """Count one step. Returns the figures of its line: `skipped`, and the number of `skipped_steps` so far."""
        skipped = was_skipped(metrics)
        self.total += skipped
        self.in_a_row = self.in_a_row + 1 if skipped else 0
        return {"skipped": skipped, "skipped_steps": self.total}

    def raise_if_diverged(self, where: str, metrics: Mapping[str, Any], section: str) -> None:
        """Raises TrainingDiverged after MOST_IN_A_ROW skipped steps in a row.

        `where` names the newest step, `section` is the config section of its phase.
        """
        if self.in_a_row < MOST_IN_A_ROW:
            return
        raise TrainingDiverged(
            f"{where}: no update was made in {self.in_a_row} steps in a row, now with loss {metrics['loss']} and "
            f"gradient norm {metrics['grad_norm']} (both must be finite). The weights are unchanged since the last "
            f"update. Lower {section}.optimizer.lr, raise {section}.optimizer.warmup_steps or set model.dtype=float32, "
            "each under another run_name=... (the objective of a run is fixed), or check the data of these steps"
        )
