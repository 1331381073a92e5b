"""Weights past Ray, over vLLM's own engines: what arrives is what the checkpoint's files hold, by every transport.

`pytest tests/gpu -m gpu`; docs/status.md says what has run. Engines start without CUDA graphs, whose capture takes a
minute.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from device import ONE_GPU, TINY, needs_gpu, needs_gpu_or_rehearsal

pytestmark = pytest.mark.gpu

# A cluster of its own for each transport: engines stay on the GPU for as long as their process lives.
SYNC = """
import json, sys
from pathlib import Path
from hydra import compose, initialize_config_dir
from vt_ray.actors.cluster import RayCluster
from vt_ray.config import OptimizerConfig, to_config
from vt_ray.data.problem_sets import load_problem_sets
from vt_ray.engines.base_model import prepare_base_model
from vt_ray.engines.weights import checkpoint_buckets
from vt_ray.main import CONF
from vt_ray.signal_phase.sync import sync_weights
from vt_ray.planning.validate import validate

folder, *overrides = sys.argv[1:]
with initialize_config_dir(str(CONF), version_base="1.3"):
    config = to_config(compose("config", overrides))
validate(config)
model = Path(folder).resolve() / "base"
corpus = [p.question for p in load_problem_sets(config.data, 0).train]
prepare_base_model(config.model, corpus, 0, model, config.context_tokens)
files = {e.name: e.checksum for bucket in checkpoint_buckets(model) for e in bucket.entries}
fingerprint, found = list(range(5, 37)), []
with RayCluster(config, Path(folder)) as cluster:
    with cluster.learner(model, OptimizerConfig(), 10) as learner, cluster.generator(model) as generator:
        for version in (1, 2):
            report = sync_weights(learner, generator, version, fingerprint, config.signal.sync)
            weights = learner.export_weights(version, fingerprint, config.signal.sync.bucket_mb << 20)
            same = [ack.checksums == files for ack in generator.load(weights, fingerprint)]
            found.append({"retried": report.retried, "same": same})
print(json.dumps(found))
"""

TWO_GPUS = [
    *("cluster.gpus_per_generator=1", "cluster.gpus_per_learner=1", "cluster.gpus_per_node=2"),
    "cluster.enforce_eager=true",
]


def synced(folder, *overrides):
    command = [sys.executable, "-c", SYNC, str(folder), *TINY, "signal.sync.bucket_mb=1", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "transport", [pytest.param("ipc", marks=needs_gpu), pytest.param("object_store", marks=needs_gpu_or_rehearsal)]
)
def test_on_one_gpu_every_tensor_arrives(tmp_path, transport):
    found = synced(tmp_path, *ONE_GPU, f"signal.sync.transport={transport}")
    assert found == [{"retried": False, "same": [True]}] * 2


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("transport", ["nccl", "object_store"])
@pytest.mark.parametrize("zero_stage", [1, 3])
def test_from_gpu_to_gpu_every_tensor_arrives(tmp_path, transport, zero_stage):
    overrides = [*TWO_GPUS, f"signal.sync.transport={transport}", f"learner.zero_stage={zero_stage}"]
    assert synced(tmp_path, *overrides) == [{"retried": False, "same": [True]}] * 2


@pytest.mark.skipif(torch.cuda.device_count() < 3, reason="needs three GPUs")
def test_nccl_reaches_every_worker_of_a_tensor_parallel_generator(tmp_path):
    gpus = [*TWO_GPUS, "cluster.gpus_per_generator=2", "cluster.tensor_parallel_size=2", "cluster.gpus_per_node=3"]
    found = synced(tmp_path, *gpus, "signal.sync.transport=nccl")
    assert found == [{"retried": False, "same": [True]}] * 2
