"""The weights of a learner under the names of a checkpoint, with the adapters merged into them.

parameters --in_buckets--> gathered from ZeRO-3 and merged, bucket by bucket --> a sync, or a Hugging Face folder
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vt_ray.engines.lora import Adapters, adapters_by_weight, checkpoint_name
from vt_ray.engines.weights import NamedTensor, in_buckets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAVE_BUCKET_BYTES = 64 << 20


@dataclass(frozen=True)
class Exported:
    """One parameter with all its names in a checkpoint, and the adapters of its layer."""

    names: tuple[str, ...]
    parameter: torch.nn.Parameter
    adapters: Adapters | None

    @property
    def shape(self) -> tuple[int, ...]:
        # Under ZeRO-3 the local part does not have the full shape.
        return tuple(getattr(self.parameter, "ds_shape", self.parameter.shape))

    @property
    def numel(self) -> int:
        return getattr(self.parameter, "ds_numel", self.parameter.numel())

    @property
    def parts(self) -> tuple[torch.nn.Parameter, ...]:
        """All parameters that `tensor` reads."""
        return (self.parameter, *(self.adapters.parameters if self.adapters else ()))

    def tensor(self) -> torch.Tensor:
        """The parameter itself, or a merged copy: a merge never changes the weights that train."""
        return self.adapters.merged(self.parameter) if self.adapters else self.parameter.detach()


def exported(network: PreTrainedModel) -> list[Exported]:
    """Each parameter of the checkpoint once, with all its names: vLLM packs a tied parameter twice and needs both."""
    names: dict[int, tuple[str, ...]] = {}
    parameters: dict[int, torch.nn.Parameter] = {}
    for long_name, parameter in network.named_parameters(remove_duplicate=False):
        if name := checkpoint_name(long_name):
            names[id(parameter)] = (*names.get(id(parameter), ()), name)
            parameters[id(parameter)] = parameter
    adapters = adapters_by_weight(network)
    return [Exported(names[key], parameters[key], adapters.get(key)) for key in names]


def buckets(network: PreTrainedModel, dtype: torch.dtype, bucket_bytes: int) -> Iterator[list[Exported]]:
    return in_buckets(exported(network), lambda item: item.numel * dtype.itemsize, bucket_bytes)


def gathered(network: PreTrainedModel, dtype: torch.dtype, bucket_bytes: int) -> Iterator[list[NamedTensor]]:
    """Yields all tensors, bucket by bucket. Under ZeRO-3 they are complete on every rank until the next bucket."""
    import deepspeed

    for bucket in buckets(network, dtype, bucket_bytes):
        with deepspeed.zero.GatheredParameters([part for item in bucket for part in item.parts]):
            yield [(item.names, item.tensor().to(dtype)) for item in bucket]


def save_hf(network: PreTrainedModel, dtype: torch.dtype, source: Path, folder: Path) -> None:
    """Saves a Hugging Face checkpoint to `folder`, with the tokenizer of `source`. Collective; rank 0 writes."""
    writes = torch.distributed.get_rank() == 0
    tensors = {
        name: tensor.cpu().clone()
        for bucket in gathered(network, dtype, SAVE_BUCKET_BYTES)
        for names, tensor in bucket
        for name in names
        if writes
    }
    if writes:
        network.save_pretrained(folder, state_dict=tensors)
        _copy_tokenizer(source, folder)
    torch.distributed.barrier()


def _copy_tokenizer(source: Path, folder: Path) -> None:
    """Copies the files: loading and saving a tokenizer may change it."""
    for file in source.iterdir():
        if file.name.startswith(("tokenizer", "special_tokens", "added_tokens", "chat_template", "vocab", "merges")):
            shutil.copy2(file, folder / file.name)
