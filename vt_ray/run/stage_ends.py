"""The end of each RL stage and its reason, from rl/<stage>/stage.json. Older runs have no reason in this file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vt_ray.run.paths import RunPaths

# The reason of a stage that no gate has ended: it made all its steps.
ALL_STEPS = "steps"

End = Mapping[str, Any]


def stage_end(root: Path, stage: str) -> End:
    """{steps, ended, ...} of a stage that has ended; empty if it has not ended or the file cannot be read."""
    try:
        found = json.loads(RunPaths(root).stage(stage).end.read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def early_end(end: End, planned: int | None) -> str:
    """The reason why a gate ended the stage before its `planned` steps; "" if no gate did."""
    why = str(end.get("ended") or "")
    return "" if why in ("", ALL_STEPS) or end.get("steps") == planned else why


def in_short(why: str) -> str:
    """`target` of `target: probe accuracy 0.812 reached 0.8`."""
    return why.partition(":")[0]


def steps_of(steps: Any, planned: int | None) -> str:
    """`7 of 12 steps`, or `12 steps` if that is the planned number or no plan is known."""
    return f"{steps} of {planned} steps" if planned and steps != planned else f"{steps} steps"


def sentences(summary: Mapping[str, Any]) -> list[str]:
    """A sentence for each early end in summary.json: `math_short ended after 7 of 12 steps (target: ...).`"""
    return [
        f"{stage['name']} ended after {steps_of(stage['steps'], stage['planned_steps'])} ({why})."
        for stage in summary.get("stages") or []
        if (why := early_end(stage, stage["planned_steps"]))
    ]
