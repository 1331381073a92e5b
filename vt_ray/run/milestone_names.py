"""The milestones of a run, by name and in order: base, sft_last, sft_best, fused, the RL stages, self_distil.

With spectrum.second_stage, sft2_last, sft2_best and fused2 come before the RL stages. A run has the milestones of its
phases only (the setting `phases`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vt_ray.config import DEFAULT_PHASES

# The phases of a spectrum stage, as in the setting `phases`.
SPECTRUM_PHASES = ("sft", "probe", "fuse")


@dataclass(frozen=True)
class SpectrumStage:
    """The first or the second SFT with its probing and fusion: the names of its phase folders and milestones."""

    number: int

    @property
    def sft(self) -> str:
        return f"sft{self._suffix}"

    @property
    def probe(self) -> str:
        return f"probe{self._suffix}"

    @property
    def fused(self) -> str:
        return f"fused{self._suffix}"

    @property
    def folders(self) -> dict[str, str]:
        """{phase: its folder in the run's folder}."""
        return {"sft": self.sft, "probe": self.probe, "fuse": self.fused}

    @property
    def milestones(self) -> dict[str, str]:
        """{phase: the milestone that it makes}."""
        return {"sft": f"{self.sft}_last", "probe": f"{self.sft}_best", "fuse": self.fused}

    @property
    def _suffix(self) -> str:
        return "" if self.number == 1 else str(self.number)


FIRST, SECOND = SPECTRUM_STAGES = (SpectrumStage(1), SpectrumStage(2))
SFT = ("sft_last", "sft_best")
BEFORE_RL = ("base", *(name for stage in SPECTRUM_STAGES for name in stage.milestones.values()))
# The gain of the signal phase is measured from the best of these milestones. A run with none of them starts RL from the
# last milestone before RL.
STARTS = tuple(stage.milestones[phase] for stage in SPECTRUM_STAGES for phase in ("probe", "fuse"))
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


def spectrum_stages(config: Mapping[str, Any]) -> Sequence[SpectrumStage]:
    """The spectrum stages of a run with this config: none, the first, or both."""
    if not {*SPECTRUM_PHASES} & {*phases(config)}:
        return ()
    second = config.get("spectrum", {}).get("second_stage") or {}
    return SPECTRUM_STAGES if second.get("steps") or second.get("epochs") is not None else (FIRST,)


def before_rl(config: Mapping[str, Any]) -> list[str]:
    """The milestones before RL that a run with this config has, in order."""
    made = [
        milestone
        for stage in spectrum_stages(config)
        for phase, milestone in stage.milestones.items()
        if phase in phases(config)
    ]
    return ["base", *made, *model_milestones(config)]


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
    return [*before_self_distil(config), *([SELF_DISTIL] if SELF_DISTIL in phases(config) else [])]


def before_self_distil(config: Mapping[str, Any]) -> list[str]:
    """The milestones of the phases up to RL, in order: the models that rejection may ask."""
    if "rl" not in phases(config):
        return before_rl(config)
    return [*before_rl(config), *([stage["name"] for stage in rl_stages(config)] or [SFT_CONTINUED])]


def rejection_models(config: Mapping[str, Any]) -> list[str]:
    """The entries of `rejection.models`, or their default: the RL stages, else the newest model of the run."""
    given = config["rejection"]["models"]
    return list(given or [stage["name"] for stage in rl_stages(config)] or before_self_distil(config)[-1:])


def given_folders(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """[(name, folder)] of the models of rejection and self_distil that are no milestones of the run."""
    entries = config["rejection"]["models"] if "rejection" in phases(config) else []
    student = [config[SELF_DISTIL]["student"]] if SELF_DISTIL in phases(config) else []
    return named_models([entry for entry in [*entries, *student] if entry and entry not in before_self_distil(config)])
