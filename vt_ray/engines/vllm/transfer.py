"""The generator's half of a weight sync: what arrives goes through vLLM to its workers, and the proof comes back.

Bucket (object store)     --in this process, or by files in shared memory--> each worker's model
Notice (NCCL, CUDA IPC)   --vLLM's own weight-transfer engines-------------> each worker's model
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vt_ray.engines.vllm.held_weights import begin_load, finish_load, held_parts, load_bucket, whole_checksums
from vt_ray.engines.weights import Bucket

SHARED_MEMORY = "/dev/shm"


@dataclass(frozen=True)
class Notice:
    """Weights that come past Ray: `init` opens the way at the first one (None: it is open), `update` is the update
    info of vLLM's weight-transfer engine."""

    init: dict[str, Any] | None
    update: dict[str, Any]


def receive(llm: Any, arrivals: Iterable[Bucket | Notice], place: int = 0) -> tuple[dict[str, int | None], bool]:
    """Replace the weights that arrive, bucket by bucket as they come, and read back the checksums of what is held;
    and whether they are those that the buckets give their tensors. A notice gives none.

    `place` is this engine's among the generators, which are told the same.
    """
    names: list[str] = []
    sent: dict[str, int] = {}
    started = False
    for arrival in arrivals:
        if isinstance(arrival, Notice):
            names += _receive_past_ray(llm, arrival, place)
            continue
        if not started:
            llm.collective_rpc(begin_load)
            started = True
        sent.update((entry.name, entry.checksum) for entry in arrival.entries)
        _hand_over(llm, arrival)
    if started:
        llm.collective_rpc(finish_load)
    held = held_checksums(llm, [*names, *sent])
    return held, all(held.get(name) == total for name, total in sent.items())


def held_checksums(llm: Any, names: Iterable[str]) -> dict[str, int | None]:
    """Checkpoint name -> checksum of the tensor that the engine computes with, for the names it knows."""
    return whole_checksums(llm.collective_rpc(held_parts, args=(list(names),)))


def _receive_past_ray(llm: Any, notice: Notice, place: int) -> list[str]:
    if notice.init is not None:
        init = dict(notice.init)
        if "master_port" in init:
            # NCCL's ranks: the learner is 0, then come the workers of each generator.
            init["rank_offset"] = 1 + place * llm.llm_engine.vllm_config.parallel_config.world_size
        llm.collective_rpc("shutdown_weight_transfer_engine")
        llm.collective_rpc("init_weight_transfer_engine", kwargs={"init_info": init})
    llm.collective_rpc("start_weight_update")
    llm.collective_rpc("update_weights", kwargs={"update_info": notice.update})
    llm.collective_rpc("finish_weight_update")
    return notice.update["names"]


def _hand_over(llm: Any, bucket: Bucket) -> None:
    """A worker in this process takes the bucket as it is. Others map one file in shared memory: one copy for all."""
    if llm.llm_engine.vllm_config.parallel_config.world_size == 1:
        llm.collective_rpc(load_bucket, args=(bucket,))
        return
    sizes = [array.nbytes for array in bucket.data]
    with tempfile.NamedTemporaryFile(dir=SHARED_MEMORY, prefix="vt_ray_bucket_") as file:
        for array in bucket.data:
            file.write(memoryview(array))
        file.flush()
        llm.collective_rpc(load_mapped_bucket, args=(file.name, sizes, replace(bucket, data=())))


def load_mapped_bucket(worker: Any, path: str, sizes: list[int], bucket: Bucket) -> None:
    """In a worker: the file may go once it is mapped, its memory goes with the last tensor that is cut from it."""
    with open(path, "rb") as file:
        mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)
    ends = np.cumsum(sizes)
    load_bucket(worker, replace(bucket, data=tuple(np.split(mapped, ends[:-1]))))
