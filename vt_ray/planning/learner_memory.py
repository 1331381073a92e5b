"""Estimates of the memory of one learner rank: parameters, optimizer states, activations, copies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vt_ray.config import Config
from vt_ray.engines.base_model import architecture

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Memory that the caching allocator holds, relative to the live tensors.
FRAGMENTATION = 1.1


def parameters(config: Config) -> float | None:
    """Number of parameters, or None if the model is not on this machine and `model.parameters_b` is not set."""
    m = config.model
    if m.parameters_b:
        return m.parameters_b * 1e9
    if m.source == "smollm2":
        return 134.5e6
    if m.source == "scratch":
        return count_parameters(m.vocab_size, m.hidden_size, m.intermediate_size, m.num_layers)
    files = list(Path(m.path).glob("*.safetensors"))
    width = BYTES.get(_stored_dtype(Path(m.path)))
    return sum(f.stat().st_size for f in files) / width if files and width else None


def count_parameters(vocab: int, hidden: int, intermediate: int, layers: int) -> int:
    """Parameters of a Qwen2 with tied embeddings and as many key-value heads as heads."""
    attention = 4 * hidden * hidden + 3 * hidden
    return vocab * hidden + layers * (attention + 3 * hidden * intermediate + 2 * hidden) + hidden


def adapter_count(config: Config, folder: Path | None = None) -> int | None:
    """Parameters of the adapters on the model in `folder`, by default on the base model. None if all weights train, or
    if the base model is not on this machine."""
    if not config.learner.lora.rank:
        return None
    from transformers import AutoConfig

    from vt_ray.engines.lora import adapter_parameters, empty_network

    shape = AutoConfig.from_pretrained(folder) if folder else architecture(config.model)
    return adapter_parameters(empty_network(shape), config.learner.lora) if shape else None


def learner_bytes(num_parameters: float, config: Config, adapters: int | None = None) -> float:
    """Bytes of one rank: weights, gradients and AdamW's two moments; bfloat16 also has float32 master weights.

    ZeRO-1 shards the optimizer states over the ranks, ZeRO-2 also the gradients, ZeRO-3 also the weights. With
    `adapters`, the number of their parameters, only these have gradients and optimizer states.
    """
    ranks, stage = config.cluster.num_learners, config.learner.zero_stage
    width = BYTES[config.model.dtype]
    optimizer = 8 if width == 4 else 12
    trained = num_parameters if adapters is None else adapters
    weights = num_parameters + (adapters or 0)
    states = 0 if config.learner.offload_optimizer else optimizer
    shares = [(weights * width, 3), (trained * width, 2), (trained * states, 1)]
    return sum(size / (ranks if stage >= sharded_from else 1) for size, sharded_from in shares)


def activation_bytes(config: Config, folder: Path) -> float:
    """Estimate of the bytes of activations and logits of one rank in the longest micro-batch.

    The formula is that of a decoder with a gated MLP, whose shape is in `folder`/config.json.
    """
    shape = json.loads((folder / "config.json").read_text())
    shape = shape.get("text_config", shape)
    # GPT-2 and similar models have other names for these.
    hidden = _first_of(shape, "hidden_size", "n_embd", "d_model")
    layers = _first_of(shape, "num_hidden_layers", "n_layer", "n_layers")
    learner, width = config.learner, BYTES[config.model.dtype]
    tokens = learner.rows_per_batch * max(learner.row_tokens, config.context_tokens) / learner.sequence_parallel_size
    of_layer = (8 * hidden + 5 * shape.get("intermediate_size", 4 * hidden)) * (1 if learner.compile else 1.5)
    mask = tokens**2 / learner.rows_per_batch if config.model.attention == "sdpa" else 0
    recomputed = config.model.gradient_checkpointing
    values = tokens * (of_layer if recomputed else layers * of_layer) + mask * (1 if recomputed else layers)
    inputs = tokens * layers * hidden if recomputed else 0
    # Logits, their softmax and their gradient, in float32.
    logits = 3 * 4 * min(learner.logprob_chunk_tokens, tokens) * shape["vocab_size"]
    return (values + inputs) * width + logits


def _first_of(shape: Mapping[str, Any], *names: str) -> int:
    return next(shape[name] for name in names if name in shape)


def awake_learner_gb(config: Config, folder: Path) -> float:
    """GB of one learner rank on its GPU during an update.

    The sum of the states, the larger of activations and the optimizer step's float32 gradients, the copy that CUDA IPC
    reads, and the reference model of a KL term. `folder` has the model. Adapters need no copy of the reference.
    """
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    size = stored / BYTES[_stored_dtype(folder)]
    width, ranks = BYTES[config.model.dtype], config.cluster.num_learners
    adapters = adapter_count(config, folder)
    trained = size if adapters is None else adapters
    working = max(activation_bytes(config, folder), 4 * trained / ranks if width == 2 else 0)
    has_reference = config.signal.mgpo.kl_coef > 0 and adapters is None
    copies = size * width * ((config.weight_transport == "ipc") + has_reference)
    return FRAGMENTATION * (learner_bytes(size, config, adapters) + working + copies) / 1e9


def _stored_dtype(folder: Path) -> str:
    file = folder / "config.json"
    config = json.loads(file.read_text()) if file.is_file() else {}
    return config.get("dtype") or config.get("torch_dtype") or "float32"
