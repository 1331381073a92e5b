"""A context that is stretched by RoPE's base: vLLM and the learner's network compute the same on a long sequence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_generation import spec
from transformers import AutoConfig, AutoModelForCausalLM

from vt_ray.engines.base_model import prepare_base_model
from vt_ray.engines.vllm.engine import VllmEngine

pytestmark = pytest.mark.slow

# Four times the context of the base model; the engine needs room for one more token.
TOKENS = [5 + (7 * i) % 300 for i in range(1023)]


@pytest.fixture(scope="module")
def models(tiny_config, problems, tmp_path_factory):
    """A base model with a context of 256 tokens, and the same model stretched to 1,024."""
    folder = tmp_path_factory.mktemp("context")
    short = replace(tiny_config.model, max_position_embeddings=256)
    prepare_base_model(short, [p.question for p in problems.train], 0, folder / "short")
    changes = {"source": "hf", "path": str(folder / "short"), "rope_theta": 1e6, "max_position_embeddings": 1024}
    prepare_base_model(replace(short, **changes), [], 0, folder / "long", 1024)
    return folder / "short", folder / "long"


def logits(folder, tokens):
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return network(torch.tensor([tokens])).logits[0]


def test_the_folder_has_the_base_and_the_context(models):
    short, long = (AutoConfig.from_pretrained(folder) for folder in models)
    assert (short.rope_parameters["rope_theta"], short.max_position_embeddings) == (1e4, 256)
    assert (long.rope_parameters["rope_theta"], long.max_position_embeddings) == (1e6, 1024)
    # The first token has position 0, which no base rotates: its logits are those of the model before.
    before, after = (logits(folder, TOKENS[:64]) for folder in models)
    assert after.isfinite().all() and torch.allclose(before[0], after[0], atol=1e-5)
    assert not torch.allclose(before[-1], after[-1], atol=1e-3)


def test_vllm_and_the_network_agree_on_a_long_sequence(models):
    long = models[1]
    expected = torch.log_softmax(logits(long, TOKENS), -1)[:-1].gather(1, torch.tensor(TOKENS[1:])[:, None])[:, 0]
    engine = VllmEngine(spec(long, context_tokens=1024))
    found = torch.tensor(engine.token_logprobs(TOKENS))
    engine.loop.close()
    assert expected.isfinite().all() and len(found) == len(TOKENS) - 1
    assert (found - expected).abs().max() < 1e-3
