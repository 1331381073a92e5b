"""Packed rows under flash attention answer as their sequences do alone under SDPA: `pytest tests/gpu -m gpu`."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from device import needs_gpu

from vt_ray.algorithms.packing import Row, TrainSequence, make_row, stack
from vt_ray.engines.policy import Policy

pytestmark = [pytest.mark.gpu, needs_gpu]

WITHOUT_PACKAGE = pytest.mark.skipif(find_spec("flash_attn") is None, reason="needs flash-attn")
KERNELS = ["torch_varlen", pytest.param("flash_attention_2", marks=WITHOUT_PACKAGE)]


def policy(attention: str) -> Policy:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(
        vocab_size=300, num_key_value_heads=1, max_position_embeddings=8192, attn_implementation=attention, **shape
    )
    return Policy(Qwen2ForCausalLM(config).to("cuda", torch.bfloat16), chunk_tokens=64).train()


def answers(model: Policy, rows: list[Row]) -> torch.Tensor:
    """The completions' log-probabilities in the order of the rows; their sum is taken backward."""
    found = []
    for batch in stack(rows, 1):
        columns = [getattr(batch, name).cuda() for name in ("token_ids", "position_ids", "targets", "token_weights")]
        chosen = columns[3] > 0
        found.append(model(*columns[:3], chosen, 1.0)[0][chosen])
    logprobs = torch.cat(found)
    logprobs.mean().backward()
    return logprobs.detach()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("lengths", [(40, 9, 63, 1), (5000, 4200), (300, 200)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_packed_under_flash_attention_equals_separate_under_sdpa(kernel, lengths, compiled):
    dice = torch.Generator().manual_seed(1)
    sequences = [TrainSequence((5, 6, 7), torch.randint(4, 300, (n,), generator=dice).numpy(), 1.0) for n in lengths]
    flash, sdpa = policy(kernel), policy("sdpa")
    if compiled:
        for layer in flash.network.base_model.layers:
            layer.compile()
    packed, separate = answers(flash, [make_row(sequences)]), answers(sdpa, [make_row([s]) for s in sequences])
    # bfloat16 rounds to about 0.01 nats; a leak between sequences shows as several tenths.
    assert (packed - separate).abs().max() < 0.1
    for (name, a), (_, b) in zip(flash.named_parameters(), sdpa.named_parameters(), strict=True):
        assert (a.grad - b.grad).norm() < 0.05 * b.grad.norm(), name
