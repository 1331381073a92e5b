"""Weight export: a sharded model is gathered bucket by bucket, and only rank 0 keeps the bytes."""

from __future__ import annotations

import sys

import pytest
import ray
import torch
from ray import cloudpickle

from vt_ray.config import LearnerConfig, ModelConfig, OptimizerConfig
from vt_ray.engines.training import LearnerSpec, TrainingEngine
from vt_ray.engines.weights import checkpoint_buckets

pytestmark = pytest.mark.slow
MB = 1 << 20
BUCKET_BYTES = 4 * MB
# Ray's workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def export(engine: TrainingEngine, bucket_bytes: int) -> dict:
    """Sizes of the buckets of one export, the bytes gathered for each, and the growth of the process's memory."""
    before = peak_rss(reset=True)
    held, gathered, checksums = [], [], {}
    for bucket in engine.export_weights(bucket_bytes):
        held.append(bucket.num_bytes)
        whole = [p for p in engine.module.parameters() if getattr(p, "ds_id", None) is None or is_whole(p)]
        gathered.append(sum(p.numel() * p.element_size() for p in whole))
        checksums.update((entry.name, entry.checksum) for entry in bucket.entries)
    extra = peak_rss() - before
    return {"held": held, "gathered": gathered, "extra": extra, "checksums": checksums}


def notice(engine: TrainingEngine, bucket_bytes: int):
    from vt_ray.engines.vllm.transfer_gpu import NcclSender, Source

    source = Source(engine, bucket_bytes)
    sent = [(name, tuple(tensor.shape)) for name, tensor in source]
    return sent, source.checksums, NcclSender(engine, 3, bucket_bytes, "10.0.0.1").begin()


def copies(engine: TrainingEngine, bucket_bytes: int) -> dict:
    """The copy for CUDA IPC, taken before and after a change of all weights."""
    import deepspeed

    from vt_ray.engines.vllm.transfer_gpu import Copies

    copies, found = Copies(engine, bucket_bytes), {}
    for when in ("before", "after"):
        copies.take()
        tensors = dict(copies)
        found[when] = {
            "places": {name: tensor.data_ptr() for name, tensor in tensors.items()},
            "sums": {name: float(tensor.double().sum()) for name, tensor in tensors.items()},
            "checksums": copies.checksums,
        }
        parameters = list(engine.module.parameters())
        # Rank 0's change reaches all parts of a sharded parameter; elsewhere the parameters are whole.
        with deepspeed.zero.GatheredParameters(parameters, modifier_rank=0), torch.no_grad():
            for parameter in parameters:
                parameter.mul_(2.0)
    return found


def is_whole(parameter) -> bool:
    from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

    return parameter.ds_status == ZeroParamStatus.AVAILABLE


def peak_rss(reset: bool = False) -> int:
    """Bytes; `reset` makes the kernel forget earlier peaks."""
    if reset:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


@pytest.fixture(scope="module")
def model(tmp_path_factory, problems):
    """17 million parameters, 70 MB: much more than a bucket, and than other changes of a process's memory."""
    from vt_ray.engines.base_model import prepare_base_model

    folder = tmp_path_factory.mktemp("model") / "wide"
    shape = ModelConfig(vocab_size=600, hidden_size=512, intermediate_size=1536, num_layers=5, num_heads=8)
    prepare_base_model(shape, [p.question for p in problems.train], 0, folder)
    return folder


@pytest.fixture(scope="module", params=[1, 3])
def engines(request, two_ranks, model):
    """The ZeRO stage, and a function that calls another one with the engine of each of two ranks."""
    spec = LearnerSpec(str(model), ModelConfig(), OptimizerConfig(), LearnerConfig(zero_stage=request.param), 10, 0)
    ray.get([rank.open.remote(spec) for rank in two_ranks])
    yield (
        request.param,
        lambda function: ray.get([rank.call_with_engine.remote(function, BUCKET_BYTES) for rank in two_ranks]),
    )
    ray.get([rank.close.remote() for rank in two_ranks])


def test_an_export_costs_about_a_bucket_and_only_rank_0_keeps_bytes(engines, model):
    zero_stage, on_each_rank = engines
    # Warm-up: the first collective allocates memory of its own.
    on_each_rank(export)
    first, second = on_each_rank(export)
    expected = {e.name: e.checksum for bucket in checkpoint_buckets(model) for e in bucket.entries}
    assert first["checksums"] == expected
    assert second["checksums"] == {}
    assert sum(second["held"]) == 0
    total = sum(first["held"])
    assert total > 60 * MB
    assert max(first["held"]) <= BUCKET_BYTES
    if zero_stage == 3:
        # DeepSpeed keeps parameters below its persistence threshold (norms, biases) whole all the time.
        assert max(first["gathered"]) <= BUCKET_BYTES + MB
    # A few buckets (gathered parameters, and on rank 0 the bucket itself), never the whole model.
    assert max(first["extra"], second["extra"]) < total / 3


def test_an_nccl_transfer_is_announced_as_it_is_sent(engines, model):
    """NCCL's half on the learner up to the first byte: names, shapes, a tied tensor under both its names."""
    _, on_each_rank = engines
    (sent, checksums, announced), _ = on_each_rank(notice)
    expected = {e.name: e.checksum for bucket in checkpoint_buckets(model) for e in bucket.entries}
    assert checksums == expected
    assert list(zip(announced.update["names"], map(tuple, announced.update["shapes"]), strict=True)) == sent
    assert set(announced.update["dtype_names"]) == {"float32"}
    assert (announced.init["world_size"], announced.init["master_address"]) == (4, "10.0.0.1")
    assert announced.init["packed_buffer_size_bytes"] == BUCKET_BYTES


def test_the_copy_for_cuda_ipc_is_overwritten_in_place(engines, model):
    _, on_each_rank = engines
    first, _ = on_each_rank(copies)
    before, after = first["before"], first["after"]
    assert before["checksums"] == {e.name: e.checksum for b in checkpoint_buckets(model) for e in b.entries}
    assert after["places"] == before["places"]
    assert len(after["places"]) == len(after["checksums"])
    for name, total in before["sums"].items():
        assert after["sums"][name] == pytest.approx(2 * total, abs=1e-9), name
        assert after["checksums"][name] != before["checksums"][name] or total == 0, name
