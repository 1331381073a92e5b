"""Compares a run whose processes are killed at random with the same run left alone.

    python benchmarks/chaos.py --kills 100 --every 8 -- curriculum=demo_long      (about 40 minutes)

Generators, verifiers, the tracker, the recorder, learner ranks and the driver get SIGKILL. The command of a killed
driver is started again. The script prints a table and a line of JSON: number of kills, replacements within the run,
seconds, findings of the audit, whether every step asked the same questions, the number of first steps with equal tokens
and equal losses, the largest differences of losses and gradient norms in those steps, and the held-out accuracy of both
runs. The exit status is 1 if the run failed, the audit found a fault, or the order of the data differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> None:
    arguments = parsed()
    from chaos_monkey import run_with_kills

    runs = Path(arguments.runs).resolve()
    calm, disturbed = (command(arguments, runs, name) for name in ("calm", "chaos"))
    began = time.monotonic()
    subprocess.run(calm, check=True, stdout=subprocess.DEVNULL)
    calm_seconds = time.monotonic() - began
    victims = ["generator_0", "verifier_0", "verifier_1", "tracker", "recorder", "learner_0", "learner_1", "driver"]
    chaos = run_with_kills(disturbed, runs / "chaos", arguments.kills, arguments.every, arguments.seed, victims)
    figures = {
        "kills": dict(sorted(chaos.kills.items())),
        "kills_total": chaos.kills.total(),
        "starts": chaos.starts,
        "returncode": chaos.returncode,
        "seconds": round(chaos.seconds, 1),
        "seconds_calm": round(calm_seconds, 1),
        **compared(runs / "calm", runs / "chaos"),
    }
    for name, value in figures.items():
        print(f"{name:28} {value}")
    if chaos.returncode:
        print(chaos.errors[-2000:], file=sys.stderr)
    passed = chaos.returncode == 0 and not figures["audit_faults"] and figures["same_questions"]
    print(json.dumps({"passed": passed, **figures}))
    sys.exit(not passed)


def command(arguments: argparse.Namespace, runs: Path, name: str) -> list[str]:
    return [
        *(sys.executable, "-m", "vt_ray.main", f"experiment={arguments.experiment}", f"runs_dir={runs}"),
        *(f"run_name={name}", "cluster.num_learners=2", "cluster.learner_threads=1", *arguments.overrides),
    ]


def compared(calm: Path, chaos: Path) -> dict:
    """Compares the metrics and rollouts of both runs.

    An on-policy loss is a sum of advantages that cancel up to rounding. The gradient norms therefore show how well the
    two runs agree while both sample the same tokens.
    """
    from vt_ray.run.audit import audit
    from vt_ray.run.metrics_log import read_lines

    lines = [read_lines(run / "metrics.jsonl") for run in (calm, chaos)]
    pairs = list(zip(*lines, strict=False))
    norms = [(a["grad_norm"], b["grad_norm"]) for a, b in pairs]
    alike = agreeing(steps(calm, ["tokens"]), steps(chaos, ["tokens"]))
    asked = ["question_id", "sample", "seed"]
    return {
        "steps": [len(side) for side in lines],
        "audit_faults": [f for stage in audit(chaos) for f in stage.faults][:5],
        "replaced_learners": len(read_lines(chaos / "recoveries.jsonl")),
        "same_questions": steps(calm, asked) == steps(chaos, asked),
        "steps_of_equal_loss": agreeing(*([line["loss"] for line in side] for side in lines)),
        "steps_of_equal_tokens": alike,
        "largest_loss_gap_then": max((abs(a["loss"] - b["loss"]) for a, b in pairs[:alike]), default=None),
        "largest_grad_norm_gap_then": max((abs(a - b) / a for a, b in norms[:alike] if a), default=None),
        "reward": [round(sum(a["reward_mean"] for a in side) / max(len(side), 1), 4) for side in lines],
        "held_out": [scores(run) for run in (calm, chaos)],
    }


def agreeing(one: list, other: list) -> int:
    """Returns the number of leading elements that are equal in both lists."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def steps(run: Path, columns: list[str]) -> list[list]:
    """Returns the given columns of the rollouts of each step, in the order of the steps."""
    import pyarrow.parquet as pq

    files = sorted(run.glob("rollouts/*/step_*.parquet"), key=lambda file: file.stat().st_mtime)
    return [pq.read_table(file, columns=columns).to_pylist() for file in files]


def scores(run: Path) -> list[dict] | None:
    """Returns Pass@1 with its interval at the fused model and at the last milestone; None without a summary."""
    if not (run / "summary.json").exists():
        return None
    milestones = json.loads((run / "summary.json").read_text())["milestones"]
    return [{"name": m["name"], **m["pass_at_1"]} for m in (milestones[3], milestones[-1])]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--every", type=float, default=8.0, help="seconds between two kills, on average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--experiment", default="demo")
    parser.add_argument(
        "--runs", default="runs/chaos", help="folder of the two runs; a new measurement needs a new folder"
    )
    parser.add_argument("overrides", nargs="*", help="overrides for vt-ray, after --")
    return parser.parse_args()


if __name__ == "__main__":
    main()
