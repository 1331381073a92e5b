"""Chunked log-probabilities equal those of the full logits: values, entropies and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.algorithms.logprobs import chunked_logprobs, entropy, selected_logprobs
from vt_ray.config import ConfigError, LearnerConfig, ModelConfig, OptimizerConfig
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.policy import Policy, load_policy, refuse_unknown_tokens

TEMPERATURE = 0.7


def head(tokens, vocabulary=37, width=8, with_bias=False, seed=0):
    dice = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, width, generator=dice).requires_grad_()
    weight = torch.randn(vocabulary, width, generator=dice).requires_grad_()
    bias = torch.randn(vocabulary, generator=dice).requires_grad_() if with_bias else None
    targets = torch.randint(0, vocabulary, (tokens,), generator=dice)
    pull = torch.randn(tokens, generator=dice)
    return hidden, weight, bias, targets, pull


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 20), st.integers(1, 25), st.booleans(), st.integers(0, 99))
def test_the_gradient_of_the_entropy_equals_that_of_the_whole(tokens, chunk_tokens, with_bias, seed):
    hidden, weight, bias, targets, pull = head(tokens, with_bias=with_bias, seed=seed)
    leaves = [t for t in (hidden, weight, bias) if t is not None]
    found = chunked_logprobs(hidden, weight, bias, targets, TEMPERATURE, chunk_tokens, entropy_gradient=True)
    logits = torch.nn.functional.linear(hidden, weight, bias)
    wanted = selected_logprobs(logits, targets, TEMPERATURE), entropy(logits, TEMPERATURE)
    for push in (pull.flip(0), torch.zeros_like(pull)):
        got, expected = (
            torch.autograd.grad((of[0] * pull + of[1] * push).sum(), leaves, retain_graph=True)
            for of in (found, wanted)
        )
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_entropy_of_a_certain_token_has_a_finite_gradient():
    """Logits 400 apart: the probabilities of the other tokens are 0 in float32."""
    hidden, weight = torch.ones(3, 1, requires_grad=True), torch.tensor([[400.0], [0.0], [0.0]], requires_grad=True)
    _, entropies = chunked_logprobs(hidden, weight, None, torch.zeros(3).long(), 1.0, 2, entropy_gradient=True)
    entropies.sum().backward()
    assert entropies.tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert weight.grad.tolist() == [[0.0]] * 3 and hidden.grad.tolist() == [[0.0]] * 3


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 25), st.booleans(), st.integers(0, 99))
def test_chunks_equal_the_whole(tokens, chunk_tokens, with_bias, seed):
    hidden, weight, bias, targets, pull = head(tokens, with_bias=with_bias, seed=seed)
    leaves = [t for t in (hidden, weight, bias) if t is not None]
    logprobs, entropies = chunked_logprobs(hidden, weight, bias, targets, TEMPERATURE, chunk_tokens)
    got = torch.autograd.grad((logprobs * pull).sum(), leaves)
    logits = torch.nn.functional.linear(hidden, weight, bias)
    expected = selected_logprobs(logits, targets, TEMPERATURE)
    wanted = torch.autograd.grad((expected * pull).sum(), leaves)
    torch.testing.assert_close(logprobs, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropies, entropy(logits, TEMPERATURE), rtol=1e-5, atol=1e-4)
    assert not entropies.requires_grad
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_without_tokens_the_gradient_is_zero():
    hidden, weight, _, targets, _ = head(0)
    logprobs, entropies = chunked_logprobs(hidden, weight, None, targets, 1.0, 4)
    logprobs.sum().backward()
    assert logprobs.shape == entropies.shape == hidden.grad.shape[:1] == (0,)
    assert weight.grad.shape == weight.shape
    assert not weight.grad.any()


def test_bfloat16_weights_get_float32_logprobs_and_gradients_of_their_own_type():
    hidden, weight, _, targets, pull = head(64, vocabulary=500, width=32)
    low = [t.detach().bfloat16().requires_grad_() for t in (hidden, weight)]
    logprobs, _ = chunked_logprobs(*low, None, targets, 1.0, 16)
    (logprobs * pull).sum().backward()
    whole = selected_logprobs(low[0].float() @ low[1].float().T, targets, 1.0)
    wanted = torch.autograd.grad((whole * pull).sum(), low)
    assert logprobs.dtype == torch.float32
    torch.testing.assert_close(logprobs, whole, rtol=0, atol=0.1)
    for leaf, expected in zip(low, wanted, strict=True):
        assert leaf.grad.dtype == torch.bfloat16
        gap = (leaf.grad - expected).float().norm() / expected.float().norm()
        assert gap < 0.02


@pytest.fixture
def network():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=61, num_key_value_heads=1, tie_word_embeddings=True, **shape))


def batch():
    dice = torch.Generator().manual_seed(1)
    ids, targets = torch.randint(0, 61, (2, 3, 14), generator=dice)
    return ids, torch.arange(14).expand(3, 14), targets, torch.rand(3, 14, generator=dice) < 0.5


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_policy_equals_its_network_at_the_chosen_tokens(network, checkpointing):
    ids, positions, targets, chosen = batch()
    logits = network(input_ids=ids, position_ids=positions, use_cache=False).logits
    whole = selected_logprobs(logits, targets, TEMPERATURE)
    whole[chosen].sum().backward()
    names = list(network.state_dict())
    wanted = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    if checkpointing:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    policy = Policy(network, chunk_tokens=5).train()
    logprobs, entropies = policy(ids, positions, targets, chosen, TEMPERATURE)
    logprobs.sum().backward()
    torch.testing.assert_close(logprobs, torch.where(chosen, whole, 0.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(entropies, torch.where(chosen, entropy(logits, TEMPERATURE), 0.0), rtol=0, atol=1e-5)
    # The embedding is tied: it gets the gradients of both uses.
    for name, parameter in policy.network.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=0, atol=1e-5)
    assert list(policy.network.state_dict()) == names


def spec(folder):
    return LearnerSpec(str(folder), ModelConfig(), OptimizerConfig(), LearnerConfig(), 10, 0)


def test_a_saved_policy_is_an_ordinary_checkpoint(network, tmp_path):
    from transformers import AutoModelForCausalLM

    expected = network.state_dict()
    Policy(network, 5).network.save_pretrained(tmp_path)
    found = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(load_policy(spec(tmp_path)).network.state_dict()["lm_head.weight"], expected["lm_head.weight"])


def test_a_damaged_checkpoint_is_refused_by_name(network, tmp_path):
    network.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:8] + b"?" + whole[9:]):
        weights.write_bytes(damaged)
        with pytest.raises(ConfigError, match=f"{tmp_path} is no whole checkpoint"):
            load_policy(spec(tmp_path))
    weights.unlink()
    with pytest.raises(ConfigError, match=f"{tmp_path} is no whole checkpoint"):
        load_policy(spec(tmp_path))
    with pytest.raises(ConfigError, match="is no whole checkpoint"):
        load_policy(spec(tmp_path / "nowhere"))


def test_missing_tensors_are_named_and_not_initialised_at_random(network, tmp_path):
    from safetensors.torch import load_file, save_file

    network.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 tensors .*model.layers.1.mlp.up_proj.weight"):
        load_policy(spec(tmp_path))


def test_a_token_beyond_the_vocabulary_is_refused_with_both_numbers(network):
    refuse_unknown_tokens(network, 60, "here")
    with pytest.raises(ConfigError, match=r"token id 61, but the vocabulary of here has 61"):
        refuse_unknown_tokens(network, 61, "here")


def test_a_model_that_changes_its_logits_after_the_head_is_refused(network):
    network.config.final_logit_softcapping = 30.0
    with pytest.raises(ConfigError, match="final_logit_softcapping"):
        Policy(network, 5)
