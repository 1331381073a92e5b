"""Reads all files of a run folder for the report. A missing or damaged file is read as empty."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vt_ray.config import DEFAULT_PHASES
from vt_ray.report.question_scores import Scores, question_scores
from vt_ray.run.metrics_log import parse_line
from vt_ray.run.milestone_names import SECOND, SPECTRUM_STAGES
from vt_ray.run.paths import FusedPaths, ProbePaths, RunPaths, SftPaths
from vt_ray.run.stage_ends import End, stage_end


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The content of a run folder.

    identity: run.json.
    config: the text of config.yaml.
    sft, rl: lines of the metrics, in the order of the steps.
    second_sft, second_probe: sft2/metrics.jsonl and probe2/probe.json, empty without a second stage.
    held_out: {milestone: scores by question} on the test problems.
    probed: {checkpoint or "fused": scores by question} on the probing problems.
    planned: {stage: settings} of the RL stages in the config.
    ends: {stage: stage.json} of the stages that have ended.
    phases: the phases of the run.
    recoveries: lines of recoveries.jsonl; None for an older run without this file.
    prompt: prompt.json; empty for an older run.
    leakage: the report of the decontamination; empty without one.
    sources: the counts of each source of rows, data/sources.json.
    examples: the counts of the SFT examples, sft/examples/examples.json.
    rejection: the fates of the completions of each model, rejection/rejection.json.
    selection: the traces of self-distillation by reason and bucket, self_distil/selection.json.
    distilled: lines of the metrics of the student's SFT.
    fusions: {"fused" or "fused2": {"sources": fusion.json, "gate": gate.json}} of the fusions so far.
    """

    root: Path
    identity: Mapping[str, Any]
    config: str
    summary: Mapping[str, Any]
    probe: Mapping[str, Any]
    sft: Sequence[Mapping[str, Any]]
    rl: Sequence[Mapping[str, Any]]
    held_out: Mapping[str, Scores] = field(default_factory=dict)
    probed: Mapping[str, Scores] = field(default_factory=dict)
    planned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pipelined: bool = False
    phases: Sequence[str] = DEFAULT_PHASES
    ends: Mapping[str, End] = field(default_factory=dict)
    recoveries: Sequence[Mapping[str, Any]] | None = None
    prompt: Mapping[str, Any] = field(default_factory=dict)
    leakage: Mapping[str, Any] = field(default_factory=dict)
    sources: Sequence[Mapping[str, Any]] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    rejection: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)
    distilled: Sequence[Mapping[str, Any]] = ()
    fusions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    second_sft: Sequence[Mapping[str, Any]] = ()
    second_probe: Mapping[str, Any] = field(default_factory=dict)

    def known(self, key: str) -> Any:
        """The value of `key` in run.json, else in summary.json, else None."""
        return self.identity.get(key, self.summary.get(key))

    @property
    def stages(self) -> list[str]:
        """The RL stages in the order in which they ran."""
        return list(dict.fromkeys(str(line.get("stage", "")) for line in self.rl))

    @property
    def stage_subdomains(self) -> dict[str, Sequence[str]]:
        """{stage: subdomains that it trains on}, if the config has them."""
        return {name: stage["subdomains"] for name, stage in self.planned.items() if "subdomains" in stage}

    def planned_steps(self, stage: str) -> int | None:
        return self.planned.get(stage, {}).get("steps")


def read_run(root: Path) -> RunRecord:
    """Read the run folder `root`. Raises FileNotFoundError if it is not a folder."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: pass the folder of a run, runs/<run_name>")
    paths = RunPaths(root)
    config = _read_text(paths.config)
    signal, planned, phases = _settings(config)
    return RunRecord(
        root=root,
        identity=_read_object(paths.run_json),
        config=config,
        summary=_read_object(paths.summary),
        probe=_read_object(paths.probe.table),
        sft=_read_lines(paths.sft.metrics, "sft"),
        second_sft=_read_lines(SftPaths(root / SECOND.sft).metrics, "sft"),
        second_probe=_read_object(ProbePaths(root / SECOND.probe).table),
        rl=_read_lines(paths.metrics, "rl"),
        held_out=_read_scores(paths.evaluation.glob("*.json")),
        probed=_read_scores(paths.probe.all_scores()) | _read_scores([paths.fused_probe], "fused"),
        planned=planned,
        pipelined=signal.get("schedule") == "pipelined",
        phases=phases,
        ends={name: end for name in planned if (end := stage_end(root, name))},
        recoveries=_read_recoveries(paths.recoveries),
        prompt=_read_object(paths.prompt),
        leakage=_read_object(paths.decontamination).get("report", {}),
        sources=_read_object(paths.sources).get("sources", ()),
        examples=_read_object(paths.sft.examples / "examples.json"),
        rejection=_read_object(paths.rejection.table),
        selection=_read_object(paths.self_distil.selection),
        distilled=_read_lines(paths.self_distil.sft.metrics, "sft"),
        fusions={s.fused: found for s in SPECTRUM_STAGES if (found := _fusion(FusedPaths(root / s.fused)))},
    )


def _fusion(paths: FusedPaths) -> dict[str, Any]:
    sources = _read_object(paths.sources)
    return {"sources": sources, "gate": _read_object(paths.gate)} if sources else {}


def _read_scores(files: Iterable[Path], name: str = "") -> dict[str, Scores]:
    """{name or the file's stem: scores by question}. Files without scores are left out."""
    found = {name or file.stem: question_scores(_read_object(file)) for file in sorted(files)}
    return {model: scores for model, scores in found.items() if scores}


def _settings(config: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Sequence[str]]:
    """The settings of the signal phase, {stage: settings}, and the phases: empty, empty and all if the config cannot be
    read."""
    import yaml

    try:
        read = yaml.safe_load(config)
        stages = {stage["name"]: stage for stage in read["curriculum"]["stages"]}
        return read.get("signal") or {}, stages, read.get("phases", DEFAULT_PHASES)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return {}, {}, DEFAULT_PHASES


def _read_recoveries(path: Path) -> list[dict[str, Any]] | None:
    if not path.is_file():
        return None
    values = [_parsed(line) for line in _read_text(path).splitlines()]
    return [value for value in values if isinstance(value, dict)]


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_object(path: Path) -> dict[str, Any]:
    value = _parsed(_read_text(path))
    return value if isinstance(value, dict) else {}


def _read_lines(path: Path, phase: str) -> list[dict[str, Any]]:
    """The lines of one phase. An incomplete last line, left by a killed run, is skipped."""
    values = [_parsed(line) for line in _read_text(path).splitlines()]
    return [v for v in values if isinstance(v, dict) and v.get("phase") == phase]


def _parsed(text: str) -> Any:
    try:
        return parse_line(text)
    except json.JSONDecodeError:
        return None
