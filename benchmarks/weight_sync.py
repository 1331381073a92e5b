"""Time for which generation pauses during a weight sync, and the share of vLLM in it.

    python benchmarks/weight_sync.py [--model smollm2_135m] [--generators 2] [--learners 1] [--repeats 5] [--no-step]
                                     [OVERRIDE ...]     such as cluster=node_8gpu model.path=/models/Qwen2.5-Math-1.5B

A real learner and real generators, started as in a run, sync the same weights repeatedly. The script measures the whole
stall for each bucket size and number of generators, each part alone, a plain copy of the bytes, and vLLM's own reload
of weights that it has already. A step is 32 completions of at most 96 tokens, generated and learned from.
The script prints a table and a line of JSON, in seconds: the median of the repeats, and the least.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
WHOLE = 1 << 20
Seconds = dict[str, float]


def main() -> None:
    arguments = parsed()
    config = configured(arguments)
    from vt_ray.actors.cluster import RayCluster
    from vt_ray.data.problem_sets import load_problem_sets
    from vt_ray.engines.base_model import prepare_base_model

    problems = load_problem_sets(config.data, config.seed).train
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder).resolve() / "model"
        prepare_base_model(config.model, [p.question for p in problems], 0, model, config.context_tokens)
        with RayCluster(config, Path(folder)) as cluster:
            found = measured(cluster, config, model, problems, arguments)
    print_tables(found)
    print(json.dumps(found))


def configured(arguments: argparse.Namespace):
    from hydra import compose, initialize_config_dir

    from vt_ray.config import to_config
    from vt_ray.main import CONF
    from vt_ray.planning.validate import validate

    threads = [f"cluster.{side}_threads={arguments.threads}" for side in ("generator", "learner")]
    overrides = [f"model={arguments.model}", "data=tiny", *threads, f"cluster.num_generators={arguments.generators}"]
    overrides += [f"cluster.num_learners={arguments.learners}", f"learner.zero_stage={arguments.zero_stage}"]
    overrides += ["cluster.object_store_gb=2", "evaluation.max_new_tokens=96", "signal.sync.logprob_tolerance=0.5"]
    overrides += arguments.overrides
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = to_config(compose("config", overrides))
    validate(config)
    return config


def measured(cluster, config, model: Path, problems: list, arguments: argparse.Namespace) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from vt_ray.config import OptimizerConfig
    from vt_ray.data.prompts import PromptEncoder

    encoder = PromptEncoder(AutoTokenizer.from_pretrained(model), config.data)
    fingerprint = encoder.fingerprint(problems[0], config.signal.sync.fingerprint_tokens)
    with cluster.learner(model, OptimizerConfig(), 10) as learner, cluster.generator(model) as generator:
        found = {name: value for name, value in vars(arguments).items() if name != "step"}
        found |= stalls(learner, generator, fingerprint, config.signal.sync, arguments)
        found["parts"] = parts(learner, actors_of(generator)[0], fingerprint, arguments.repeats)
        if arguments.step:
            found["step_seconds"] = step_seconds(cluster, learner, generator, encoder, problems, config)
            found["stall_share_of_step"] = found["stall"]["median"] / (found["step_seconds"] + found["stall"]["median"])
    stall = found["stall"]
    for name in ("memcpy", "vllm_reload"):
        found[f"stall_over_{name}"] = stall["least"] / found["parts"][name]["least"]
    return found


def stalls(learner, generator, fingerprint: list[int], sync, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures the whole of `sync_weights`, during which generation is paused."""
    from existing_actors import generator_from

    from vt_ray.signal_phase.sync import sync_weights

    one = generator_from(*actors_of(generator)[:1], logprob_tolerance=sync.logprob_tolerance)
    report = sync_weights(learner, generator, 0, fingerprint, sync)
    sizes = {
        f"{mb} MB" if mb < WHOLE else "whole": repeated(
            lambda mb=mb: sync_weights(learner, one, 1, fingerprint, replace(sync, bucket_mb=mb)), arguments.repeats
        )
        for mb in (16, 64, 256, WHOLE)
    }

    def one_after_the_other() -> None:
        weights = learner.export_weights(1, fingerprint, sync.bucket_mb << 20)
        # Available after the export and the learner's own log-probabilities.
        assert weights.checksums
        one.load(weights, fingerprint)

    counts = {"1": sizes[f"{sync.bucket_mb} MB"]}
    for count in range(2, arguments.generators + 1):
        some = generator_from(*actors_of(generator)[:count], logprob_tolerance=sync.logprob_tolerance)
        counts[str(count)] = repeated(
            lambda some=some: sync_weights(learner, some, 1, fingerprint, sync), arguments.repeats
        )
    return {
        "bytes": report.num_bytes,
        "logprob_gap": report.logprob_gap,
        "stall": counts["1"],
        "one_after_the_other": repeated(one_after_the_other, arguments.repeats),
        "by_bucket": sizes,
        "by_generators": counts,
    }


