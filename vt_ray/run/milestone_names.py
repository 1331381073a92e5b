"""The milestones of a run, by name and in order: base, sft_last, sft_best, fused, the RL stages, self_distil.

A run has the milestones of its phases only (the setting `phases`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vt_ray.config import DEFAULT_PHASES

SFT = ("sft_last", "sft_best")
BEFORE_RL = ("base", *SFT, "fused")
# The milestone that each phase before RL makes.
MADE_BY = {"sft": "sft_last", "probe": "sft_best", "fuse": "fused"}
# The milestone that replaces the RL stages if signal.control=sft.
SFT_CONTINUED = "sft_continued"
# The milestone of the phase of the same name, after the RL stages.
SELF_DISTIL = "self_distil"


def phases(config: Mapping[str, Any]) -> Sequence[str]:
    """The phases of a run with this config. A run of an older version has the default ones."""
    return config.get("phases", DEFAULT_PHASES)


def rl_stages(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The RL stages of a run with this config; empty without the phase rl, or if SFT continues in their place."""
    if "rl" not in phases(config) or config.get("signal", {}).get("control") == "sft":
        return []
    return config.get("curriculum", {}).get("stages") or []


def before_rl(config: Mapping[str, Any]) -> list[str]:
    """The milestones before RL that a run with this config has, in order."""
    return ["base", *(MADE_BY[phase] for phase in phases(config) if phase in MADE_BY), *model_milestones(config)]


def named_models(entries: Sequence[str]) -> list[tuple[str, str]]:
    """[(milestone, folder)] of the entries of `evaluation.models`: NAME=FOLDER, or FOLDER with its own name."""
    parted = [(entry.partition("="), entry) for entry in entries]
    # A name has no slash: runs/lam=0.5/model is a folder.
    return [
        (name, folder) if folder and "/" not in name else (Path(entry).name, entry)
        for (name, _, folder), entry in parted
    ]


def model_milestones(config: Mapping[str, Any]) -> list[str]:
    """The milestones of `evaluation.models`, without the base model."""
    base = config.get("model", {}).get("path")
    models = config.get("evaluation", {}).get("models", [])
    return [name for name, folder in named_models(models) if folder != base]


def planned(config: Mapping[str, Any]) -> list[str]:
    """The milestones that a run with this config has at its end, in order."""
    trained = [stage["name"] for stage in rl_stages(config)] or [SFT_CONTINUED] if "rl" in phases(config) else []
    distilled = [SELF_DISTIL] if SELF_DISTIL in phases(config) else []
    return [*before_rl(config), *trained, *distilled]
