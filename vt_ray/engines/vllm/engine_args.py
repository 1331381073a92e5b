"""Checks of `cluster.engine_args` against the fields of vLLM's EngineArgs. Imports nothing of vLLM.

The names are read from the text of vLLM's module: its import takes 10 seconds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vt_ray.config import ClusterConfig

# Arguments that follow from other settings.
SETTINGS = {
    **dict.fromkeys(("model", "model_weights", "tokenizer", "revision", "tokenizer_revision"), "model.path"),
    **dict.fromkeys(("served_model_name", "load_format", "model_impl", "skip_tokenizer_init"), "model.path"),
    "dtype": "model.dtype",
    "seed": "seed",
    "max_model_len": "data.max_prompt_tokens and max_new_tokens of stages and evaluations",
    "max_num_seqs": "cluster.max_num_seqs",
    "tensor_parallel_size": "cluster.tensor_parallel_size",
    "gpu_memory_utilization": "cluster.gpu_memory_utilization",
    "kv_cache_memory_bytes": "cluster.gpu_memory_utilization (on a CPU: cluster.kv_cache_gb)",
    "enforce_eager": "cluster.enforce_eager",
    "enable_sleep_mode": "cluster.colocate and cluster.take_turns",
    "weight_transfer_config": "signal.sync.transport",
    "enable_lora": "learner.lora, whose adapters are merged before a sync",
    "generation_config": "temperature and top_p of stages and evaluations",
    "override_generation_config": "temperature and top_p of stages and evaluations",
}
QUANTISED = (
    "quantised weights are not the learner's weights, and no sync could prove them: leave it out; "
    "kv_cache_dtype=fp8 quantises the KV cache"
)
ONE_ENGINE = "a generator is one engine on one node: raise cluster.num_generators or cluster.tensor_parallel_size"
# Arguments that vt_ray needs as they are, with the reason and the remedy.
FIXED = {
    **dict.fromkeys(("quantization", "quantization_config", "allow_deprecated_quantization"), QUANTISED),
    **dict.fromkeys(("pipeline_parallel_size", "nnodes", "node_rank", "master_addr", "master_port"), ONE_ENGINE),
    **dict.fromkeys(("prefill_context_parallel_size", "decode_context_parallel_size"), ONE_ENGINE),
    "device_ids": "Ray gives each generator its GPUs: leave it out",
    "distributed_executor_backend": "it follows from cluster.tensor_parallel_size: leave it out",
    "scheduling_policy": "the fingerprint of a sync goes first by its priority: leave it out",
    "async_scheduling": "tokens sampled during a load would be recorded with the new weight version: leave it out",
    "logprobs_mode": "the importance ratio needs log-probabilities after temperature: leave it out",
    "disable_log_stats": "the metrics need vLLM's counters: leave it out",
    "tokens_only": "the verifier needs texts: leave it out",
    "hf_token": "the run folder would contain it: download the model and give its folder in model.path",
}
# Arguments that vLLM's CPU build needs as they are.
FIXED_ON_CPU = {
    "enable_chunked_prefill": "the CPU build cannot rewind a request's random generator: leave it out",
    "max_num_batched_tokens": "without chunks, the CPU build needs room for whole prompts: leave it out",
    "compilation_config": "an engine on a CPU runs eagerly: leave it out, or give the generator a GPU",
}


# The simple types of annotations; vLLM checks all others itself.
TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "None": (type(None),),
}


@cache
def known_fields() -> Mapping[str, str]:
    """{name: annotation} of the installed vLLM's EngineArgs; empty without vLLM."""
    found = find_spec("vllm")
    if found is None or not found.submodule_search_locations:
        return {}
    file = Path(next(iter(found.submodule_search_locations)), "engine", "arg_utils.py")
    (engine_args,) = (
        node
        for node in ast.parse(file.read_bytes()).body
        if isinstance(node, ast.ClassDef) and node.name == "EngineArgs"
    )
    fields = [
        node for node in engine_args.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    named = {ast.unparse(field.target): ast.unparse(field.annotation) for field in fields}
    return {name: annotation for name, annotation in named.items() if not name.startswith("_")}


def engine_args_faults(cluster: ClusterConfig) -> Iterator[str]:
    """A message for each argument that cannot be passed to vLLM: value, limit, remedy."""
    if cluster.engine_args and cluster.generation_engine != "vllm":
        yield (
            f"cluster.engine_args={dict(cluster.engine_args)} with cluster.generation_engine="
            f"{cluster.generation_engine}: they are arguments of vLLM: leave them out"
        )
        return
    for name, value in cluster.engine_args.items():
        if fault := _fault(str(name), value, cluster):
            yield f"cluster.engine_args.{name}={value!r}: {fault}"


def _fault(name: str, value: Any, cluster: ClusterConfig) -> str:
    if name in SETTINGS:
        return f"set {SETTINGS[name]} instead"
    if name.startswith("data_parallel_"):
        return ONE_ENGINE
    fixed: dict[str, Any] = FIXED if cluster.gpus_per_generator else {**FIXED, **FIXED_ON_CPU}
    if name in fixed:
        return fixed[name]
    fields = known_fields()
    if fields and name not in fields:
        near = get_close_matches(name.replace("-", "_"), fields.keys() - FIXED.keys() - SETTINGS.keys(), 1, 0.75)
        hint = f": do you mean {near[0]}?" if near else ": see the fields of EngineArgs in vLLM's documentation"
        return f"vLLM has no argument of this name{hint}"
    if not _fits(value, fields.get(name, "")):
        return f"vLLM takes {fields[name].replace(' | ', ' or ')}"
    return ""


def _fits(value: Any, annotation: str) -> bool:
    """Whether the value may be of the annotated type. An annotation with other types than TYPES allows every value."""
    names = annotation.split(" | ")
    if not all(name in TYPES for name in names):
        return True
    if isinstance(value, bool):
        return "bool" in names
    return isinstance(value, tuple(kind for name in names for kind in TYPES[name]))