def parts(learner, generator, fingerprint: list[int], repeats: int) -> dict[str, Seconds]:
    """Measures each part alone. In a sync the parts of the learner overlap with those of the generator."""
    exported = repeated(
        lambda: ray.wait(list(weights := all_buckets(learner, fingerprint)), num_returns=len(weights)), repeats
    )
    handles = all_buckets(learner, fingerprint)
    arrays = [array for bucket in ray.get(list(handles)) for array in bucket.data]
    copies = [np.empty_like(array) for array in arrays]
    found = {"export (gather, checksum, put)": exported}
    on_learner = [
        ray.get([actor.__ray_call__.remote(learner_parts, fingerprint) for actor in learner.actors])[0]
        for _ in range(repeats)
    ]
    on_generator = [
        ray.get(generator.__ray_call__.remote(load_parts, list(handles), fingerprint)) for _ in range(repeats)
    ]
    for rounds in (on_learner, on_generator):
        found |= {name: summary([seconds[name] for seconds in rounds]) for name in rounds[0]}
    found["memcpy"] = repeated(
        lambda: [np.copyto(to, array) for to, array in zip(copies, arrays, strict=True)], repeats
    )
    return found


def actors_of(generator) -> list:
    return [worker.actor for worker in generator.pool.wait_until_ready()]


def all_buckets(learner, fingerprint: list[int]) -> tuple:
    return learner.export_weights(1, fingerprint, 64 << 20).buckets


def wait_for_all(handles: tuple) -> None:
    ray.wait(list(handles), num_returns=len(handles), fetch_local=False)


def learner_parts(actor, fingerprint: list[int]) -> Seconds:
    """Runs on each rank: gathering, the checksum of all tensors, and the forward pass of the fingerprint sequence."""
    from vt_ray.algorithms.checksum import checksum

    clock = Clock()
    clock.seconds = {"learner: gather": 0.0, "learner: checksums": 0.0}
    for bucket in actor.engine.gathered(64 << 20):
        clock("learner: gather")
        for _, tensor in bucket:
            checksum(tensor)
        clock("learner: checksums")
    clock("learner: gather")
    actor.engine.token_logprobs(fingerprint)
    clock("learner: fingerprint")
    return clock.seconds


def load_parts(actor, handles: list, fingerprint: list[int]) -> Seconds:
    """Runs in the generator: vLLM's own reload without our record of the tensors, then our load, part by part."""
    clock = actor.engine.loop.between_steps(lambda: reload_parts(actor.engine.llm, handles))
    actor.engine.token_logprobs(fingerprint)
    clock("generator: fingerprint")
    return clock.seconds


