"""summary.json: what a run came to, collected from the files of its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vt_ray.config import Config
from vt_ray.evaluation.milestones import gain_over_best, milestone_summaries
from vt_ray.interfaces import Hardware
from vt_ray.report.milestones import SFT_CONTINUED
from vt_ray.report.run_record import FUSED_PROBE
from vt_ray.report.stage_ends import ALL_STEPS, stage_end
from vt_ray.run.checkpoint import write_json
from vt_ray.run.identity import config_hash
from vt_ray.run.metrics_log import read_lines
from vt_ray.run.recoveries import RECOVERIES
from vt_ray.run.run_folder import DONE

# What the signal phase is measured from: the better of the two.
STARTS = ("sft_best", "fused")


def write_summary(
    root: Path, config: Config, milestones: Sequence[str], wall_seconds: float, hardware: Hardware
) -> dict[str, Any]:
    """Write `root`/summary.json and return it. `milestones` are names in `root`/evaluation, in order.

    `wall_seconds` is this process's and is added to what earlier ones took, as far as they came to an end; the phases'
    seconds add up over every process that worked on the run.
    """
    paths = [root / "evaluation" / f"{name}.json" for name in milestones]
    summary = {
        "run_name": config.run_name,
        "seed": config.seed,
        "lambda": config.signal.mgpo.lam,
        "config_hash": config_hash(config),
        "milestones": milestone_summaries(paths, config.evaluation.k),
        "gain": gain_over_best([path for path in paths if path.stem in STARTS], paths[-1]),
        "phases": phase_costs(root, paths),
        "stages": stages_run(root, config),
        "recoveries": len(read_lines(root / RECOVERIES)),
        "wall_seconds": _earlier(root) + wall_seconds,
        "hardware": asdict(hardware),
        "prices": {
            "cpu_hour": config.cluster.cpu_hour_price,
            "gpu_hour": config.cluster.gpu_hour_price,
            "currency": config.cluster.currency,
        },
    }
    write_json(root / "summary.json", summary)
    return summary


def phase_costs(root: Path, evaluations: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Seconds of work and tokens trained on or generated, by phase; start-up is not counted."""
    sft = read_lines(root / "sft" / "metrics.jsonl")
    phases = {
        "base": _cost([(_seconds(root / "base"), 0)]),
        "sft": _cost((line["seconds"], line["tokens"]) for line in sft),
    }
    probes = [*sorted((root / "probe").glob("step_*.json")), root / "spectrum_scores" / FUSED_PROBE]
    phases["probe"] = _cost(_measured(path) for path in probes if path.exists())
    phases["fuse"] = _cost([(_seconds(root / "fused"), 0)])
    phases |= stage_costs(root)
    if (root / SFT_CONTINUED).exists():
        phases[SFT_CONTINUED] = _cost(
            (line["seconds"], line["tokens"]) for line in read_lines(root / SFT_CONTINUED / "metrics.jsonl")
        )
    phases["evaluate"] = _cost(map(_measured, evaluations))
    return phases


def stage_costs(root: Path) -> dict[str, dict[str, float]]:
    """Seconds and tokens of each RL stage: its filter, its steps, and what its gate asked."""
    pairs: dict[str, list[tuple[float, int]]] = {}
    for line in read_lines(root / "metrics.jsonl"):
        of_stage = pairs.setdefault(line["stage"], _filter(root, line["stage"]))
        of_stage.append((line["seconds"]["total"], line["tokens"]))
        if asked := line.get("gate"):
            of_stage.append((asked["seconds"], asked["tokens"]))
    return {f"rl {stage}": _cost(of_stage) for stage, of_stage in pairs.items()}


def stages_run(root: Path, config: Config) -> list[dict[str, Any]]:
    """Each RL stage that has ended: its steps, how many were planned, and why it ended ("steps": at its last one)."""
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


def _earlier(root: Path) -> float:
    file = root / "summary.json"
    return json.loads(file.read_text())["wall_seconds"] if file.exists() else 0.0


def _seconds(phase: Path) -> float:
    return json.loads((phase / DONE).read_text())["seconds"]


def _measured(path: Path) -> tuple[float, int]:
    record = json.loads(path.read_text())
    return record["seconds"], sum(score["tokens"] for score in record["scores"])


def _filter(root: Path, stage: str) -> list[tuple[float, int]]:
    """Of the filter before a stage, by the parts that it has written."""
    records = [json.loads(part.read_text()) for part in sorted((root / "rl" / stage / "filter").glob("part_*.json"))]
    return [(record["seconds"], record["tokens"]) for record in records]


def _cost(pairs) -> dict[str, float]:
    pairs = list(pairs)
    return {"seconds": sum(s for s, _ in pairs), "tokens": int(sum(t for _, t in pairs))}
