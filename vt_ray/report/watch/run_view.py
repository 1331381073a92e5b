"""The state of a run while it works, read from its folder: `vt-tools watch` shows it. Reads only new lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vt_ray.config import DEFAULT_PHASES, PHASES
from vt_ray.evaluation.milestones import milestone_summaries
from vt_ray.report.metrics import Lines
from vt_ray.run.metrics_log import Tail
from vt_ray.run.milestone_names import (
    FIRST,
    SECOND,
    SFT_CONTINUED,
    SpectrumStage,
    phases,
    planned,
    rl_stages,
    spectrum_stages,
)
from vt_ray.run.paths import DONE, ProbePaths, RunPaths, SftPaths
from vt_ray.run.read_run import read_run
from vt_ray.run.run_folder import is_locked, working_folder
from vt_ray.run.stage_ends import early_end, stage_end

# The phases after RL, in order; the folder of each has its name.
DISTILLATION = PHASES[len(DEFAULT_PHASES) :]
PACE_STEPS = 10


@dataclass(frozen=True)
class Part:
    """One progress bar: `done` of `total` steps, checkpoints or milestones, and the seconds that they took.

    `ended` is the reason if a gate has ended the stage early; the remaining steps are then not made.
    """

    name: str
    done: int
    total: int
    seconds: float
    ended: str = ""

    @property
    def left(self) -> int:
        return 0 if self.ended else self.total - self.done


@dataclass(frozen=True)
class View:
    """A run at one moment.

    state: running, finished or stopped.
    phase: the current phase, or the last one of a stopped run.
    left_s: seconds to the end of the SFT or of all RL stages at the rate of the last steps, without evaluations; None
        if there is no step yet.
    recoveries: lines of recoveries.jsonl, one for each actor that was replaced.
    """

    identity: Mapping[str, Any]
    state: str
    phase: str
    parts: Sequence[Part]
    sft: Lines
    rl: Lines
    milestones: Sequence[Mapping[str, Any]]
    left_s: float | None
    recoveries: Lines = ()


class LiveRun:
    """Reads a run folder repeatedly. Raises FileNotFoundError and ValueError as `read_run`."""

    def __init__(self, root: Path):
        from omegaconf import OmegaConf

        paths = self.paths = RunPaths(root.resolve())
        self.identity, config = read_run(root)
        self.config: Any = OmegaConf.to_container(config)
        self._rl = Tail(paths.metrics)
        # {folder of an SFT: its metrics}.
        self._sft: dict[str, Tail] = {}
        self._recoveries = Tail(paths.recoveries)
        # {file: scores}: each file is read once.
        self._scored: dict[Path, Any] = {}
        self._milestones: Sequence[Mapping[str, Any]] = []

    def view(self) -> View:
        # Before the files: a run that ends in between is shown as running once more.
        running = is_locked(self.paths.lock)
        by_sft = {stage.sft: self._sft_lines(stage.sft) for stage in spectrum_stages(self.config)}
        rl, sft = self._rl.read(), next((lines for lines in reversed(by_sft.values()) if lines), ())
        milestones = self._evaluated()
        parts = self._parts(by_sft, rl, milestones)
        state = "running" if running else "finished" if self._finished(milestones) else "stopped"
        left = None if state == "finished" else self._left_s(parts, sft, rl)
        recoveries = self._recoveries.read()
        return View(self.identity, state, self._phase(parts), parts, sft, rl, self._milestones, left, recoveries)

    @property
    def stages(self) -> list[Mapping[str, Any]]:
        return rl_stages(self.config)

    def _finished(self, milestones: Sequence[Path]) -> bool:
        """Whether summary.json, report.html and all milestones exist; the report is written last."""
        written = self.paths.summary.exists() and self.paths.report.exists()
        return written and len(milestones) == len(planned(self.config))

    def _phase(self, parts: Sequence[Part]) -> str:
        if not self.paths.current_phase.exists():
            return "start-up"
        for folder, name in self._folders_before_rl().items():
            if not (self.paths.root / folder / DONE).exists():
                return name
        by_name = {part.name: part for part in parts}
        for stage in self.stages:
            name = stage["name"]
            if not self.paths.scores(name).exists():
                filtering = stage.get("filter_samples") and not self.paths.stage(name).pool.exists()
                training = name if by_name[name].left else f"evaluate {name}"
                return f"filter {name}" if filtering else training
        if SFT_CONTINUED in planned(self.config) and not self.paths.scores(SFT_CONTINUED).exists():
            return SFT_CONTINUED
        for name in DISTILLATION:
            if name in phases(self.config) and not (self.paths.root / name / DONE).exists():
                return name
        last = planned(self.config)[-1]
        return "report" if self.paths.scores(last).exists() else last

    def _folders_before_rl(self) -> dict[str, str]:
        """{folder: name on the screen} of the run's phases before RL, in order."""
        found = {"base": "base"}
        for stage in spectrum_stages(self.config):
            if stage is SECOND:
                found["error_rates"] = "error rates"
            found |= {
                folder: folder.replace("fused", "fuse")
                for phase, folder in stage.folders.items()
                if phase in phases(self.config)
            }
        return {**found, "spectrum_scores": "evaluate"}

    def _spectrum_parts(self, stage: SpectrumStage, sft: Lines) -> list[Part]:
        spectrum = self.config["spectrum"]
        plan, given = dict(spectrum["sft"]), spectrum.get("checkpoints") or []
        if stage is SECOND:
            plan |= {key: spectrum["second_stage"][key] or plan[key] for key in ("steps", "checkpoint_every")}
        if (self.paths.root / stage.sft / DONE).exists():
            plan["steps"] = len(sft)  # with `epochs`, the number is known at the end
        checkpoints = len(given) or -(-plan["steps"] // plan["checkpoint_every"])
        probed = [self._read(path) for path in ProbePaths(self._folder(stage.probe)).all_scores()]
        # With racing, every checkpoint has some scores after the first round.
        racing = spectrum["probe"].get("racing") and not ProbePaths(self._folder(stage.probe)).table.exists()
        parts = {
            "sft": Part(stage.sft, len(sft), plan["steps"], sum(line["seconds"] for line in sft)),
            "probe": Part(stage.probe, 0 if racing else len(probed), checkpoints, sum(p["seconds"] for p in probed)),
        }
        return [part for phase, part in parts.items() if phase in phases(self.config)]

    def _parts(self, by_sft: Mapping[str, Lines], rl: Lines, milestones: Sequence[Path]) -> list[Part]:
        stages = spectrum_stages(self.config)
        parts = [part for stage in stages for part in self._spectrum_parts(stage, by_sft[stage.sft])]
        for stage in self.stages:
            lines = _of_stage(rl, stage["name"])
            seconds = sum(line["seconds"]["total"] for line in lines)
            ended = early_end(stage_end(self.paths.root, stage["name"]), stage["steps"])
            parts.append(Part(stage["name"], len(lines), stage["steps"], seconds, ended))
        seconds = sum(self._read(path)["seconds"] for path in milestones)
        return [*parts, Part("evaluate", len(milestones), len(planned(self.config)), seconds)]

    def _left_s(self, parts: Sequence[Part], sft: Lines, rl: Lines) -> float | None:
        if rl:
            stages = {stage["name"] for stage in self.stages}
            left = sum(part.left for part in parts if part.name in stages)
            # Only the current stage: the time of a step differs between stages.
            recent = [line["seconds"]["total"] for line in _of_stage(rl, rl[-1]["stage"])[-PACE_STEPS:]]
        else:
            left = sum(part.left for part in parts if part.name in (FIRST.sft, SECOND.sft))
            recent = [line["seconds"] for line in sft[-PACE_STEPS:]]
        return left * sum(recent) / len(recent) if recent and left else None

    def _sft_lines(self, folder: str) -> Lines:
        path = SftPaths(self._folder(folder)).metrics
        if folder not in self._sft or self._sft[folder].path != path:
            self._sft[folder] = Tail(path)
        return self._sft[folder].read()

    def _evaluated(self) -> list[Path]:
        """The score files so far. Those before RL are in a shared folder until its phase has finished."""
        names = planned(self.config)
        folders = (self.paths.evaluation, self._folder("spectrum_scores"))
        found = [next((f for f in (d / f"{name}.json" for d in folders) if f.exists()), None) for name in names]
        paths = [path for path in found if path]
        if len(paths) != len(self._milestones):
            self._milestones = milestone_summaries(paths, self.config["evaluation"]["k"])
        return paths

    def _folder(self, phase: str) -> Path:
        """The folder with the phase's files: the run's own once the phase has finished, else the shared one."""
        mine = self.paths.root / phase
        return mine if (mine / DONE).exists() else working_folder(self.paths, phase) or mine

    def _read(self, path: Path) -> Any:
        if path not in self._scored:
            self._scored[path] = json.loads(path.read_text())
        return self._scored[path]


def _of_stage(rl: Lines, stage: str) -> Lines:
    return [line for line in rl if line["stage"] == stage]
