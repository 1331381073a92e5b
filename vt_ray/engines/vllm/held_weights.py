"""Functions that run inside vLLM's workers: they load weights and read back checksums, by the checkpoint's names.

    begin_load --> load_bucket ... --> finish_load --> held_parts (each worker) --whole_checksums--> name: checksum

On a GPU the checksum is computed from the layer's weight. The CPU build packs each linear weight into the layout of a
kernel and drops the original, so the checksum is computed just before packing and stored with the layer: if a sync does
not reach a layer (a tied lm_head), its old checksum stays.

Under tensor parallelism a worker holds a part of most tensors and reports the checksum of that part at its position.
Parts of several workers at the same position (norms, shared keys and values) must agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vt_ray.algorithms.checksum import add_checksums, checksum
from vt_ray.engines.weights import Bucket, open_bucket

_PACKED = "vt_ray_packed"
# The position of a worker's part in the whole tensor, and its checksum; None if two copies in the worker differ.
Part = tuple[tuple[int, int], int | None]
# The parts of each tensor that was read so far, by its address, shape and strides.
Read = dict[tuple[Any, ...], list[Part]]


def begin_load(worker: Any) -> None:
    """Prepares the layers for new weights. No request may run until `finish_load`."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

    if worker.device.type == "cpu":
        remember_packed_weights()
    with set_current_vllm_config(worker.vllm_config):
        initialize_layerwise_reload(worker.model_runner.get_model())


def load_bucket(worker: Any, bucket: Bucket) -> None:
    """Loads the tensors of a bucket. A layer keeps the bucket's memory until its last tensor arrives."""
    from vllm.config import set_current_vllm_config

    with set_current_vllm_config(worker.vllm_config):
        worker.model_runner.get_model().load_weights(open_bucket(bucket))


def finish_load(worker: Any) -> None:
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

    with set_current_vllm_config(worker.vllm_config):
        finalize_layerwise_reload(worker.model_runner.get_model(), worker.model_config)


def remember_packed_weights() -> None:
    """Makes vLLM's CPU packing store the checksum of each weight that it packs."""
    import vllm.model_executor.layers.utils as layer_utils

    pack: Any = layer_utils.dispatch_cpu_unquantized_gemm
    if hasattr(pack, "packs"):
        return

    def pack_and_note(layer: torch.nn.Module, remove_weight: bool) -> None:
        if not layer.weight.is_meta:
            setattr(layer, _PACKED, _parts_of(layer, "weight"))
        pack(layer, remove_weight)

    pack_and_note.packs = pack  # type: ignore[attr-defined]  # marks the function
    layer_utils.dispatch_cpu_unquantized_gemm = pack_and_note


def held_parts(worker: Any, names: Sequence[str]) -> dict[str, Part]:
    """Returns the part of each tensor that the worker's model holds, by checkpoint name; unknown names are left out.

    Each tensor is read once: q_proj, k_proj and v_proj are parts of one, and a tied lm_head is the embedding.
    """
    model = worker.model_runner.get_model()
    modules = dict(model.named_modules())
    fused = getattr(model, "packed_modules_mapping", {})
    held: dict[str, Part] = {}
    read: Read = {}
    for name in names:
        found = _find(name, modules, fused)
        if found is not None:
            module, parameter, index = found
            held[name] = _held_part(module, parameter, index, read)
    return held


def whole_checksums(workers: Sequence[dict[str, Part]]) -> dict[str, int | None]:
    """Adds the parts of all workers to checksums of whole tensors; None if two parts at one position differ."""
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
    """Returns the module, parameter name and part index of a checkpoint name: q_proj is part 0 of qkv_proj."""
    path, _, parameter = name.rpartition(".")
    if path in modules:
        return modules[path], parameter, 0
    parent, _, leaf = path.rpartition(".")
    for whole, parts in fused.items():
        if leaf in parts and f"{parent}.{whole}" in modules:
            return modules[f"{parent}.{whole}"], parameter, parts.index(leaf)
    return None


def _held_part(module: torch.nn.Module, parameter: str, index: int, read: Read) -> Part:
    """The checksum is None if a weight that was packed and kept (an embedding) has two different copies, or if it was
    packed before `remember_packed_weights`."""
    packed, live = getattr(module, _PACKED, None), getattr(module, parameter)
    if parameter != "weight" or not hasattr(module, "cpu_linear"):
        return _read_once(module, parameter, read)[index]
    if packed is None:
        return (0, 0), None
    at, noted = packed[index]
    agree = not live.numel() or _read_once(module, parameter, read)[index] == (at, noted)
    return at, noted if agree else None


def _read_once(module: torch.nn.Module, parameter: str, read: Read) -> list[Part]:
    """Returns `_parts_of` a tensor, from `read` if the same memory was read before."""
    tensor = getattr(module, parameter)
    key = tensor.data_ptr(), tuple(tensor.shape), tensor.stride()
    if key not in read:
        read[key] = _parts_of(module, parameter)
    return read[key]


def _parts_of(module: torch.nn.Module, parameter: str) -> list[Part]:
    """Splits a fused weight into the checkpoint's tensors with their positions; cuts off the vocabulary's padding."""
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
        # A linear layer has one row per output in the checkpoint.
        parts = tensor.split(module.output_partition_sizes)
        places = [(_rank(module, index) * len(part), 0) for index, part in enumerate(parts)]
        return [(at, checksum(part, at)) for at, part in zip(places, parts, strict=True)]
    return [((0, 0), checksum(tensor))]


def _rank(module: Any, index: int) -> int:
    """Workers share keys and values (parts 1 and 2 of qkv) if there are fewer heads than workers."""
    rank: int = module.tp_rank
    return rank // (getattr(module, "num_kv_head_replicas", 1) if index else 1)
