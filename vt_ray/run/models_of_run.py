"""The models of a finished run, for `evaluation.models_of`: base, SFT, fused, and one for each RL stage.

summary.json (names of the milestones), folders of the run --models_of_run--> ["base=FOLDER", "fused=FOLDER", ...]
"""

from __future__ import annotations

import json
from pathlib import Path

from vt_ray.config import ConfigError
from vt_ray.run.milestone_names import SELF_DISTIL, SFT_CONTINUED
from vt_ray.run.paths import RunPaths, SftPaths


def models_of_run(root: Path) -> list[str]:
    """The entries NAME=FOLDER of `evaluation.models` for the milestones of the run in `root`, in their order.

    sft_best is left out if it is the checkpoint of sft_last. Raises ConfigError for a run that is not finished, and for
    a milestone without a model folder.
    """
    paths = RunPaths(root.absolute())
    if not paths.summary.exists():
        raise ConfigError(
            f"evaluation.models_of={str(root)!r} has no summary.json: give the folder of a finished run, runs/NAME"
        )
    names = [milestone["name"] for milestone in json.loads(paths.summary.read_text())["milestones"]]
    folders = {name: _folder(paths, name) for name in names}
    if lost := [f"{name} ({folder})" for name, folder in folders.items() if not folder.is_dir()]:
        raise ConfigError(
            f"evaluation.models_of={str(root)!r}: no model folder of {', '.join(lost)}: give the models in "
            "'evaluation.models=[\"NAME=FOLDER\",...]'"
        )
    if "sft_last" in folders and folders.get("sft_best") == folders["sft_last"]:
        del folders["sft_best"]
    return [f"{name}={folder}" for name, folder in folders.items()]


def _folder(paths: RunPaths, milestone: str) -> Path:
    """Where the run keeps the model of a milestone."""
    if milestone == "base":
        return paths.base
    if milestone == "fused":
        return paths.fused
    if milestone in ("sft_last", SFT_CONTINUED, SELF_DISTIL):
        sft = paths.sft if milestone == "sft_last" else SftPaths(paths.root / milestone)
        return max(sft.checkpoints.glob("*"), default=sft.checkpoints / "step_*")
    if milestone == "sft_best":
        probed = json.loads(paths.probe.table.read_text()) if paths.probe.table.exists() else {}
        return paths.sft.checkpoints / probed.get("best_pass_at_1", "step_*")
    return paths.stage(milestone).model
