"""A run whose processes are killed at random every few seconds, beside the same run left alone.

    python benchmarks/chaos.py --kills 100 --every 8 -- curriculum=demo_long      (about 40 minutes)

Generators, verifiers, the tracker, the recorder, learner ranks and the driver get SIGKILL; a killed driver's
command is started again. Prints a table: kills, what the run replaced, seconds, the audit's findings, whether every
step asked the same questions, for how many steps both sampled the same tokens, and how far losses and gradients lay
apart until then, held-out accuracy of both. Last a line of JSON. Ends with 1 where the run did not end well, the audit
found a fault, or the order of the data differs.
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
    """What the disturbed run has in common with the other one.

    An on-policy loss is a sum of advantages that cancel, rounding and no more: how well the two agree, as long as both
    have sampled the same tokens, is said by the norms of their gradients.
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
    """How many of the first agree."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def steps(run: Path, columns: list[str]) -> list[list]:
    """These columns of each step's rollouts, in order of the steps."""
    import pyarrow.parquet as pq

    files = sorted(run.glob("rollouts/*/step_*.parquet"), key=lambda file: file.stat().st_mtime)
    return [pq.read_table(file, columns=columns).to_pylist() for file in files]


def scores(run: Path) -> list[dict] | None:
    """Pass@1 at the first and the last milestone of RL, with its interval."""
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
    parser.add_argument("--runs", default="runs/chaos", help="folder of the two runs, new for a new measurement")
    parser.add_argument("overrides", nargs="*", help="as for vt-ray, behind --")
    return parser.parse_args()


if __name__ == "__main__":
    main()
