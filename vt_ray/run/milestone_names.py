"""The milestones of a run, by name and in order: base, sft_last, sft_best, fused, then the RL stages.

A run has the milestones of its phases only (the setting `phases`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vt_ray.config import PHASES

SFT = ("sft_last", "sft_best")
BEFORE_RL = ("base", *SFT, "fused")
# The milestone that each phase before RL makes.
MADE_BY = {"sft": "sft_last", "probe": "sft_best", "fuse": "fused"}
# The milestone that replaces the RL stages if signal.control=sft.
SFT_CONTINUED = "sft_continued"


def phases(config: Mapping[str, Any]) -> Sequence[str]:
    """The phases of a run with this config. A run of an older version has all of them."""
    return config.get("phases", PHASES)


def rl_stages(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The RL stages of a run with this config; empty without the phase rl, or if SFT continues in their place."""
    if "rl" not in phases(config) or config.get("signal", {}).get("control") == "sft":
        return []
    return config.get("curriculum", {}).get("stages") or []


def before_rl(config: Mapping[str, Any]) -> list[str]:
    """The milestones before RL that a run with this config has, in order."""
    return ["base", *(MADE_BY[phase] for phase in phases(config) if phase in MADE_BY), *model_milestones(config)]


def model_milestones(config: Mapping[str, Any]) -> list[str]:
    """The milestones of `evaluation.models`: the names of their folders, without the folder of the base model."""
    base = config.get("model", {}).get("path")
    return [Path(path).name for path in config.get("evaluation", {}).get("models", []) if path != base]


def planned(config: Mapping[str, Any]) -> list[str]:
    """The milestones that a run with this config has at its end, in order."""
    if "rl" not in phases(config):
        return before_rl(config)
    return [*before_rl(config), *([stage["name"] for stage in rl_stages(config)] or [SFT_CONTINUED])]
