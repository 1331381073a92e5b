"""What runs inside vLLM's workers: bytes into the model, and what it really holds, under the checkpoint's names.

    begin_load --> load_bucket ... --> finish_load --> held_parts (each worker) --whole_checksums--> name: checksum

On a GPU a layer's weight is there to be read. The CPU build packs each linear weight into a kernel's own
layout and drops the original, so the checksum is taken in the moment before a layer is packed and stays with
the layer: if a sync never reaches a layer (a tied lm_head), its checksum stays that of the old weights.

Under tensor parallelism a worker holds a part of most tensors and shows the checksum of that part in its place; parts
of several workers in the same place (norms, shared keys and values) must agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vt_ray.algorithms.checksum import add_checksums, checksum
from vt_ray.engines.weights import Bucket, open_bucket

_PACKED = "vt_ray_packed"
# The place of a worker's part in the whole tensor, and its checksum; None where the worker contradicts itself.
Part = tuple[tuple[int, int], int | None]


def begin_load(worker: Any) -> None:
    """From here to `finish_load` no request may run: layers are taken apart."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

    if worker.device.type == "cpu":
        remember_packed_weights()
    with set_current_vllm_config(worker.vllm_config):
        initialize_layerwise_reload(worker.model_runner.get_model())


def load_bucket(worker: Any, bucket: Bucket) -> None:
    """A layer is packed as soon as its last tensor is there; until then it keeps the bucket's memory."""
    from vllm.config import set_current_vllm_config

    with set_current_vllm_config(worker.vllm_config):
        worker.model_runner.get_model().load_weights(open_bucket(bucket))


def finish_load(worker: Any) -> None:
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

    with set_current_vllm_config(worker.vllm_config):
        finalize_layerwise_reload(worker.model_runner.get_model(), worker.model_config)


def remember_packed_weights() -> None:
    """Make vLLM's CPU packing note the checksum of each weight it packs."""
    import vllm.model_executor.layers.utils as layer_utils

    pack = layer_utils.dispatch_cpu_unquantized_gemm
    if hasattr(pack, "packs"):
        return

    def pack_and_note(layer: torch.nn.Module, remove_weight: bool) -> None:
        if not layer.weight.is_meta:
            setattr(layer, _PACKED, _parts_of(layer, "weight"))
        pack(layer, remove_weight)

    pack_and_note.packs = pack
    layer_utils.dispatch_cpu_unquantized_gemm = pack_and_note


def held_parts(worker: Any, names: Sequence[str]) -> dict[str, Part]:
    """What the model of `worker` holds of the tensors with these checkpoint names; names unknown to it are left out."""
    model = worker.model_runner.get_model()
    modules = dict(model.named_modules())
    fused = getattr(model, "packed_modules_mapping", {})
    held = {}
    for name in names:
        found = _find(name, modules, fused)
        if found is not None:
            module, parameter, index = found
            held[name] = _held_part(module, parameter, index)
    return held


def whole_checksums(workers: Sequence[dict[str, Part]]) -> dict[str, int | None]:
    """The checksums of whole tensors from all workers' parts; None where two of them hold unlike bytes in one place."""
    whole: dict[str, int | None] = {}
    for name in {name for parts in workers for name in parts}:
        places: dict[tuple[int, int], set[int | None]] = {}
        for parts in workers:
            at, total = parts.get(name, ((0, 0), None))
            places.setdefault(at, set()).add(total)
        sums = [total for totals in places.values() for total in totals if total is not None]
        agreed = len(sums) == len(places) and all(len(totals) == 1 for totals in places.values())
        whole[name] = add_checksums(sums) if agreed else None
    return whole


def _find(name: str, modules: dict, fused: dict[str, list[str]]) -> tuple[torch.nn.Module, str, int] | None:
    """The module, parameter name and part index behind a checkpoint name: q_proj is part 0 of qkv_proj."""
    path, _, parameter = name.rpartition(".")
    if path in modules:
        return modules[path], parameter, 0
    parent, _, leaf = path.rpartition(".")
    for whole, parts in fused.items():
        if leaf in parts and f"{parent}.{whole}" in modules:
            return modules[f"{parent}.{whole}"], parameter, parts.index(leaf)
    return None


def _held_part(module: torch.nn.Module, parameter: str, index: int) -> Part:
    """No checksum where a weight that was packed and kept (an embedding) has two unlike copies, or where one was packed
    before anybody took note."""
    packed, live = getattr(module, _PACKED, None), getattr(module, parameter)
    if parameter != "weight" or not hasattr(module, "cpu_linear"):
        return _parts_of(module, parameter)[index]
    if packed is None:
        return (0, 0), None
    at, noted = packed[index]
    agree = not live.numel() or _parts_of(module, parameter)[index] == (at, noted)
    return at, noted if agree else None


def _parts_of(module: torch.nn.Module, parameter: str) -> list[Part]:
    """A fused weight as the checkpoint's tensors, each with its place in the whole; a padded vocabulary cut to size."""
    from vllm.model_executor.layers.linear import ColumnParallelLinear, RowParallelLinear
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    tensor = getattr(module, parameter).data
    if isinstance(module, VocabParallelEmbedding):
        rows = module.shard_indices
        at = (rows.org_vocab_start_index, 0)
        return [(at, checksum(tensor[: rows.num_org_elements], at))]
    if isinstance(module, RowParallelLinear) and tensor.dim() == 2:
        at = (0, module.tp_rank * module.input_size_per_partition)
        return [(at, checksum(tensor, at, module.input_size))]
    if isinstance(module, ColumnParallelLinear):
        # A linear layer's checkpoint has a row for each output.
        parts = tensor.split(module.output_partition_sizes)
        places = [(_rank(module, index) * len(part), 0) for index, part in enumerate(parts)]
        return [(at, checksum(part, at)) for at, part in zip(places, parts, strict=True)]
    return [((0, 0), checksum(tensor))]


def _rank(module: torch.nn.Module, index: int) -> int:
    """Keys and values (parts 1 and 2 of qkv) are shared by several workers where there are fewer heads than workers."""
    return module.tp_rank // (getattr(module, "num_kv_head_replicas", 1) if index else 1)
