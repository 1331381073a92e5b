"""Seconds of an on-policy GRPO step: vt_ray beside GRPOTrainer of TRL, with equal work on the same cores.

    python benchmarks/step_vs_trl.py [--only tiny|smollm2] [--steps 8] [--blocks 2] [--no-half]

A step is generation, reward, advantages, forward, backward and optimizer. The vt_ray step also has the checked weight
sync and the record of its rollouts; it is the production path, a RayCluster and `signal_phase.loop.mgpo_step`. Both
sides get the same model folder, the same prompt tokens in the same order and temperature 1. The reward is made: every
second sample of a group is correct, so each group has a signal and no group is left out. Neither side verifies
answers. Both compute with two threads: vt_ray with two generators and two learner ranks, which alternate, TRL with
one process. Both keep freed memory: vt_ray does so by itself, TRL gets the setting of glibc, with which it takes 13 to
23% less CPU time. "half" is the vt_ray step when every second group has no signal and is not computed; --no-half
leaves this third side out.

Blocks of the sides alternate (vt_ray, TRL, half), because the speed of a machine drifts; the waiting side sleeps. TRL
has an environment of its own, which the script makes if it is missing (TORCH names its torch). The script prints
medians with least and most and CPU seconds, then the parts of the vt_ray step with their bare cost (step_floors.py),
and a line of JSON: `ratio` is the seconds of TRL over those of vt_ray; `cpu_ratio`, the same for CPU seconds, is less
sensitive to other load.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from our_step import LEARNING_RATE, THREADS, Setting, composed, open_run  # noqa: E402

from vt_ray.config import Config  # noqa: E402

TORCH = "torch==2.13.0+cpu"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
# What `actors.process.keep_freed_memory` sets.
KEEP_FREED_MEMORY = f"glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold={1 << 40}"

SETTINGS = {
    "tiny": Setting("scratch_qwen2", 16, 32, micro_batch=128, warm_up=3, steps=10, blocks=2),
    "smollm2": Setting("smollm2_135m", 4, 96, micro_batch=16, warm_up=1, steps=1, blocks=10),
}


@dataclass
class Measured:
    """Each timed step: seconds, mean completion tokens and, for vt_ray, seconds by part from the metrics line.
    Each block: CPU seconds a step of all processes of the side."""

    seconds: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    parts: list[dict[str, float]] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)


def measure(
    setting: Setting, steps: int, blocks: int, with_half: bool, trl_python: Path, folder: Path
) -> dict[str, Any]:
    """Runs all blocks of one setting, then the floors of the last vt_ray step. Steps of equal number have equal prompts
    on both sides."""
    our_blocks = 2 if with_half else 1
    config = composed(setting, setting.warm_up + our_blocks * steps * blocks)
    ours, trl, half = Measured(), Measured(), Measured()
    with ExitStack() as opened:
        run, model = open_run(opened, config, folder)
        # With "half", a block of vt_ray is followed by a block of TRL, and the next one is not.
        shared = [*range(setting.warm_up)]
        firsts = [setting.warm_up + our_blocks * steps * block for block in range(blocks)]
        shared += [first + step for first in firsts for step in range(steps)]
        job = base_job(setting, config, model) | trl_job(run, shared, folder)
        peer = opened.enter_context(trl_process(trl_python, job, folder))
        numbers = iter(range(run.stage.steps))
        our_block(run, numbers, setting.warm_up, Measured())
        trl_block(peer, setting.warm_up, Measured())
        for _ in range(blocks):
            with counting_cpu(ours, steps, without=peer.pid):
                our_block(run, numbers, steps, ours)
            sequences = [
                {"prompt": list(group.prompt_token_ids), "completion": c.token_ids.tolist()}
                for group in run.verifier.graded
                for c in group.completions
            ]
            with counting_cpu(trl, steps, only=peer.pid):
                trl_block(peer, steps, trl)
            if with_half:
                run.verifier.half = True
                with counting_cpu(half, steps, without=peer.pid):
                    our_block(run, numbers, steps, half)
                run.verifier.half = False
    floors = measured_floors(base_job(setting, config, model) | {"sequences": sequences}, folder)
    return figures(ours, trl, half, floors)


def our_block(run: Any, numbers: Iterator[int], steps: int, into: Measured) -> None:
    from vt_ray.signal_phase.loop import OnPolicy, mgpo_step

    generation = OnPolicy(run)
    for _ in range(steps):
        line = mgpo_step(run, next(numbers), generation)
        into.seconds.append(line["seconds"]["total"])
        into.parts.append(line["seconds"])
        into.tokens.append(line["completion_tokens_mean"])


@contextmanager
def counting_cpu(into: Measured, steps: int, only: int | None = None, without: int | None = None) -> Iterator[None]:
    """CPU seconds a step of this process and all below it, Ray's actors among them, `without` the one of that number;
    or of `only` that one. Waiting for a core costs none: what others do on the machine shows least here."""

    def spent() -> float:
        top = psutil.Process(only)
        processes = [p for p in (top, *top.children(recursive=True)) if p.pid != without]
        times = [p.cpu_times() for p in processes]
        return sum(t.user + t.system for t in times)

    began = spent()
    yield
    into.cpu_seconds.append((spent() - began) / steps)


def base_job(setting: Setting, config: Config, model: Path) -> dict[str, Any]:
    """Returns the values that a child process needs from the setting."""
    return {
        "model": str(model),
        "dtype": config.model.dtype,
        "threads": THREADS,
        "context_tokens": config.context_tokens,
        "group_size": setting.group_size,
        "prompts_per_step": setting.prompts,
        "max_new_tokens": setting.max_new_tokens,
        "micro_batch": setting.micro_batch,
        "temperature": 1.0,
        "learning_rate": LEARNING_RATE,
    }


def trl_job(run: Any, steps: Sequence[int], folder: Path) -> dict[str, Any]:
    """Returns the questions of the `steps` of vt_ray, in order, with the tokens that TRL must make of them."""
    from vt_ray.signal_phase.stage_run import step_prompts

    prompts = [prompt for step in steps for prompt in step_prompts(run, step)]
    suffix = run.encoder.data.math_suffix
    asked = [{"text": p.problem.question + suffix, "token_ids": list(p.token_ids)} for p in prompts]
    return {"prompts": asked, "steps": len(steps), "folder": str(folder / "trl")}


def child(python: Path | str, script: str, job: dict[str, Any], folder: Path) -> subprocess.Popen:
    """Starts a script of this folder on `job`, with pipes; its log goes to a file beside the job file."""
    path = (folder / script).with_suffix(".json")
    path.write_text(json.dumps(job))
    environment = os.environ | {
        "OMP_NUM_THREADS": str(THREADS),
        "GLIBC_TUNABLES": KEEP_FREED_MEMORY,
        "PYTHONPATH": "",
        "HF_HUB_OFFLINE": "1",
    }
    with path.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            [str(python), str(ROOT / "benchmarks" / script), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        )


def answer(process: subprocess.Popen) -> dict[str, Any]:
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args[1]} ended with {process.wait()}: see the .log beside {process.args[2]}")
    return json.loads(line)


@contextmanager
def trl_process(python: Path, job: dict[str, Any], folder: Path) -> Iterator[subprocess.Popen]:
    process = child(python, "trl_step.py", job, folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def trl_block(process: subprocess.Popen, steps: int, into: Measured) -> None:
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    found = answer(process)
    into.seconds += found["seconds"]
    into.tokens += found["tokens"]


def measured_floors(job: dict[str, Any], folder: Path) -> dict[str, float]:
    process = child(sys.executable, "step_floors.py", job, folder)
    try:
        return answer(process)
    finally:
        process.kill()
        process.wait()


def figures(ours: Measured, trl: Measured, half: Measured, floors: dict[str, float]) -> dict[str, Any]:
    """`idle_share` is the share of the cores' time that the vt_ray step leaves unused: the most that more overlap of
    its parts can gain."""
    sides = {name: side for name, side in (("ours", ours), ("trl", trl), ("half", half)) if side.seconds}
    seconds = {name: median(side.seconds) for name, side in sides.items()}
    cpu = {name: median(side.cpu_seconds) for name, side in sides.items()}
    parts = {name: [f(step[name] for step in ours.parts) for f in (median, min)] for name in ours.parts[0]}
    return {
        "ratio": round(seconds["trl"] / seconds["ours"], 3),
        "cpu_ratio": round(cpu["trl"] / cpu["ours"], 3),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "cpu_s": {name: round(value, 3) for name, value in cpu.items()},
        "spread_s": {name: [round(f(side.seconds), 3) for f in (min, max)] for name, side in sides.items()},
        "idle_share": round(1 - fmean(ours.cpu_seconds) / (THREADS * fmean(ours.seconds)), 3),
        "tokens_mean": {name: round(fmean(sides[name].tokens), 2) for name in ("ours", "trl")},
        "parts_s": {name: [round(value, 4) for value in both] for name, both in parts.items()},
        "floors_s": {name: round(value, 4) for name, value in floors.items()},
        "steps": len(ours.seconds),
    }


def print_tables(name: str, found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    sides = Table(
        "side", "s a step", "least", "most", "CPU s", "tokens", "TRL / side", title=f"{name}, {found['steps']} steps"
    )
    for side, seconds in found["seconds"].items():
        least, most = found["spread_s"][side]
        sides.add_row(
            side,
            f"{seconds:.3f}",
            f"{least:.3f}",
            f"{most:.3f}",
            f"{found['cpu_s'][side]:.3f}",
            str(found["tokens_mean"].get(side, "")),
            f"{found['seconds']['trl'] / seconds:.2f}",
        )
    parts = Table("part of the vt_ray step", "s", "least", "bare, s", "least / bare")
    for part, (seconds, least) in found["parts_s"].items():
        floor = found["floors_s"].get(part) if part != "total" else sum(found["floors_s"].values())
        bare, times = (f"{floor:.4f}", f"{least / floor:.2f}") if floor else ("", "")
        parts.add_row(part, f"{seconds:.4f}", f"{least:.4f}", bare, times)
    for table in (sides, parts):
        Console(width=100).print(table)


def trl_environment(folder: Path) -> Path:
    """Returns the Python of the TRL environment, which is made if it is missing. The marker is written last."""
    python, ready = folder / "bin" / "python", folder / ".ready"
    if ready.exists():
        return python
    print(f"making {folder} for TRL (some minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    torch = os.environ.get("TORCH", TORCH)
    # The configured indexes first; PyTorch's own index of CPU builds second.
    if subprocess.run([*install, torch], check=False).returncode:
        subprocess.run([*install, "--index-url", TORCH_INDEX, torch], check=True)
    subprocess.run([*install, "-r", str(ROOT / "requirements" / "trl.txt")], check=True)
    ready.touch()
    return python


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(SETTINGS), help="one setting instead of both")
    parser.add_argument("--steps", type=int, help="timed steps of a block (default: 10 tiny, 1 smollm2)")
    parser.add_argument("--blocks", type=int, help="blocks of each side (default: 2 tiny, 10 smollm2)")
    parser.add_argument("--half", action=argparse.BooleanOptionalAction, default=True, help="measure the third side")
    parser.add_argument("--trl-venv", type=Path, default=ROOT / ".venv-trl")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/step_vs_trl"), help="folder of models and logs; it is replaced"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    trl_python = trl_environment(arguments.trl_venv.resolve())
    found = {}
    for name in [arguments.only] if arguments.only else list(SETTINGS):
        folder = arguments.runs.resolve() / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        setting = SETTINGS[name]
        steps, blocks = arguments.steps or setting.steps, arguments.blocks or setting.blocks
        found[name] = measure(setting, steps, blocks, arguments.half, trl_python, folder)
        print_tables(name, found[name])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
