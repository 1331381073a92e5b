"""Buckets of weights: the bytes of tensors, each with its checksum.

    named tensors --in_buckets, pack_bucket--> Bucket (flat byte arrays + entries) --open_bucket--> named tensors

A bucket has one array per tensor: Ray's object store then passes them on without another copy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from vt_ray.algorithms.checksum import checksum
from vt_ray.interfaces import Acknowledgement, Weights

EMBEDDING, LM_HEAD = "model.embed_tokens.weight", "lm_head.weight"
Item = TypeVar("Item")
# A tensor and all its names: a tied tensor has two names, and its bytes are sent once.
NamedTensor = tuple[tuple[str, ...], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor name: the index of its array in the bucket, and the checksum of the learner's tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    index: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """`data` are flat uint8 numpy arrays, one per tensor."""

    entries: tuple[Entry, ...]
    data: tuple[Any, ...]

    @property
    def num_bytes(self) -> int:
        return sum(array.nbytes for array in self.data)


class SyncError(RuntimeError):
    """A generator does not hold the weights that the learner sent. The run must not continue."""


def in_buckets(items: Iterable[Item], size: Callable[[Item], int], bucket_bytes: int) -> Iterator[list[Item]]:
    """Puts items in order into buckets of at most `bucket_bytes`; a larger item gets a bucket of its own."""
    bucket: list[Item] = []
    filled = 0
    for item in items:
        if bucket and filled + size(item) > bucket_bytes:
            yield bucket
            bucket, filled = [], 0
        bucket.append(item)
        filled += size(item)
    if bucket:
        yield bucket


def pack_bucket(tensors: Iterable[NamedTensor]) -> Bucket:
    """The arrays share memory with tensors that are contiguous on the CPU: send the bucket before these change."""
    entries: list[Entry] = []
    data: list[Any] = []
    for names, tensor in tensors:
        tensor = tensor.detach().contiguous()
        total, dtype = checksum(tensor), str(tensor.dtype).removeprefix("torch.")
        entries += [Entry(name, tuple(tensor.shape), dtype, len(data), total) for name in names]
        data.append(tensor.cpu().view(-1).view(torch.uint8).numpy())
    return Bucket(tuple(entries), tuple(data))


def open_bucket(bucket: Bucket) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the tensors of a bucket under all their names, as read-only views of its bytes: copy them to keep them."""
    for entry in bucket.entries:
        array = bucket.data[entry.index]
        dtype = getattr(torch, entry.dtype)
        flat = torch.frombuffer(memoryview(array), dtype=dtype) if array.nbytes else torch.empty(0, dtype=dtype)
        yield entry.name, flat.view(entry.shape)


def checkpoint_buckets(folder: Path, bucket_bytes: int = 64 << 20) -> Iterator[Bucket]:
    """Yields the tensors of a Hugging Face safetensors folder, a tied embedding under both names."""
    for tensors in in_buckets(checkpoint_tensors(folder), lambda item: item[1].nbytes, bucket_bytes):
        yield pack_bucket(tensors)


def checkpoint_tensors(folder: Path) -> Iterator[NamedTensor]:
    """Yields every tensor of the folder's safetensors files, a tied embedding with both names."""
    from safetensors import safe_open

    tied = json.loads((folder / "config.json").read_text()).get("tie_word_embeddings", False)
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a dict)
                names = (name, LM_HEAD) if tied and name == EMBEDDING else (name,)
                yield names, tensors.get_tensor(name)


def prove(weights: Weights, ack: Acknowledgement, tolerance: float) -> float:
    """Checks that a generator holds exactly `weights`. Returns the difference that `compare_logprobs` returns.

    Raises SyncError with the generator's name.
    """
    if ack.version != weights.version:
        raise SyncError(f"weight sync of version {weights.version}: {ack.holder} acknowledges version {ack.version}")
    compare_checksums(weights.checksums, ack.checksums, weights.version, ack.holder)
    return compare_logprobs(
        weights.fingerprint_logprobs, ack.fingerprint_logprobs, tolerance, weights.version, ack.holder
    )


def compare_checksums(expected: dict[str, int], loaded: Mapping[str, int | None], version: int, holder: str) -> None:
    """Raises SyncError unless the engine holds exactly the tensors sent, byte for byte."""
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
    """The mean absolute difference on the fingerprint, in nats. Raises SyncError above `tolerance` or for NaN."""
    gap = sum(abs(a - b) for a, b in zip(learner, generator, strict=True)) / len(learner)
    if not gap <= tolerance:
        raise SyncError(
            f"weight sync of version {version}: log-probabilities of the learner and {holder} differ by "
            f"{gap:.3g} nats on average over the fingerprint, the limit is "
            f"signal.sync.logprob_tolerance={tolerance:g}"
        )
    return gap
