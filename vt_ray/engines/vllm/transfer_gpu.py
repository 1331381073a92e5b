"""The learner's side of a weight sync by vLLM's own weight-transfer engines, NCCL and CUDA IPC, instead of Ray.

    begin --> Notice (each generator handles it in one load) --> finish: checksums of the tensors sent

vLLM's trainer engines drive the generators through a client with four calls. The client here only records their
arguments, and Ray carries the record: a generator stops its requests for one load, not for four calls. Both backends
take one name per tensor, so a tied tensor is sent twice. CUDA IPC ran on one H200, NCCL not yet (docs/status.md).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

from vt_ray.algorithms.checksum import checksum
from vt_ray.engines.training import TrainingEngine
from vt_ray.engines.vllm.transfer import Notice
from vt_ray.engines.weights import NamedTensor

if TYPE_CHECKING:
    from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerWeightTransferEngine
    from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerWeightTransferEngine


class Source(WeightSource):
    """The learner's weights under all their names, gathered bucket by bucket. `checksums` belong to the newest pass."""

    def __init__(self, engine: TrainingEngine, bucket_bytes: int):
        self.engine, self.bucket_bytes = engine, bucket_bytes
        self.checksums: dict[str, int] = {}
        self.num_bytes = 0

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(name, self.engine.dtype, shape) for names, shape in self.engine.shapes() for name in names]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        self.checksums, self.num_bytes = {}, 0
        if torch.cuda.is_available():
            # vLLM iterates on streams of its own, which do not wait for the stream that wrote the weights.
            torch.cuda.synchronize()
        yield from self.recorded(tensor for bucket in self.engine.gathered(self.bucket_bytes) for tensor in bucket)

    def recorded(self, tensors: Iterable[NamedTensor]) -> Iterator[tuple[str, torch.Tensor]]:
        for names, tensor in tensors:
            total = checksum(tensor)
            for name in names:
                self.checksums[name] = total
                self.num_bytes += tensor.nbytes
                yield name, tensor


class Copies(Source):
    """One copy of all weights, which stays on the GPU while the learner sleeps. Each sync overwrites the previous copy:
    two copies would need twice the memory of the model."""

    def __init__(self, engine: TrainingEngine, bucket_bytes: int):
        super().__init__(engine, bucket_bytes)
        self.buffers: list[torch.Tensor] = []
        self.copies: list[tuple[str, torch.Tensor]] = []

    def take(self) -> None:
        self.checksums, self.num_bytes = {}, 0
        self.copies = list(self.recorded(self._copied()))

    def _copied(self) -> Iterator[NamedTensor]:
        tensors = (tensor for bucket in self.engine.gathered(self.bucket_bytes) for tensor in bucket)
        for index, (names, tensor) in enumerate(tensors):
            if index == len(self.buffers):
                self.buffers.append(torch.empty_like(tensor, memory_format=torch.contiguous_format))
            yield names, self.buffers[index].copy_(tensor)

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(self.copies)


class _Note:
    """A VLLMWeightSyncClient that keeps the trainer engine's messages, which Ray then carries to the generators."""

    def __init__(self) -> None:
        self.init: dict[str, Any] = {}
        self.update: dict[str, Any] = {}

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self.init = init_info

    def start_weight_update(self) -> None: ...

    def update_weights(self, update_info: dict[str, Any] | list[dict[str, Any]]) -> None:
        assert isinstance(update_info, dict), "one update for all workers"
        self.update = update_info

    def finish_weight_update(self, weight_version: str | None = None) -> None: ...


class NcclSender:
    """Rank 0 broadcasts to all workers of all generators; the other ranks take part in gathering only. `begin` and
    `finish` are collective, and `finish` waits for the generators."""

    def __init__(self, engine: TrainingEngine, receivers: int, bucket_bytes: int, address: str):
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        self.source = Source(engine, bucket_bytes)
        self.init = NCCLTrainerInitInfo(
            address, port, receivers + 1, packed=True, packed_buffer_size_bytes=bucket_bytes, rank=engine.rank
        )
        self.trainer: NCCLTrainerWeightTransferEngine | None = None

    def begin(self) -> Notice:
        from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferUpdateInfo

        meta = self.source.metadata()
        update = NCCLWeightTransferUpdateInfo(
            [m.name for m in meta], [str(m.dtype).removeprefix("torch.") for m in meta], [list(m.shape) for m in meta]
        )
        init = asdict(self.init)
        del init["rank"]
        return Notice(init if self.trainer is None else None, asdict(update))

    def finish(self) -> None:
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerWeightTransferEngine

        if self.trainer is None:
            self.trainer = NCCLTrainerWeightTransferEngine.trainer_init(self.init, client=_Note(), source=self.source)
        self.trainer.send_weights()

    def close(self) -> None:
        """Frees the communicator. The generators close their ends when the next group is opened."""
        if self.trainer is not None:
            self.trainer.shutdown()
            self.trainer = None


class IpcSender:
    """Each rank shares its copy with the generator on its own GPU. The engine's handles are merged on rank 0."""

    def __init__(self, engine: TrainingEngine, bucket_bytes: int):
        self.source = Copies(engine, bucket_bytes)
        self.note = _Note()
        self.trainer: IPCTrainerWeightTransferEngine | None = None

    def begin(self) -> Notice:
        from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo, IPCTrainerWeightTransferEngine

        if self.trainer is None:
            init = IPCTrainerInitInfo(rank=self.source.engine.rank)
            self.trainer = IPCTrainerWeightTransferEngine.trainer_init(init, client=self.note, source=self.source)
        self.source.take()
        self.trainer.send_weights()
        # Each update carries the init info: a generator may have been started since the last update.
        return Notice(self.note.init, self.note.update)

    def finish(self) -> None:
        """Does nothing: the generators read the copy."""

    def close(self) -> None:
        """Frees the copy: no generator reads it any more."""
        self.trainer = None
        self.source.copies = []
        self.source.buffers = []
        if torch.cuda.is_available():
            # Memory that was shared is free only after this call.
            torch.cuda.ipc_collect()


WeightSender = NcclSender | IpcSender


def open_sender(
    transport: str, engine: TrainingEngine, receivers: int, bucket_bytes: int, address: str
) -> WeightSender:
    if transport == "nccl":
        return NcclSender(engine, receivers, bucket_bytes, address)
    return IpcSender(engine, bucket_bytes)
