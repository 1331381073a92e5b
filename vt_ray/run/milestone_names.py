"""The milestones of a run, by name and in order: base, sft_last, sft_best, fused, then the RL stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SFT = ("sft_last", "sft_best")
BEFORE_RL = ("base", *SFT, "fused")
# The milestone that replaces the RL stages if signal.control=sft.
SFT_CONTINUED = "sft_continued"


def rl_stages(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The RL stages of a run with this config; empty if SFT continues in their place."""
    if config.get("signal", {}).get("control") == "sft":
        return []
    return config.get("curriculum", {}).get("stages") or []


def planned(config: Mapping[str, Any]) -> list[str]:
    """The milestones that a run with this config has at its end, in order."""
    return [*BEFORE_RL, *([stage["name"] for stage in rl_stages(config)] or [SFT_CONTINUED])]
