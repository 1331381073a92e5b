"""Weights on the way: packed buckets of bytes, each tensor with its checksum.

    named tensors --fill_buckets--> Bucket (one flat byte array + entries) --open_bucket--> named tensors

A bucket is one contiguous array so that the object store can share it between processes without a copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from vt_ray.algorithms.checksum import checksum

EMBEDDING, LM_HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor lies in its bucket, and the checksum of what the learner holds."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    checksum: int

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * getattr(torch, self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Bucket:
    """`data` is a flat uint8 numpy array."""

    entries: tuple[Entry, ...]
    data: Any


class SyncError(RuntimeError):
    """A generator does not hold what the learner sent. The run must not go on."""


def fill_buckets(tensors: Iterable[tuple[str, torch.Tensor]], bucket_bytes: int) -> Iterator[Bucket]:
    """Pack tensors in order into buckets of about `bucket_bytes`; a larger tensor gets one of its own."""
    entries: list[Entry] = []
    parts: list[torch.Tensor] = []
    size = 0
    for name, tensor in tensors:
        flat = tensor.detach().contiguous().view(-1).view(torch.uint8).cpu()
        if entries and size + flat.numel() > bucket_bytes:
            yield Bucket(tuple(entries), torch.cat(parts).numpy())
            entries, parts, size = [], [], 0
        dtype = str(tensor.dtype).removeprefix("torch.")
        entries.append(Entry(name, tuple(tensor.shape), dtype, size, checksum(tensor)))
        parts.append(flat)
        size += flat.numel()
    if entries:
        yield Bucket(tuple(entries), torch.cat(parts).numpy())


def open_bucket(bucket: Bucket) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a bucket, as views of its bytes: read only, copy before keeping."""
    flat = torch.frombuffer(memoryview(bucket.data), dtype=torch.uint8)
    for entry in bucket.entries:
        part = flat[entry.offset : entry.offset + entry.num_bytes]
        # Tensors of two widths may share a bucket: an unaligned one is copied so that it can be viewed.
        if entry.offset % getattr(torch, entry.dtype).itemsize:
            part = part.clone()
        yield entry.name, part.view(getattr(torch, entry.dtype)).view(entry.shape)


def checkpoint_buckets(folder: Path, bucket_bytes: int = 64 << 20) -> Iterator[Bucket]:
    """The tensors of a Hugging Face safetensors folder, and the second name of a tied embedding."""
    yield from fill_buckets(checkpoint_tensors(folder), bucket_bytes)


def checkpoint_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every named tensor of the folder's safetensors files; a tied lm_head comes beside its embedding."""
    from safetensors import safe_open

    tied = json.loads((folder / "config.json").read_text()).get("tie_word_embeddings", False)
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a dict)
                yield name, tensors.get_tensor(name)
                if tied and name == EMBEDDING:
                    yield LM_HEAD, tensors.get_tensor(name)


def compare_checksums(expected: dict[str, int], loaded: Mapping[str, int | None], version: int, holder: str) -> None:
    """Raise SyncError unless the engine holds exactly the tensors sent, byte for byte."""
    missing = sorted(expected.keys() - loaded.keys())
    wrong = sorted(name for name in expected.keys() & loaded.keys() if expected[name] != loaded[name])
    if missing or wrong:
        shown = ", ".join([*(f"{n} (not there)" for n in missing), *wrong][:4])
        raise SyncError(
            f"weight sync of version {version}: {holder} does not hold what the learner sent: "
            f"{len(wrong)} tensors differ, {len(missing)} are missing of {len(expected)}: {shown}"
        )


def compare_logprobs(
    learner: Sequence[float], generator: Sequence[float], tolerance: float, version: int, holder: str
) -> float:
    """The mean absolute difference in nats over the probe sequence; SyncError above `tolerance` or if NaN."""
    gap = sum(abs(a - b) for a, b in zip(learner, generator, strict=True)) / len(learner)
    if not gap <= tolerance:
        raise SyncError(
            f"weight sync of version {version}: log-probabilities of the learner and {holder} differ by "
            f"{gap:.3g} nats on average over the probe sequence, the limit is "
            f"signal.sync.logprob_tolerance={tolerance:g}"
        )
    return gap
