"""The learner refuses models whose log-probabilities its rows do not reproduce. Small models with random weights."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from vt_ray.algorithms.packing import Row, TrainSequence, pack, pack_branches, stack
from vt_ray.config import ConfigError, LearnerConfig, ModelConfig, OptimizerConfig
from vt_ray.engines.attention_check import refuse_unlike_rows, window_of
from vt_ray.engines.branches import SHARED_PROMPTS
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.policy import Policy

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
RIGHT = {
    "qwen2": {},
    "qwen3": {},
    "llama": {},
    "olmo2": {},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 256},
}
WINDOWED = {"mistral": {"sliding_window": 16}, "gemma3_text": {"sliding_window": 100}}
LEAKING = {"lfm2": {"layer_types": ["conv", "full_attention"]}, "opt": {"ffn_dim": 128, "word_embed_proj_dim": 64}}


def network(kind: str, attention: str, dtype: str = "float32", **given: object) -> torch.nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SHAPE, **given})
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).to(getattr(torch, dtype)).train()


def check(model: torch.nn.Module, dtype: str = "float32", **learner: object) -> None:
    settings = LearnerConfig(**{"row_tokens": 256, **learner})
    policy = Policy(model, 64)

    def answer(batch: Row) -> torch.Tensor:
        return policy(batch.token_ids, batch.position_ids, batch.targets, batch.token_weights > 0, 1.0)[0]

    def batches(sequences: Sequence[TrainSequence]) -> list[Row]:
        packed = pack_branches if settings.share_prompts else pack
        return stack(packed(sequences, settings.row_tokens), settings.rows_per_batch)

    spec = LearnerSpec("a/folder", ModelConfig(dtype=dtype), OptimizerConfig(), settings, 10, 0)
    refuse_unlike_rows(spec, model, answer, batches)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", RIGHT)
def test_attention_models_pass_packed_and_with_shared_prompts(kind, dtype):
    check(network(kind, "sdpa", dtype, **RIGHT[kind]), dtype, rows_per_batch=2)
    check(network(kind, "sdpa", dtype, **RIGHT[kind]), dtype, row_tokens=20)
    check(network(kind, SHARED_PROMPTS, dtype, **RIGHT[kind]), dtype, share_prompts=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", WINDOWED)
def test_a_sliding_window_passes_under_sdpa_and_is_refused_under_an_attention_that_ignores_it(kind, dtype):
    check(network(kind, "sdpa", dtype, **WINDOWED[kind]), dtype)
    with pytest.raises(ConfigError, match=r"\(a/folder\).* nats .*take model.attention=sdpa and learner.share_prompts"):
        check(network(kind, SHARED_PROMPTS, dtype, **WINDOWED[kind]), dtype, share_prompts=True)


def test_a_window_longer_than_the_context_is_not_refused():
    check(network("mistral", SHARED_PROMPTS, sliding_window=256), share_prompts=True)


def test_a_window_too_long_to_check_is_refused_under_vt_rays_own_attention():
    long = {"sliding_window": 5000, "max_position_embeddings": 8192}
    with pytest.raises(ConfigError, match="attends within 5000 tokens, more than the 4096"):
        check(network("mistral", SHARED_PROMPTS, **long), share_prompts=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", LEAKING)
def test_a_model_whose_packed_sequences_leak_is_refused_and_accepted_unpacked(kind, dtype):
    """The leak of lfm2 is smaller than the rounding of bfloat16."""
    with pytest.raises(ConfigError, match=r"leak into each other; take learner.row_tokens=1"):
        check(network(kind, "sdpa", dtype, **LEAKING[kind]), dtype)
    check(network(kind, "sdpa", dtype, **LEAKING[kind]), dtype, row_tokens=1)


def test_ignored_sinks_and_softcaps_are_refused():
    with pytest.raises(ConfigError, match="no attention of the learner computes this architecture"):
        check(network("gemma2", "sdpa", final_logit_softcapping=None, attn_logit_softcapping=0.05))
    with pytest.raises(ConfigError, match="differ by"):
        check(network("gpt_oss", SHARED_PROMPTS, num_local_experts=4), share_prompts=True)


def test_the_check_leaves_the_model_as_it_was():
    model = network("gpt2", SHARED_PROMPTS, **RIGHT["gpt2"])
    check(model, share_prompts=True)
    assert model.training
    assert model.config._attn_implementation == SHARED_PROMPTS
    assert not model.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize(
    ("given", "window"),
    [({"sliding_window": 64}, 64), ({"sliding_window": None}, 0), ({"sliding_window": 256}, 0)],
)
def test_the_window_that_counts_is_shorter_than_the_context(given, window):
    from transformers import AutoConfig

    assert window_of(AutoConfig.for_model("mistral", **{**SHAPE, **given})) == (window, 256)
