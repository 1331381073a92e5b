"""The arguments for GPU kernels and for vLLM on a GPU, as far as a CPU can test them."""

from __future__ import annotations

import pytest
import torch

from vt_ray.engines.generation import EngineSpec
from vt_ray.engines.vllm.engine import _engine_arguments


@pytest.mark.parametrize("kernel_has_the_argument", [False, True], ids=["torch 2.11", "torch 2.13"])
def test_varlen_attention_gets_the_argument_for_grouped_heads_only_if_it_has_one(monkeypatch, kernel_has_the_argument):
    import torch.nn.attention.varlen as varlen_module

    from vt_ray.engines.varlen import attention

    asked = []

    def old(q, k, v, cu_q, cu_k, max_q, max_k, *, scale, window_size):
        asked.append({})
        return q

    def new(q, k, v, cu_q, cu_k, max_q, max_k, *, scale, window_size, enable_gqa=False):
        asked.append({"enable_gqa": enable_gqa})
        return q

    monkeypatch.setattr(varlen_module, "varlen_attn", new if kernel_has_the_argument else old)
    query, shared = torch.rand(1, 4, 5, 8), torch.rand(1, 2, 5, 8)
    ends = torch.tensor([0, 2, 5], dtype=torch.int32)
    found, _ = attention(torch.nn.Module(), query, shared, shared, None, scaling=1.0, bounds=ends, bounds_on_host=ends)
    assert found.shape == (1, 5, 4, 8)
    assert asked == [{"enable_gqa": True} if kernel_has_the_argument else {}]


@pytest.mark.parametrize("eager", [False, True])
def test_eager_mode_can_be_asked_for_on_a_gpu(eager):
    spec = EngineSpec("model", "bfloat16", 512, 8, 1, 1, 1, 0.5, 1, 0, enforce_eager=eager)
    assert _engine_arguments(spec)["enforce_eager"] is eager


def test_a_cpu_engine_is_always_eager():
    assert _engine_arguments(EngineSpec("model", "float32", 512, 8, 0, 1, 1, 0.5, 1, 0))["enforce_eager"] is True
