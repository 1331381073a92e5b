"""Pipelined against on-policy steps with the real engines, one core each: idle time, and accuracy against wall time.

    python benchmarks/pipelining.py --steps 40 --seeds 0 1

Both schedules start from the same fused model and ask the same questions. The generator and the learner have one thread
each. The script prints for each schedule: seconds for all steps, the idle share of the busier side, held-out accuracy
at the end with its interval, and the seconds of training until the accuracy on the probing problems first reaches the
final accuracy of the on-policy run. The last line is JSON. Evaluations are not counted as training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SCHEDULES = {"on_policy": "mgpo", "pipelined": "pipelined"}


def main() -> None:
    arguments = parsed()
    runs = Path(arguments.runs).resolve()
    found = {name: [] for name in SCHEDULES}
    for seed in arguments.seeds:
        for name in SCHEDULES:
            root = runs / f"{name}-{seed}"
            subprocess.run(command(arguments, runs, name, seed), check=True, stdout=subprocess.DEVNULL)
            found[name].append(figures(root))
    for pair in zip(*found.values(), strict=True):
        level = fmean([value for _, value in pair[0]["curve"]][-2:])
        for side in pair:
            side["seconds_to_level"] = next((s for s, value in side["curve"] if value >= level), None)
    print_table(found)
    print(json.dumps({"ratios": ratios(found), **found}))


def command(arguments: argparse.Namespace, runs: Path, name: str, seed: int) -> list[str]:
    every = max(arguments.steps // 10, 1)
    stage = (
        f"{{name: math, subdomains: [algebra, geometry, calculus, statistics], steps: {arguments.steps}, "
        f"prompts_per_step: {arguments.prompts}, max_new_tokens: 64, gate: {{eval_every: {every}, samples: 8}}}}"
    )
    return [
        *(sys.executable, "-m", "vt_ray.main", "experiment=demo", f"runs_dir={runs}", f"run_name={name}-{seed}"),
        *(f"signal={SCHEDULES[name]}", f"signal.seed={seed}", f"curriculum.stages=[{stage}]"),
        *("cluster.generator_threads=1", "cluster.learner_threads=1", "signal.checkpoint_every=1000"),
        f"signal.max_staleness={arguments.max_staleness}",
    ]


def figures(root: Path) -> dict:
    from vt_ray.run.metrics_log import read_lines

    lines = read_lines(root / "metrics.jsonl")
    # The first step cannot overlap with another one.
    steady = lines[1:]
    clock, curve = 0.0, []
    for line in lines:
        clock += line["seconds"]["total"]
        if line.get("probe_accuracy") is not None:
            curve.append((round(clock, 2), line["probe_accuracy"]))
    busy = {side: fmean(line["busy"][side] for line in steady) for side in ("generator_0", "learner_0")}
    end = json.loads((root / "summary.json").read_text())["milestones"][-1]
    return {
        "seconds": clock,
        "steps": len(lines),
        "busy": busy,
        "idle_of_the_busier": 1 - max(busy.values()),
        "waiting": fmean(line["seconds"]["generate"] / line["seconds"]["total"] for line in steady),
        "staleness_mean": fmean(line["staleness_mean"] for line in steady),
        "held_out": end["pass_at_1"],
        "curve": curve,
    }


def ratios(found: dict[str, list[dict]]) -> dict:
    """Returns the ratios of pipelined to on-policy for each seed."""
    pairs = list(zip(found["on_policy"], found["pipelined"], strict=True))
    reached = [(a["seconds_to_level"], b["seconds_to_level"]) for a, b in pairs]
    return {
        "seconds_for_all_steps": [round(b["seconds"] / a["seconds"], 3) for a, b in pairs],
        "seconds_to_level": [round(b / a, 3) if a and b else None for a, b in reached],
        "accuracy_difference": [round(b["held_out"]["mean"] - a["held_out"]["mean"], 4) for a, b in pairs],
    }


def print_table(found: dict[str, list[dict]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "schedule", "s a step", "generator busy", "learner busy", "idle", "staleness", "held-out, %", "s to level"
    )
    for name, sides in found.items():
        for side in sides:
            score, level = side["held_out"], side["seconds_to_level"]
            table.add_row(
                name,
                f"{side['seconds'] / side['steps']:.2f}",
                f"{side['busy']['generator_0']:.1%}",
                f"{side['busy']['learner_0']:.1%}",
                f"{side['idle_of_the_busier']:.1%}",
                f"{side['staleness_mean']:.2f}",
                f"{score['mean']:.1%} [{score['low']:.1%}, {score['high']:.1%}]",
                "not reached" if level is None else f"{level:.0f}",
            )
    Console(width=120).print(table)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--prompts", type=int, default=32, help="questions a step, 8 completions each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--max-staleness", type=int, default=1)
    parser.add_argument(
        "--runs", default="runs/pipelining", help="folder of the runs; a new measurement needs a new folder"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
