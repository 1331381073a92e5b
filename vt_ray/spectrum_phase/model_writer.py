"""Writes a model's tensors one after another into safetensors files, without a second tensor in memory.

names, shapes, dtypes --shards--> file header --tensor by tensor--> model-00001-of-00003.safetensors, ..., the index
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from vt_ray.run.checkpoint import write_json

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
# The names of torch's dtypes in the header of a safetensors file.
_DTYPES = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32"},
    **{"int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL"},
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def code(self) -> str | None:
        """The name of the dtype in a safetensors header; None for a dtype that a model is not fused in."""
        return _DTYPES.get(str(self.dtype).removeprefix("torch."))


def write_model(
    folder: Path, infos: Mapping[str, TensorInfo], make: Callable[[str], torch.Tensor], shard_bytes: int
) -> None:
    """Write the tensors `infos`, each made by `make(name)` when its turn comes, into files of at most `shard_bytes`.

    A tensor larger than `shard_bytes` gets a file of its own.
    """
    shards = _shards(infos, shard_bytes)
    files = {_file_name(i, len(shards)): names for i, names in enumerate(shards, 1)}
    for file, names in files.items():
        _write_file(folder / file, {name: infos[name] for name in names}, make)
    if len(files) > 1:
        weight_map = {name: file for file, names in files.items() for name in names}
        total = sum(info.nbytes for info in infos.values())
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _shards(infos: Mapping[str, TensorInfo], shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, info in infos.items():
        if shards[-1] and size + info.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += info.nbytes
    return shards


def _file_name(number: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"


def _write_file(path: Path, infos: Mapping[str, TensorInfo], make: Callable[[str], torch.Tensor]) -> None:
    """One safetensors file: the length of the header in 8 bytes, the header as JSON, the tensors without gaps."""
    import torch

    # Wide dtypes first, so that each tensor is aligned to its element size.
    names = sorted(infos, key=lambda name: (-infos[name].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        info = infos[name]
        begin, end = end, end + info.nbytes
        header[name] = {"dtype": info.code, "shape": list(info.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(make(name).contiguous().reshape(-1).view(torch.uint8).numpy().data)
