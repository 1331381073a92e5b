"""What leaves the learner: a sharded model is gathered bucket by bucket, and only rank 0 keeps bytes."""

from __future__ import annotations

import socket
import sys

import pytest
import ray
import torch
from ray import cloudpickle

from vt_ray.config import LearnerConfig, ModelConfig, OptimizerConfig
from vt_ray.engines.training import LearnerSpec, TrainingEngine, init_process_group
from vt_ray.engines.weights import checkpoint_buckets

pytestmark = pytest.mark.slow
MB = 1 << 20
# Ray's workers do not know this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@ray.remote
class Rank:
    def __init__(self, rank: int, port: int, spec: LearnerSpec):
        torch.set_num_threads(1)
        init_process_group(rank, 2, "127.0.0.1", port)
        self.engine = TrainingEngine(spec)

    def export(self, bucket_bytes: int) -> dict:
        """One export, each bucket dropped before the next: what it held, and what it cost."""
        before = peak_rss(reset=True)
        held, gathered, checksums = [], [], {}
        for bucket in self.engine.export_weights(bucket_bytes):
            held.append(bucket.num_bytes)
            whole = [p for p in self.engine.module.parameters() if getattr(p, "ds_id", None) is None or is_whole(p)]
            gathered.append(sum(p.numel() * p.element_size() for p in whole))
            checksums.update((entry.name, entry.checksum) for entry in bucket.entries)
        extra = peak_rss() - before
        return {"held": held, "gathered": gathered, "extra": extra, "checksums": checksums}

    def notice(self, bucket_bytes: int):
        from vt_ray.engines.vllm.transfer_gpu import NcclSender, Source

        source = Source(self.engine, bucket_bytes)
        sent = [(name, tuple(tensor.shape)) for name, tensor in source]
        return sent, source.checksums, NcclSender(self.engine, 3, bucket_bytes, "10.0.0.1").begin()

    def copies(self, bucket_bytes: int) -> dict:
        """The copy for CUDA IPC, taken before and after a change of all weights."""
        import deepspeed

        from vt_ray.engines.vllm.transfer_gpu import Copies

        copies, found = Copies(self.engine, bucket_bytes), {}
        for when in ("before", "after"):
            copies.take()
            tensors = dict(copies)
            found[when] = {
                "places": {name: tensor.data_ptr() for name, tensor in tensors.items()},
                "sums": {name: float(tensor.double().sum()) for name, tensor in tensors.items()},
                "checksums": copies.checksums,
            }
            parameters = list(self.engine.module.parameters())
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
    """17 million parameters, 70 MB: large beside a bucket, and beside what else a process does."""
    from vt_ray.engines.base_model import prepare_base_model

    folder = tmp_path_factory.mktemp("model") / "wide"
    shape = ModelConfig(vocab_size=600, hidden_size=512, intermediate_size=1536, num_layers=5, num_heads=8)
    prepare_base_model(shape, [p.question for p in problems.train], 0, folder)
    return folder


@pytest.fixture(scope="module", params=[1, 3])
def ranks(request, cluster, model):
    spec = LearnerSpec(str(model), ModelConfig(), OptimizerConfig(), LearnerConfig(zero_stage=request.param), 10, 0)
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    actors = [Rank.options(num_cpus=0.1).remote(rank, port, spec) for rank in range(2)]
    yield request.param, actors
    for actor in actors:
        ray.kill(actor)


def test_an_export_costs_about_a_bucket_and_only_rank_0_keeps_bytes(ranks, model):
    zero_stage, actors = ranks
    bucket_bytes = 4 * MB
    # Once to warm up: what the first collective allocates is not the export's.
    ray.get([actor.export.remote(bucket_bytes) for actor in actors])
    first, second = ray.get([actor.export.remote(bucket_bytes) for actor in actors])
    expected = {e.name: e.checksum for bucket in checkpoint_buckets(model) for e in bucket.entries}
    assert first["checksums"] == expected
    assert second["checksums"] == {}
    assert sum(second["held"]) == 0
    total = sum(first["held"])
    assert total > 60 * MB
    assert max(first["held"]) <= bucket_bytes
    if zero_stage == 3:
        # DeepSpeed keeps parameters below its persistence threshold (norms, biases) whole all the time.
        assert max(first["gathered"]) <= bucket_bytes + MB
    # Gathered, and on rank 0 what is being summed: a few buckets, never the model.
    assert max(first["extra"], second["extra"]) < total / 3


def test_what_goes_past_ray_is_announced_as_it_is_sent(ranks, model):
    """NCCL's half on the learner up to the first byte: names, shapes, a tied tensor under both its names."""
    _, actors = ranks
    (sent, checksums, notice), _ = ray.get([actor.notice.remote(4 * MB) for actor in actors])
    expected = {e.name: e.checksum for bucket in checkpoint_buckets(model) for e in bucket.entries}
    assert checksums == expected
    assert list(zip(notice.update["names"], map(tuple, notice.update["shapes"]), strict=True)) == sent
    assert set(notice.update["dtype_names"]) == {"float32"}
    assert (notice.init["world_size"], notice.init["master_address"]) == (4, "10.0.0.1")
    assert notice.init["packed_buffer_size_bytes"] == 4 * MB


def test_the_copy_for_cuda_ipc_is_written_over_and_not_made_anew(ranks, model):
    _, actors = ranks
    first, _ = ray.get([actor.copies.remote(4 * MB) for actor in actors])
    before, after = first["before"], first["after"]
    assert before["checksums"] == {e.name: e.checksum for b in checkpoint_buckets(model) for e in b.entries}
    assert after["places"] == before["places"]
    assert len(after["places"]) == len(after["checksums"])
    for name, total in before["sums"].items():
        assert after["sums"][name] == pytest.approx(2 * total, abs=1e-9), name
        assert after["checksums"][name] != before["checksums"][name] or total == 0, name
