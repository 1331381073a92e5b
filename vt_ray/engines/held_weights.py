"""What a vLLM engine really holds, tensor by tensor, under the checkpoint's names.

On a GPU a layer's weight is there to be read. The CPU build packs each linear weight into a kernel's own
layout and drops the original, so the checksum is taken in the moment before a layer is packed and stays with
the layer: if a sync never reaches a layer (a tied lm_head), its checksum stays that of the old weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vt_ray.algorithms.checksum import checksum

_PACKED = "vt_ray_packed_checksums"


def remember_packed_weights() -> None:
    """Make vLLM's CPU packing note the checksum of each weight it packs. Call before the engine is built."""
    import vllm.model_executor.layers.utils as layer_utils

    pack = layer_utils.dispatch_cpu_unquantized_gemm
    if getattr(pack, "notes_checksums", False):
        return

    def pack_and_note(layer: torch.nn.Module, remove_weight: bool) -> None:
        if not layer.weight.is_meta:
            setattr(layer, _PACKED, [checksum(part) for part in _parts(layer)])
        pack(layer, remove_weight)

    pack_and_note.notes_checksums = True
    layer_utils.dispatch_cpu_unquantized_gemm = pack_and_note


def held_checksums(worker: Any, names: Sequence[str]) -> dict[str, int | None]:
    """Checksums of the tensors with these checkpoint names that the model of `worker` holds; others are left out."""
    model = worker.model_runner.get_model()
    modules = dict(model.named_modules())
    fused = getattr(model, "packed_modules_mapping", {})
    held = {}
    for name in names:
        found = _find(name, modules, fused)
        if found is not None:
            module, parameter, index = found
            held[name] = _checksum_of(module, parameter, index)
    return held


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


def _checksum_of(module: torch.nn.Module, parameter: str, index: int) -> int | None:
    """None where a weight that was packed and kept (an embedding) has two unlike copies: it equals no checksum."""
    live = getattr(module, parameter)
    if parameter != "weight" or not hasattr(module, _PACKED):
        return checksum(_parts(module, parameter)[index])
    packed = getattr(module, _PACKED)[index]
    return packed if not live.numel() or checksum(_parts(module)[index]) == packed else None


def _parts(module: torch.nn.Module, parameter: str = "weight") -> list[torch.Tensor]:
    """A fused weight split into the checkpoint's tensors, a padded vocabulary cut to its own size."""
    tensor = getattr(module, parameter).data
    if hasattr(module, "org_vocab_size"):
        return [tensor[: module.org_vocab_size]]
    sizes = getattr(module, "output_partition_sizes", None)
    return list(tensor.split(sizes)) if sizes and sum(sizes) == tensor.shape[0] else [tensor]
