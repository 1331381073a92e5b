"""The folder of a finished run with made-up figures, for the tests of the report and of `vt-tools`."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

SUBDOMAINS = ["algebra", "calculus", "code", "geometry", "statistics"]
ATTACK = "<script>alert(1)</script>"
# Changes the page's title if a browser executes it, clears a terminal, reverses the writing direction, ends strings.
HOSTILE = (
    "</pre></script></textarea><script>document.title='acted'</script><img src=x onerror=\"document.title='acted'\">"
    "<!--<script>{{ 7*7 }} \x1b[2J \x00 \u202eright to left \u2028 \\u003c ${document.title='acted'} `"
)


def score(mean, half=0.04):
    return {"mean": mean, "low": max(0.0, mean - half), "high": min(1.0, mean + half)}


def passes(one, many):
    return {"pass_at_1": score(one), "pass_at_8": score(many)}


def synthetic_run(root: Path, stages=("math_short", "math_long", "code"), steps=12, seed=0) -> Path:
    """Write the folder of a finished run with made-up figures.

    A gate has ended the first stage before its 20 planned steps, and a generator was lost and replaced.
    """
    rng = random.Random(seed)
    root.mkdir(parents=True)
    names = ["base", "sft_last", "sft_best", "fused", *stages]
    write_identity(root, stages, steps)
    write_summary(root, names, ends := stage_ends(stages, steps))
    for stage in ends:
        write_json(root / "rl" / stage["name"] / "stage.json", {**stage, "stage": stage["name"], "unused": {}})
    lost = {"time": 1735787045.0, "lost": "generator_1", "error": "ActorDiedError", "commit": "math_short step 3"}
    write_lines(root / "recoveries.jsonl", [lost])
    write_sft(root, rng)
    write_probe(root)
    write_scores(root, names)
    write_rl(root, stages, steps, rng)
    for stage in stages:
        write_rollouts(root, stage, steps)
    return root


def write_json(path: Path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def stage_ends(stages, steps):
    """The stages as in summary.json."""
    ends = [{"name": stage, "steps": steps, "planned_steps": steps, "ended": "steps"} for stage in stages]
    target = {"planned_steps": 20, "ended": "target: probe accuracy 0.812 reached 0.8"}
    return [{**ends[0], **target}, *ends[1:]] if ends else []


def write_identity(root, stages=(), steps=12):
    identity = {"run_name": "lambda-one", "seed": 7, "lambda": 1.0, "config_hash": "0123456789ab"}
    command = ["/somewhere/bin/vt-ray", "experiment=tiny", "signal.mgpo.lam=1.0"]
    started, versions = "2025-01-02T03:04:05Z", {"vt_ray": "0.1.0", "python": "3.11.7"}
    write_json(root / "run.json", {**identity, "versions": versions, "started": started, "command": command})
    planned = [{"name": stage["name"], "steps": stage["planned_steps"]} for stage in stage_ends(stages, steps)]
    for stage in planned:
        stage |= {"subdomains": ["code"]} if stage["name"] == "code" else {}
    config = {"seed": 7, "signal": {"mgpo": {"lam": 1.0}}, "curriculum": {"stages": planned}}
    (root / "config.yaml").write_text(yaml.safe_dump(config))


def write_summary(root, names, stages=()):
    reached = []
    for i, name in enumerate(names):
        one = 0.05 + 0.6 * i / len(names)
        difference = {"from": names[i - 1], "mean": 0.08, "low": 0.05, "high": 0.11} if i else None
        by_subdomain = {d: passes(one * (0.6 + 0.15 * j), min(1, one + 0.3)) for j, d in enumerate(SUBDOMAINS)}
        counts = {"num_problems": 200, "samples": 1600, "truncated_share": 0.03, "unverified": 2}
        reached.append(
            {
                "name": name,
                **passes(one, one + 0.25),
                "by_subdomain": by_subdomain,
                "difference": difference,
                **counts,
            }
        )
    worked = ("sft", "probe", "rl math_short")
    phases = {name: {"seconds": 300.0 * (i + 1), "tokens": 10**6} for i, name in enumerate(worked)}
    summary = {"run_name": "lambda-one", "seed": 7, "lambda": 1.0, "config_hash": "0123456789ab"}
    summary |= {"milestones": reached, "phases": phases, "stages": list(stages), "wall_seconds": 2000.0}
    summary |= {"hardware": {"cpu_cores": 18, "gpus": 3}, "prices": {"cpu_hour": 0, "gpu_hour": 2.0, "currency": "EUR"}}
    write_json(root / "summary.json", summary)


def write_lines(path: Path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_sft(root, rng):
    lines = [
        {
            "phase": "sft",
            "step": step,
            "loss": 0.4 + 2 * 0.97**step + rng.uniform(-0.05, 0.05),
            "learning_rate": 1e-3,
            "tokens": 5000,
            "seconds": 1.1,
            "grad_norm": 1.0,
        }
        for step in range(1, 121)
    ]
    write_lines(root / "sft" / "metrics.jsonl", lines)


def write_probe(root):
    checkpoints = [f"step_{step:06d}" for step in range(24, 121, 24)]
    at_k = {d: [min(0.95, 0.3 + 0.12 * i + 0.03 * j) for i in range(5)] for j, d in enumerate(SUBDOMAINS)}
    at_1 = {d: [value * 0.5 for value in row] for d, row in at_k.items()}
    specialists = {d: checkpoints[(j + 2) % 5] for j, d in enumerate(SUBDOMAINS)}
    table = {
        "k": 8,
        "checkpoints": checkpoints,
        "pass_at_k": at_k,
        "pass_at_1": at_1,
        "specialists": specialists,
    }
    write_json(root / "probe" / "probe.json", table)


def write_scores(root, names):
    """Ten questions per subdomain with eight samples each; each milestone has one more correct sample."""
    for i, name in enumerate(names):
        write_json(root / "evaluation" / f"{name}.json", {"name": name, "seconds": 9.0, "scores": question_scores(i)})
    for i in range(1, 6):
        write_json(root / "probe" / f"step_{24 * i:06d}.json", {"seconds": 5.0, "scores": question_scores(i // 2)})
    write_json(root / "spectrum_scores" / "fused_on_probe.json", {"seconds": 5.0, "scores": question_scores(2)})
    write_json(root / "fused" / "fusion.json", {"algebra": {"checkpoint": "step_000120", "weight": 1.0}})
    gate = {"k": 8, "problems": 40, "specialist": "step_000120", "specialist_pass_at_k": 0.5, "fused_pass_at_k": 0.4}
    moved = {"difference": {"mean": -0.1, "low": -0.15, "high": -0.05}, "lost": True, "fallback": True}
    write_json(root / "fused" / "gate.json", {**gate, **moved})


def question_scores(correct):
    """Every third question has one correct answer less."""
    return [
        {
            "question_id": f"{d}/{i}",
            "subdomain": d,
            "correct": max(0, min(8, correct - (i % 3 == 0))),
            "valid": 8,
            "samples": 8,
            "truncated": 0,
            "tokens": 200,
        }
        for d in SUBDOMAINS
        for i in range(10)
    ]


def write_rl(root, stages, steps, rng):
    lines = [rl_line(stage, step, step / steps, rng) for stage in stages for step in range(1, steps + 1)]
    write_lines(root / "metrics.jsonl", lines)


def rl_line(stage, step, done, rng):
    seconds = {"generate": 6 + rng.random(), "verify": 1.2, "update": 3.5, "sync": 0.4, "rest": 0.2}
    return {
        "phase": "rl",
        "stage": stage,
        "step": step,
        "weight_version": step,
        "loss": 0.0,
        "reward_mean": 0.3 + 0.3 * done + rng.uniform(-0.08, 0.08),
        "p_c_histogram": [rng.randint(0, 6) + round(8 * done * i / 8) for i in range(9)],
        "no_signal_share": 0.2 + rng.uniform(-0.05, 0.05),
        "truncated_share": 0.1 + 0.12 * done + rng.uniform(-0.01, 0.01),
        "unverified": 0,
        "verify": verify_record(rng),
        "completion_tokens_mean": 60 + 20 * done + rng.uniform(-5, 5),
        "completion_tokens_p10": 30.0,
        "completion_tokens_p90": 110.0,
        "busy": {"generator_0": 0.6, "learner_0": 0.3 + 0.02 * rng.random(), "tracker": 0.01},
        "entropy": 0.9 - 0.4 * done + rng.uniform(-0.05, 0.05),
        "clip_share": 0.0,
        "rollout_kl": 2e-4 + rng.uniform(0, 1e-4),
        "grad_norm": 0.5 + rng.random(),
        "learning_rate": 1e-5,
        "seconds": {**seconds, "total": sum(seconds.values())},
        "tokens": 20000,
        "sync": {"bytes": 10**6, "logprob_gap": 3.1e-6},
        **signal_figures(done),
        **engine_figures(done),
    }


def engine_figures(done):
    """The counters of two generators, and the learner's use of its hardware, on a GPU."""
    one = {
        "engine_steps": 800,
        "running": 90.0 + done,
        "waiting": 0.0,
        "kv_usage_max": 0.4 + 0.5 * done,
        "preemptions": 2,
        "prefix_hit_share": 0.75,
        "decode_tokens_per_second": 2600.0,
        "memory_gb_max": 60.5,
    }
    both = {**one, "running": 2 * one["running"], "preemptions": 4, "decode_tokens_per_second": 5200.0}
    generators = {"generator_0": one, "generator_1": {**one, "prefix_hit_share": None}}
    figures = {"padding_share": 0.05, "mfu": 0.31, "memory_gb_max": 40.25}
    return {**figures, "generation": both, "generators": generators}


