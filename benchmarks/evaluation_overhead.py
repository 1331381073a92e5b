"""Tokens a second of an evaluation, beside vLLM's own `LLM.generate` on the same prompts.

    VT_BENCHMARKS=FOLDER python benchmarks/evaluation_overhead.py experiment=evaluate model=smollm2_135m \
        'evaluation.benchmarks=[gsm8k]' evaluation.limit=64 evaluation.override.samples=1 \
        evaluation.override.max_new_tokens=256

The arguments are those of `vt-ray` for one benchmark. The script starts in turn, each in a process of its own:

    ours    the command itself: Ray, generators, verifiers, both graders, a line on disk for each problem
    bare    `LLM.generate` with the same token ids, seeds and limits, and nothing else

Both times are without the start of the engine: ours is the sum of the seconds in the results file, bare is the time of
the call. Neither engine has generated before. The script prints a table and a line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from hydra import compose, initialize_config_dir

import vt_ray.main  # noqa: F401 - its import registers the schema of the settings
from vt_ray.config import CONF, Config, to_config
from vt_ray.data.benchmark_problems import load_benchmarks
from vt_ray.engines.generation import EngineSpec
from vt_ray.evaluation.benchmarks import benchmark_encoder
from vt_ray.evaluation.results_file import read_results
from vt_ray.pipeline import load_encoder
from vt_ray.run.paths import RunPaths

REPEATS = 3
BARE = "--bare"


def composed(overrides: list[str]) -> Config:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_config(compose("config", overrides=overrides))


def ours(arguments: list[str], runs: Path, repeat: int) -> dict[str, float]:
    """Evaluate by the command."""
    name = f"overhead_{repeat}"
    # Another runs_dir for each repeat: runs with equal inputs share their results.
    run = RunPaths(runs / name / "run")
    command = [sys.executable, "-m", "vt_ray.main", *arguments, f"runs_dir={run.root.parent}", "run_name=run"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (file,) = (run.evaluation / "base").glob("*.jsonl")
    _, lines = read_results(file)
    seconds = sum(line["seconds"] for line in lines.values())
    return {"tokens": sum(sum(line["tokens"]) for line in lines.values()), "seconds": seconds}


def bare(arguments: list[str], base: str) -> dict[str, float]:
    """Generate the completions of the same prompts with vLLM alone."""
    config = composed(arguments)
    (loaded,) = load_benchmarks(config)
    b = loaded.benchmark
    encoder = benchmark_encoder(load_encoder(config, Path(base)), b)
    prompts = encoder.prompts(loaded.problems, b.samples, (config.seed, "evaluate"))
    llm = _llm(config, base)

    from vllm import SamplingParams, TokensPrompt

    def params(seed: int) -> SamplingParams:
        return SamplingParams(temperature=b.temperature, top_p=b.top_p, max_tokens=b.max_new_tokens, seed=seed)

    asked = [(TokensPrompt(prompt_token_ids=list(p.token_ids)), params(seed)) for p in prompts for seed in p.seeds]
    start = time.monotonic()
    outputs = llm.generate([prompt for prompt, _ in asked], [given for _, given in asked], use_tqdm=False)
    seconds = time.monotonic() - start
    return {"tokens": sum(len(output.outputs[0].token_ids) for output in outputs), "seconds": seconds}


def _llm(config: Config, base: str):
    """vLLM with the memory, threads and batch of the run's engine, and its own defaults in all else."""
    from vt_ray.engines.vllm.engine import _set_environment

    cluster = config.cluster
    share = cluster.gpu_memory_utilization
    spec = EngineSpec(
        *(base, config.model.dtype, config.context_tokens, cluster.max_num_seqs, cluster.gpus_per_generator),
        *(cluster.tensor_parallel_size, cluster.kv_cache_gb, share, cluster.generator_threads, config.seed),
    )
    _set_environment(spec)
    import torch
    from vllm import LLM

    own = {"gpu_memory_utilization": share, "enforce_eager": cluster.enforce_eager}
    if not spec.gpus:
        torch.set_num_threads(spec.threads)
        most = max(4096, spec.context_tokens, spec.max_num_seqs)
        own = {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": most}
    return LLM(
        base, dtype=spec.dtype, max_model_len=spec.context_tokens, max_num_seqs=spec.max_num_seqs, seed=spec.seed, **own
    )


def main(arguments: list[str]) -> None:
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(REPEATS):
            measured = {"ours": ours(arguments, Path(folder), repeat)}
            base = Path(folder) / f"overhead_{repeat}" / "run" / "base"
            command = [sys.executable, __file__, BARE, str(base.resolve()), *arguments]
            # libgomp's own default in place of the variables that vt_ray sets.
            environment = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "GOMP_SPINCOUNT": "300000"}
            environment.pop("OMP_WAIT_POLICY", None)
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
            measured["bare"] = json.loads(printed.splitlines()[-1])
            for name, found in measured.items():
                rates[name].append(found["tokens"] / found["seconds"])
                print(
                    f"{name}  {found['tokens']:9,.0f} tokens  {found['seconds']:7.1f} s  {rates[name][-1]:8.1f} per s"
                )
    ratio = median(rates["ours"]) / median(rates["bare"])
    print(f"an evaluation makes {ratio:.1%} of the tokens a second of LLM.generate (medians of {REPEATS})")
    print(json.dumps({"ratio": ratio, **rates}))


if __name__ == "__main__":
    if sys.argv[1:2] == [BARE]:
        print(json.dumps(bare(sys.argv[3:], sys.argv[2])))
    elif len(sys.argv) == 1 or {"-h", "--help"} & {*sys.argv}:
        print(__doc__)
    else:
        main(sys.argv[1:])
