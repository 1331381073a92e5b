"""Writes summary.json: scores, gain, costs and recoveries, collected from the files of the run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vt_ray.config import Config
from vt_ray.evaluation.milestones import gain_over_best, milestone_summaries
from vt_ray.interfaces import Hardware
from vt_ray.report.probe_tables import criterion_name, specialists
from vt_ray.run.checkpoint import read_json, write_json
from vt_ray.run.identity import config_hash
from vt_ray.run.metrics_log import read_lines
from vt_ray.run.milestone_names import (
    BEFORE_RL,
    FIRST,
    SECOND,
    SELF_DISTIL,
    SFT_CONTINUED,
    SPECTRUM_STAGES,
    STARTS,
    SpectrumStage,
)
from vt_ray.run.paths import DONE, FusedPaths, ProbePaths, RunPaths, SftPaths
from vt_ray.run.stage_ends import ALL_STEPS, stage_end


def write_summary(
    root: Path, config: Config, milestones: Sequence[str], wall_seconds: float, hardware: Hardware
) -> dict[str, Any]:
    """Write summary.json of the run folder `root` and return it. `milestones` are the names of milestones, in order.

    `wall_seconds` of this process is added to the time of earlier processes that also reached this point. The seconds
    of a phase are the sum over all processes that worked on it.
    """
    run = RunPaths(root)
    paths = [run.scores(name) for name in milestones]
    summary = {
        "run_name": config.run_name,
        "seed": config.seed,
        "weight": config.signal.mgpo.weight,
        "lambda": config.signal.mgpo.lam,
        "config_hash": config_hash(config),
        "milestones": milestone_summaries(paths, config.evaluation.k, _flagged(run.flagged)),
        "gain": gain_of_rl(paths),
        "fusion_gates": gates_of(root),
        "phases": phase_costs(run, paths),
        "stages": stages_run(root, config),
        "probes": probes_of(root),
        "recoveries": len(read_lines(run.recoveries)),
        "wall_seconds": _earlier(run.summary) + wall_seconds,
        "hardware": asdict(hardware),
        "prices": {
            "cpu_hour": config.cluster.cpu_hour_price,
            "gpu_hour": config.cluster.gpu_hour_price,
            "currency": config.cluster.currency,
        },
    }
    write_json(run.summary, summary)
    return summary


def gain_of_rl(scores: Sequence[Path]) -> dict[str, Any] | None:
    """The gain of the last milestone of RL over its best start; None if the run has no milestone of RL."""
    scores = [path for path in scores if path.stem != SELF_DISTIL]
    before = [path for path in scores if path.stem in BEFORE_RL]
    if before[-1] == scores[-1]:
        return None
    return gain_over_best([path for path in before if path.stem in STARTS] or before[-1:], scores[-1])


def phase_costs(run: RunPaths, evaluations: Sequence[Path]) -> dict[str, dict[str, float]]:
    """{phase: seconds of work, and tokens trained on or generated}, without start-up time."""
    phases = {"base": _cost([(_seconds(run.base), 0)])}
    for stage in SPECTRUM_STAGES:
        phases |= spectrum_costs(run, stage)
    phases |= stage_costs(run.root)
    continued = SftPaths(run.root / SFT_CONTINUED)
    if continued.folder.exists():
        phases[SFT_CONTINUED] = _sft_cost(continued)
    if run.rejection.table.exists():
        models = read_json(run.rejection.table)["models"].values()
        phases["rejection"] = _cost((model["seconds"], model["tokens"]) for model in models)
    if run.self_distil.folder.exists():
        parts = [read_json(part) for part in sorted(run.self_distil.nll.glob("part_*.json"))]
        phases["self_distil NLL"] = _cost((part["seconds"], part["tokens"]) for part in parts)
        phases["self_distil SFT"] = _sft_cost(run.self_distil.sft)
    phases["evaluate"] = _cost(map(measured_cost, evaluations))
    return phases


def spectrum_costs(run: RunPaths, stage: SpectrumStage) -> dict[str, dict[str, float]]:
    """The costs of the finished phases of a spectrum stage, by the names of their folders ("fuse" for fused)."""
    sft, probe, fused = SftPaths(run.root / stage.sft), ProbePaths(run.root / stage.probe), run.root / stage.fused
    phases = {}
    if stage is SECOND and run.error_rates.exists():
        phases["error rates"] = _cost(_filter(run.error_rates))
    if sft.folder.exists():
        phases[stage.sft] = _sft_cost(sft)
    if probe.folder.exists():
        probes = [*probe.all_scores(), run.fused_probe if stage is FIRST else FusedPaths(fused).probe]
        phases[stage.probe] = _cost(measured_cost(path) for path in probes if path.exists())
    if fused.exists():
        phases[stage.fused.replace("fused", "fuse")] = _cost([(_seconds(fused), 0)])
    return phases


def stage_costs(root: Path) -> dict[str, dict[str, float]]:
    """Seconds and tokens of each RL stage: its filter, its steps, and the measurements between its steps."""
    pairs: dict[str, list[tuple[float, int]]] = {}
    run = RunPaths(root)
    for line in read_lines(run.metrics):
        of_stage = pairs.setdefault(line["stage"], _filter(run.stage(line["stage"]).filter))
        of_stage.append((line["seconds"]["total"], line["tokens"]))
        of_stage += [(cost["seconds"], cost["tokens"]) for key in ("gate", "evaluation") if (cost := line.get(key))]
    return {f"rl {stage}": _cost(of_stage) for stage, of_stage in pairs.items()}


def stages_run(root: Path, config: Config) -> list[dict[str, Any]]:
    """The RL stages that have ended: steps, planned steps, and the reason for the end ("steps": all were made)."""
    return [
        {
            "name": stage.name,
            "steps": end.get("steps", stage.steps),
            "planned_steps": stage.steps,
            "ended": end.get("ended", ALL_STEPS),
        }
        for stage in config.curriculum.stages
        if (end := stage_end(root, stage.name))
    ]


def probes_of(root: Path) -> dict[str, dict[str, Any]]:
    """{probing phase: its criterion, its specialists with their leads, and the samples that racing saved}."""
    tables = {stage.probe: ProbePaths(root / stage.probe).table for stage in SPECTRUM_STAGES}
    read = {name: json.loads(table.read_text()) for name, table in tables.items() if table.exists()}
    return {
        name: {
            "k": table["k"],
            "criterion": criterion_name(table),
            "specialists": specialists(table),
            "racing": table.get("racing"),
        }
        for name, table in read.items()
    }


def gates_of(root: Path) -> dict[str, dict[str, Any]]:
    """{"fused" or "fused2": the comparison of the fused model with the best specialist}."""
    gates = {stage.fused: FusedPaths(root / stage.fused).gate for stage in SPECTRUM_STAGES}
    return {name: read_json(gate) for name, gate in gates.items() if gate.exists()}


def _flagged(path: Path) -> dict[str, dict[str, str]]:
    return json.loads(path.read_text()) if path.exists() else {}


def _earlier(summary: Path) -> float:
    return json.loads(summary.read_text())["wall_seconds"] if summary.exists() else 0.0


def _sft_cost(sft: SftPaths) -> dict[str, float]:
    return _cost((line["seconds"], line["tokens"]) for line in read_lines(sft.metrics))


def _seconds(phase: Path) -> float:
    return json.loads((phase / DONE).read_text())["seconds"]


def measured_cost(path: Path) -> tuple[float, int]:
    """Seconds and tokens of an evaluation. A copy of another milestone's scores has cost neither."""
    record = json.loads(path.read_text())
    if record.get("same_model_as"):
        return 0.0, 0
    return record["seconds"], sum(score["tokens"] for score in record["scores"])


def _filter(folder: Path) -> list[tuple[float, int]]:
    """Seconds and tokens of each part that the filter of a stage has written into `folder`."""
    records = [json.loads(part.read_text()) for part in sorted(folder.glob("part_*.json"))]
    return [(record["seconds"], record["tokens"]) for record in records]


def _cost(pairs: Iterable[tuple[float, int]]) -> dict[str, float]:
    pairs = list(pairs)
    return {"seconds": sum(s for s, _ in pairs), "tokens": int(sum(t for _, t in pairs))}