def signal_figures(done):
    """Figures of a pipelined stage that lines of older runs lack; the gate measures in every step."""
    return {
        "generated_tokens_per_second": 5200.0 + 400 * done,
        "updated_tokens_per_second": 8100.0,
        "staleness_mean": 0.4 + 0.2 * done,
        "staleness_max": 1,
        "importance_capped_share": 0.002,
        "entropy_q1": 0.9 - 0.1 * done,
        "entropy_q4": 0.5 - 0.1 * done,
        "high_covariance_share": 0.003,
        "refill_rounds": 1,
        "replaced_groups": 3,
        "probe_accuracy": 0.3 + 0.2 * done,
        "sync": {"bytes": 10**6, "logprob_gap": 3.1e-6, "seconds": 0.21, "retried": False},
    }


def verify_record(rng):
    """The record of 200 completions; in a quarter of the steps a worker is lost and two completions are retried."""
    lost = int(rng.random() < 0.25)
    spread = {"count": 100, "p50": 0.002, "p95": 0.03 + 0.01 * rng.random(), "p99": 2.0}
    return {
        "completions": 200,
        "seconds": {"code": {**spread, "p50": 0.4}, "math": spread},
        "verdicts": {"correct": 0.4, "wrong": 0.595, "unverified": 0.005},
        "reasons": {"wrong_answer": 0.55, "timeout": 0.045, "worker lost": 0.005},
        "retries": 2 * lost,
        "respawns": lost,
        "backend": {"landlock": 2},
    }


