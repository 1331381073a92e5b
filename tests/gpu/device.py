"""The device of these tests: a GPU, or a CPU that rehearses the tests that can run on it."""

import os

import pytest
import torch

GPU = torch.cuda.is_available()
# Set by `benchmarks/gpu_proof.py --rehearse`.
REHEARSAL = not GPU and "VT_RAY_REHEARSE_GPU_TESTS" in os.environ
needs_gpu = pytest.mark.skipif(not GPU, reason="needs a CUDA GPU")
needs_gpu_or_rehearsal = pytest.mark.skipif(not GPU and not REHEARSAL, reason="needs a CUDA GPU")

ON_CPU = ["cluster.gpus_per_generator=0", "cluster.gpus_per_learner=0", "cluster.object_store_gb=1"]
# The sides of one GPU; CUDA graphs would take a minute for each engine.
ONE_GPU = ["cluster=one_gpu", *(ON_CPU if REHEARSAL else ["cluster.enforce_eager=true"])]
TINY = ["experiment=tiny", "model.dtype=bfloat16"]
