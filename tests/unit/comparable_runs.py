"""Run folders with made-up scores, with only the files that a comparison reads."""

import json
import random
from dataclasses import asdict
from pathlib import Path

import yaml

from vt_ray.config import Config, StageConfig

SAMPLES = 8
STAGES = ("math_short", "code")
START = dict.fromkeys(("base", "sft_last", "sft_best", "fused"))


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def score(question, correct, valid=SAMPLES):
    """`question` is "subdomain/number"."""
    counts = {"correct": correct, "valid": valid, "samples": SAMPLES, "truncated": 0, "tokens": 800}
    return {"question_id": question, "subdomain": question.partition("/")[0], **counts}


def write_run(root: Path, end, lam=0.0, rl_seed=0, fused=None, changes=(), finished=True) -> Path:
    """`end` and `fused` map questions to how many of 8 answers are correct at the last milestone and before RL.

    `changes` are (dotted key, value) of the config.
    """
    config = asdict(Config())
    config["curriculum"]["stages"] = [asdict(StageConfig(name=name)) for name in STAGES]
    for key, value in [("signal.mgpo.lam", lam), ("signal.seed", rl_seed), ("run_name", root.name), *changes]:
        place = config
        *path, last = key.split(".")
        for part in path:
            place = place[part]
        place[last] = value
    fused = fused or dict.fromkeys(end, 2)
    root.mkdir(parents=True)
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    write_json(root / "run.json", {"run_name": root.name, "config_hash": "0123456789ab", "code": "c0de", "inputs": {}})
    write_json(root / "fused" / "DONE.json", {"id": "f05ed"})
    reached = {**dict.fromkeys(START, fused), STAGES[0]: fused, **({STAGES[1]: end} if finished else {})}
    for name, correct in reached.items():
        scores = [score(question, c) for question, c in correct.items()]
        write_json(root / "evaluation" / f"{name}.json", {"name": name, "seconds": 5.0, "scores": scores})
    if finished:
        phases = {"sft": {"seconds": 300.0, "tokens": 10**6}, "rl code": {"seconds": 60.0, "tokens": 120_000}}
        write_json(root / "summary.json", {"milestones": [], "phases": phases, "wall_seconds": 400.0})
    return root


def write_rewards(root: Path, rewards) -> None:
    """One RL step for each reward, half of them in each stage."""
    half = len(rewards) // 2
    lines = [
        {"phase": "rl", "stage": STAGES[i >= half], "step": i % half + 1, "reward_mean": reward}
        for i, reward in enumerate(rewards)
    ]
    write_lines(root, lines)


def write_lines(root: Path, lines) -> None:
    (root / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_sweep(folder: Path, shifts, seeds=3, per_subdomain=24) -> list[Path]:
    """A sweep over lambda; `shifts` maps each lambda to its effect on the share of correct answers."""
    luck = random.Random(1)
    subdomains = ["algebra", "calculus", "code", "geometry", "statistics"]
    ease = {f"{d}/{i}": luck.betavariate(1.2, 1) for d in subdomains for i in range(per_subdomain)}
    fused = {q: sum(luck.random() < 0.7 * p for _ in range(SAMPLES)) for q, p in ease.items()}
    roots = []
    for lam, shift in shifts.items():
        for seed in range(seeds):
            moved = shift + luck.gauss(0, 0.01)
            end = {q: sum(luck.random() < p + moved for _ in range(SAMPLES)) for q, p in ease.items()}
            root = write_run(folder / f"lam={lam},seed={seed}", end, lam, seed, fused)
            write_rewards(root, [0.3 + 0.3 * i / 30 + moved + luck.gauss(0, 0.05) for i in range(30)])
            roots.append(root)
    return roots
