"""What one rank computes in a step: tokens, padding and floating-point operations, for `flops.throughput`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import torch

from vt_ray.algorithms.flops import DenseShape, peak_flops, training_flops
from vt_ray.algorithms.packing import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from vt_ray.engines.training import TrainingEngine


def step_counts(engine: TrainingEngine, rows: Sequence[Row]) -> dict[str, float]:
    """The counts of this rank's rows. Ranks that share rows report the same ones: only the first of them is counted,
    so its `peak_flops` is that of all of them."""
    learner = engine.spec.learner
    lengths = [len(row.token_ids) for row in rows]
    size = learner.sequence_parallel_size
    micro_batches = [lengths[i : i + learner.rows_per_batch] for i in range(0, len(lengths), learner.rows_per_batch)]
    computed = sum(-(-max(batch) // size) * size * len(batch) for batch in micro_batches)
    # A token attends to itself and to the tokens before it in its sequence.
    attended = sum(int(row.position_ids.sum()) + len(row.position_ids) for row in rows)
    predicted = sum(int((row.token_weights > 0).sum()) for row in rows)
    gpu = torch.cuda.get_device_name(engine.device) if engine.device.type == "cuda" else ""
    return {
        "computed_tokens": sum(lengths),
        "padding_tokens": computed - sum(lengths),
        "flops": training_flops(dense_shape(engine.module), sum(lengths), attended, predicted),
        "peak_flops": size * peak_flops(gpu, engine.spec.model.dtype),
    }


def dense_shape(module: PreTrainedModel) -> DenseShape:
    """The shape of a Hugging Face causal LM. Under ZeRO-3 the parameters have their whole sizes in `ds_shape`."""
    text = module.config.get_text_config()
    embeddings = {id(part.weight) for part in (module.get_input_embeddings(), module.get_output_embeddings()) if part}
    layers = [(getattr(p, "ds_shape", p.shape), p) for p in module.parameters() if id(p) not in embeddings]
    # The experts of a layer may be one parameter with three axes.
    sizes = [(prod(shape), p.requires_grad) for shape, p in layers if len(shape) >= 2]
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return DenseShape(
        matrix_parameters=sum(size for size, _ in sizes),
        layers=text.num_hidden_layers,
        attention_width=text.num_attention_heads * head_dim,
        output_parameters=text.vocab_size * text.hidden_size,
        frozen_parameters=sum(size for size, trains in sizes if not trains),
        frozen_output=not module.get_output_embeddings().weight.requires_grad,
    )