def reload_parts(llm, handles: list) -> Clock:
    import vllm.model_executor.layers.utils as layer_utils

    from vt_ray.engines.vllm import held_weights, transfer
    from vt_ray.engines.weights import open_bucket

    clock = Clock()
    buckets = ray.get(handles)
    names = [entry.name for bucket in buckets for entry in bucket.entries]
    clock("generator: get")
    # On a CPU vt_ray records the weights that each layer packs; vLLM's own reload is timed without that record.
    noting = layer_utils.dispatch_cpu_unquantized_gemm
    layer_utils.dispatch_cpu_unquantized_gemm = getattr(noting, "packs", noting)
    tensors = (tensor for bucket in buckets for tensor in open_bucket(bucket))
    clock.restart()
    llm.collective_rpc("reload_weights", kwargs={"weights_iterator": tensors, "is_checkpoint_format": True})
    clock("vllm_reload")
    layer_utils.dispatch_cpu_unquantized_gemm = noting
    clock.restart()
    llm.collective_rpc(held_weights.begin_load)
    for bucket in buckets:
        llm.collective_rpc(held_weights.load_bucket, args=(bucket,))
    llm.collective_rpc(held_weights.finish_load)
    clock("generator: load, checksums as packed")
    transfer.held_checksums(llm, names)
    clock("generator: checksums read back")
    llm.reset_prefix_cache()
    clock.restart()
    return clock


def step_seconds(cluster, learner, generator, encoder, problems: list, config) -> float:
    """8 problems x 4 completions of at most 96 tokens, and one update on all of them."""
    from vt_ray.records import AdvantageConfig, Sampling

    prompts = encoder.prompts(problems[:8], 4, ("step",))
    with cluster.verifier() as verifier, cluster.tracker(config.tracker) as tracker:
        start = time.monotonic()
        groups = list(verifier.grade(generator.generate(prompts, Sampling(1.0, 1.0, 0, 96))))
        weights = [
            replace(w, advantages=(1.0, -1.0, 0.5, -0.5))
            for w in tracker.compute_advantages(groups, 0, AdvantageConfig(1.0))
        ]
        learner.update(groups, weights, config.signal.mgpo, 1.0, 96)
        return time.monotonic() - start


class Clock:
    def __init__(self) -> None:
        self.seconds: Seconds = {}
        self.restart()

    def restart(self) -> None:
        self.since = time.perf_counter()

    def __call__(self, part: str) -> None:
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - self.since
        self.restart()


def repeated(work: Callable[[], Any], repeats: int) -> Seconds:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return summary(seconds)


def summary(seconds: list[float]) -> Seconds:
    return {"median": statistics.median(seconds), "least": min(seconds)}


def print_tables(found: dict[str, Any]) -> None:
    console = Console(width=100)
    table = Table("", "median s", "least s", title=f"{found['model']}: {found['bytes'] / 1e6:.0f} MB to one generator")
    rows = {f"stall, buckets of {size}": seconds for size, seconds in found["by_bucket"].items()}
    rows |= {f"stall, {count} generators": s for count, s in found["by_generators"].items() if count != "1"}
    rows["stall, export before load"] = found["one_after_the_other"]
    for name, seconds in {**rows, **found["parts"]}.items():
        table.add_row(name, f"{seconds['median']:.3f}", f"{seconds['least']:.3f}")
    console.print(table)
    console.print(
        f"least stall: {found['stall_over_vllm_reload']:.1f} x vLLM's own reload, "
        f"{found['stall_over_memcpy']:.0f} x a plain copy"
    )
    if "step_seconds" in found:
        console.print(f"a step takes {found['step_seconds']:.1f} s, the sync {found['stall_share_of_step']:.1%} of it")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m", help="a group of conf/model")
    parser.add_argument("--generators", type=int, default=2, help="largest number of generators")
    parser.add_argument("--learners", type=int, default=1, help="learner ranks")
    parser.add_argument("--zero-stage", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="threads of each actor")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--step", action=argparse.BooleanOptionalAction, default=True, help="measure a step as well")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, after all other arguments")
    return parser.parse_args()


if __name__ == "__main__":
    main()
