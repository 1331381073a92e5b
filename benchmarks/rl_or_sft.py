"""Where RL gains more than SFT that continues for the same time: share of solved problems, SFT length, model size.

    python benchmarks/rl_or_sft.py --shares 0.1 0.2 0.5 1 --sft-steps 350 700 --seeds 0 -- curriculum=demo_long

Each point is two runs of the demo: RL, and SFT that continues from the same fused model for the time of the RL steps.
All combinations of the values are points. Arguments after `--` are overrides for all runs. The script prints a table:
Pass@1 of the best SFT checkpoint, of the fused model and at the end of both runs, and the paired difference RL - SFT.
The last line is JSON. Finished runs are not repeated. A point takes 8 to 25 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# Checkpoints of each SFT.
CHECKPOINTS = 5


def main() -> None:
    arguments = parsed()
    runs = Path(arguments.runs).resolve()
    rows = []
    for share, steps, size, seed in product(arguments.shares, arguments.sft_steps, arguments.sizes, arguments.seeds):
        name = f"share{share:g}-sft{steps}-size{size}-seed{seed}"
        common = [
            *(f"data.solved_share={share:g}", f"spectrum.sft.steps={steps}", f"seed={seed}"),
            *(f"spectrum.sft.checkpoint_every={max(1, steps // CHECKPOINTS)}", *shape(size), *arguments.overrides),
        ]
        control = ["signal.control=sft", f"signal.control_sft_like={runs / name}"]
        run(runs, name, common)
        run(runs, f"{name}-sft", [*common, *control])
        point = {"share": share, "sft_steps": steps, "size": size, "seed": seed}
        rows.append({**point, **figures(runs / name, runs / f"{name}-sft")})
        print(line(rows[-1]), flush=True)
    print(json.dumps(rows))


def run(runs: Path, name: str, overrides: list[str]) -> None:
    if not (runs / name / "summary.json").exists():
        command = [sys.executable, "-m", "vt_ray.main", "experiment=demo", f"runs_dir={runs}", f"run_name={name}"]
        subprocess.run([*command, *overrides], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def shape(size: int) -> list[str]:
    """The shape of a model of this width, with the proportions of the demo's model."""
    return [f"model.hidden_size={size}", f"model.intermediate_size={3 * size}", f"model.num_heads={size // 32}"]


def figures(rl: Path, sft: Path) -> dict:
    from vt_ray.evaluation.statistics import paired_difference

    ends = [json.loads((root / "summary.json").read_text())["milestones"] for root in (rl, sft)]
    means = {f"{m['name']}": m["pass_at_1"]["mean"] for m in ends[0]}
    last = [pass_at_1(root, end[-1]["name"]) for root, end in zip((rl, sft), ends, strict=True)]
    seconds = [trained_seconds(root) for root in (rl, sft)]
    return {
        "sft_best": means["sft_best"],
        "fused": means["fused"],
        "rl": ends[0][-1]["pass_at_1"]["mean"],
        "more_sft": ends[1][-1]["pass_at_1"]["mean"],
        "difference": paired_difference(last[1], last[0]).as_dict(),
        "seconds": seconds,
    }


def pass_at_1(root: Path, milestone: str) -> dict[str, float]:
    scores = json.loads((root / "evaluation" / f"{milestone}.json").read_text())["scores"]
    return {score["question_id"]: score["correct"] / score["valid"] for score in scores if score["valid"]}


def trained_seconds(root: Path) -> float:
    phases = json.loads((root / "summary.json").read_text())["phases"]
    return sum(cost["seconds"] for name, cost in phases.items() if name.startswith("rl ") or name == "sft_continued")


def line(row: dict) -> str:
    """A row of a Markdown table: point, Pass@1 of four models in percent, difference with its interval, seconds."""
    d = {key: f"{100 * value:+.1f}" for key, value in row["difference"].items()}
    scores = " | ".join(f"{100 * row[key]:.1f}" for key in ("sft_best", "fused", "rl", "more_sft"))
    return (
        f"| {row['share']:g} | {row['sft_steps']} | {row['size']} | {row['seed']} | {scores} "
        f"| {d['mean']} [{d['low']}, {d['high']}] | {row['seconds'][0]:.0f}, {row['seconds'][1]:.0f} |"
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.2])
    parser.add_argument("--sft-steps", type=int, nargs="+", default=[700])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128], help="widths of the model, multiples of 32")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", default="runs/rl_or_sft", help="folder of the runs")
    parser.add_argument("overrides", nargs="*")
    return parser.parse_args()


if __name__ == "__main__":
    main()
