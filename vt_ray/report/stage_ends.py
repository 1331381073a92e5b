"""Where each RL stage ended, and why, as rl/<stage>/stage.json says it; older runs' say nothing of a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STAGE_DONE = "stage.json"
# Why a stage ended that no gate has ended.
ALL_STEPS = "steps"

End = Mapping[str, Any]


def stage_end(root: Path, stage: str) -> End:
    """{steps, ended, ...} of a stage that has ended; empty while it has not, or where the file cannot be read."""
    try:
        found = json.loads((root / "rl" / stage / STAGE_DONE).read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def early_end(end: End, planned: int | None) -> str:
    """Why a gate has ended the stage before its `planned` steps; "" where none has."""
    why = str(end.get("ended") or "")
    return "" if why in ("", ALL_STEPS) or end.get("steps") == planned else why


def in_short(why: str) -> str:
    """`target` of `target: held-out accuracy 0.812 reached 0.8`."""
    return why.partition(":")[0]


def sentence(stage: str, end: End, planned: int | None) -> str:
    """`math_short ended after 7 of 12 steps, by its gate (...)`, "" where it ran through all of them."""
    why = early_end(end, planned)
    if not why:
        return ""
    of = f" of {planned}" if planned else ""
    return f"{stage} ended after {end.get('steps', '?')}{of} steps: {why}."
