"""The models of a finished run, for `evaluation.models_of`: base, SFT, fused, and one for each RL stage.

summary.json (names of the milestones), folders of the run --models_of_run--> ["base=FOLDER", "fused=FOLDER", ...]
"""

from __future__ import annotations

import json
from pathlib import Path

from vt_ray.config import ConfigError
from vt_ray.run.milestone_names import FIRST, SECOND, SELF_DISTIL, SFT_CONTINUED, SPECTRUM_STAGES
from vt_ray.run.paths import ProbePaths, RunPaths, SftPaths


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
    for made in (FIRST.milestones, SECOND.milestones):
        if made["sft"] in folders and folders.get(made["probe"]) == folders[made["sft"]]:
            del folders[made["probe"]]
    return [f"{name}={folder}" for name, folder in folders.items()]


def _folder(paths: RunPaths, milestone: str) -> Path:
    """Where the run keeps the model of a milestone."""
    if milestone == "base":
        return paths.base
    if milestone in (SFT_CONTINUED, SELF_DISTIL):
        return _last(SftPaths(paths.root / milestone))
    for stage in SPECTRUM_STAGES:
        sft = SftPaths(paths.root / stage.sft)
        if milestone == stage.milestones["sft"]:
            return _last(sft)
        if milestone == stage.milestones["probe"]:
            table = ProbePaths(paths.root / stage.probe).table
            probed = json.loads(table.read_text()) if table.exists() else {}
            return sft.checkpoints / probed.get("best_pass_at_1", "step_*")
        if milestone == stage.fused:
            return paths.root / stage.fused
    return paths.stage(milestone).model


def _last(sft: SftPaths) -> Path:
    return max(sft.checkpoints.glob("step_*"), default=sft.checkpoints / "step_*")
