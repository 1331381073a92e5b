"""Where each RL stage ended, and why, as rl/<stage>/stage.json says it; older runs' say nothing of a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vt_ray.run.paths import RunPaths

# Why a stage ended that no gate has ended.
ALL_STEPS = "steps"

End = Mapping[str, Any]


def stage_end(root: Path, stage: str) -> End:
    """{steps, ended, ...} of a stage that has ended; empty while it has not, or where the file cannot be read."""
    try:
        found = json.loads(RunPaths(root).stage(stage).end.read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def early_end(end: End, planned: int | None) -> str:
    """Why a gate has ended the stage before its `planned` steps; "" where none has."""
    why = str(end.get("ended") or "")
    return "" if why in ("", ALL_STEPS) or end.get("steps") == planned else why


def in_short(why: str) -> str:
    """`target` of `target: probe accuracy 0.812 reached 0.8`."""
    return why.partition(":")[0]


def steps_of(steps: Any, planned: int | None) -> str:
    """`7 of 12 steps`, or `12 steps` where all planned ones were done or nobody knows how many were."""
    return f"{steps} of {planned} steps" if planned and steps != planned else f"{steps} steps"


def sentences(summary: Mapping[str, Any]) -> list[str]:
    """Of summary.json: `math_short ended after 7 of 12 steps (target: probe accuracy ...).` for each early end."""
    return [
        f"{stage['name']} ended after {steps_of(stage['steps'], stage['planned_steps'])} ({why})."
        for stage in summary.get("stages") or []
        if (why := early_end(stage, stage["planned_steps"]))
    ]
