"""Training steps that changed no weight: their count, and the end of a run that has several in a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

MOST_IN_A_ROW = 3


class TrainingDiverged(RuntimeError):
    """Several steps in a row changed no weight. The message names the step, its loss, its norm and remedies."""


def was_skipped(metrics: Mapping[str, Any]) -> bool:
    """Whether the learner's `metrics` of a step say that no update was made, or hold a loss or norm that is no number.

    A line of metrics.jsonl holds null in the place of NaN and infinity.
    """
    figures = (metrics.get("loss", 0.0), metrics.get("grad_norm", 0.0))
    return bool(metrics.get("skipped")) or not all(f is not None and isfinite(f) for f in figures)


@dataclass
class SkippedSteps:
    """`total` and `in_a_row` count the skipped steps of one phase, the latter up to its newest step."""

    total: int = 0
    in_a_row: int = 0

    def note(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Count one step. Returns the figures for its line in the metrics: `skipped`, and `skipped_steps` so far."""
        skipped = was_skipped(metrics)
        self.total += skipped
        self.in_a_row = self.in_a_row + 1 if skipped else 0
        return {"skipped": skipped, "skipped_steps": self.total}

    def refuse_many(self, where: str, metrics: Mapping[str, Any], section: str) -> None:
        """Raises TrainingDiverged after MOST_IN_A_ROW skipped steps. `where` names the newest step, `section` the
        config's section of its phase."""
        if self.in_a_row < MOST_IN_A_ROW:
            return
        raise TrainingDiverged(
            f"{where}: no update was made in {self.in_a_row} steps in a row, now with loss {metrics['loss']} and "
            f"gradient norm {metrics['grad_norm']} (both must be finite); the weights are those of the last good step. "
            f"Lower {section}.optimizer.lr, raise {section}.optimizer.warmup_steps or take model.dtype=float32, each "
            "under another run_name=... (a run keeps its objective), or look for unusual data in these steps"
        )
