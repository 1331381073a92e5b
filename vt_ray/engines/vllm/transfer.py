"""The generator's side of a weight sync: loads weights into vLLM's workers and reads back the checksums.

Bucket (object store)     --in this process, or by files in shared memory--> each worker's model
Notice (NCCL, CUDA IPC)   --vLLM's own weight-transfer engines-------------> each worker's model
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vt_ray.engines.vllm.held_weights import begin_load, finish_load, held_parts, load_bucket, whole_checksums
from vt_ray.engines.weights import Bucket

SHARED_MEMORY = "/dev/shm"


@dataclass(frozen=True)
class Notice:
    """The message for a transfer that does not pass through Ray, with the arguments of vLLM's weight-transfer engine.

    `init` opens the transfer (None: it is open already), `update` describes the tensors.
    """

    init: dict[str, Any] | None
    update: dict[str, Any]


def receive(llm: Any, arrivals: Iterable[Bucket | Notice], place: int = 0) -> tuple[dict[str, int | None], bool]:
    """Loads the arrivals one by one. Returns the checksums read back from the engine, and whether they equal those in
    the buckets; False if nothing arrived. A notice contains no checksums.

    `place` is the number of this engine among the generators. All generators get the same notice.
    """
    try:
        names, sent = _load_all(llm, arrivals, place)
    except BaseException:
        # Else a layer that has some of its tensors would mix them with those of the next load.
        with suppress(Exception):
            llm.collective_rpc(finish_load)
        raise
    held = held_checksums(llm, [*names, *sent])
    return held, bool(held) and all(held.get(name) == total for name, total in sent.items())


def _load_all(llm: Any, arrivals: Iterable[Bucket | Notice], place: int) -> tuple[list[str], dict[str, int]]:
    """Returns the names of the tensors of notices, and the checksums of those in buckets."""
    names: list[str] = []
    sent: dict[str, int] = {}
    started = False
    for arrival in arrivals:
        if isinstance(arrival, Notice):
            names += _receive_transfer(llm, arrival, place)
            continue
        if not started:
            llm.collective_rpc(begin_load)
            started = True
        sent.update((entry.name, entry.checksum) for entry in arrival.entries)
        _pass_to_workers(llm, arrival)
    if started:
        llm.collective_rpc(finish_load)
    return names, sent


def held_checksums(llm: Any, names: Iterable[str]) -> dict[str, int | None]:
    """Returns the checksums of the tensors that the engine computes with, by checkpoint name, without unknown names."""
    return whole_checksums(llm.collective_rpc(held_parts, args=(list(names),)))


def _receive_transfer(llm: Any, notice: Notice, place: int) -> list[str]:
    if notice.init is not None:
        init = dict(notice.init)
        if "master_port" in init:
            # The learner is rank 0 of NCCL; the workers of each generator follow.
            init["rank_offset"] = 1 + place * llm.llm_engine.vllm_config.parallel_config.world_size
        llm.collective_rpc("shutdown_weight_transfer_engine")
        llm.collective_rpc("init_weight_transfer_engine", kwargs={"init_info": init})
    llm.collective_rpc("start_weight_update")
    llm.collective_rpc("update_weights", kwargs={"update_info": notice.update})
    llm.collective_rpc("finish_weight_update")
    return notice.update["names"]


def _pass_to_workers(llm: Any, bucket: Bucket) -> None:
    """Passes the bucket to a worker in this process, or to several workers by one file in shared memory."""
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
    """Runs in a worker. The file may be deleted once it is mapped; the last tensor cut from it frees the memory."""
    with open(path, "rb") as file:
        mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)
    ends = np.cumsum(sizes)
    load_bucket(worker, replace(bucket, data=tuple(np.split(mapped, ends[:-1]))))