def rollout(sample, verdict, advantage, tokens, text, stage="math_short", step=3):
    return {
        "stage": stage,
        "step": step,
        "question_id": f"algebra-{sample}",
        "subdomain": "algebra",
        "sample": sample,
        "weight_version": step,
        "question": f"Solve {sample}x = {6 * sample} & say x < 7.",
        "text": text,
        "tokens": list(range(tokens)),
        "rollout_logprobs": [-0.01 * sample] * tokens,
        "finish_reason": "stop",
        "verdict": verdict,
        "reason": "time limit" if verdict == "unverified" else "",
        "p_c": 0.25,
        "weight": 0.9,
        "advantage": advantage,
        "generation_seconds": 1.0,
        "seconds": 1.1,
    }


def write_rollouts(root, stage, step):
    rows = [
        rollout(1, "correct", 0.5, 40, "6 is common", stage, step),
        rollout(2, "correct", 1.7, 30, "Divide both sides by 2.\nThe answer is \\boxed{6}.", stage, step),
        rollout(3, "wrong", -1.2, 20, f"{ATTACK} & <b>bold</b>", stage, step),
        rollout(4, "wrong", -0.3, 90, "round and round", stage, step),
        rollout(5, "unverified", 0.0, 10, "no verdict here", stage, step),
        rollout(6, "wrong", -0.2, 11, HOSTILE, stage, step),
        rollout(7, "correct", 0.4, 12, "an unlikely way to it", stage, step),
    ]
    folder = root / "rollouts" / stage
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / f"step_{step:06d}.parquet")
    earlier = [rollout(9, "correct", 1.0, 5, "of an earlier step", stage, 1)]
    pq.write_table(pa.Table.from_pylist(earlier), folder / "step_000001.parquet")
