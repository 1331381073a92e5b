"""Low-rank adapters on a tiny model: the start, the merge, the direction of training, refusals and memory."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from test_policy import head

from vt_ray.algorithms.flops import training_flops
from vt_ray.algorithms.logprobs import chunked_logprobs
from vt_ray.config import Config, ConfigError, LoraConfig, ModelConfig, StageConfig
from vt_ray.engines import model_export
from vt_ray.engines.base_model import architecture
from vt_ray.engines.deepspeed_process import move_frozen
from vt_ray.engines.learner_spec import parameter_groups
from vt_ray.engines.lora import (
    adapter_layers,
    adapter_parameters,
    adapters_by_weight,
    add_adapters,
    empty_network,
    trainable_share,
    without_adapters,
    without_dropout,
)
from vt_ray.engines.step_counts import dense_shape
from vt_ray.planning.learner_memory import adapter_count, learner_bytes
from vt_ray.planning.resource_plan import actor_plan
from vt_ray.planning.validate.lora import lora as faults

SHAPE = ModelConfig(vocab_size=300, hidden_size=64, intermediate_size=96, num_layers=2, num_heads=2)
TOKENS = torch.arange(5, 25).unsqueeze(0)


def network(dtype=torch.float32):
    from transformers import Qwen2ForCausalLM

    torch.manual_seed(0)
    return Qwen2ForCausalLM(architecture(SHAPE)).to(dtype)


def with_adapters(dtype=torch.float32, seed=0, trained=True, **settings):
    made = network(dtype)
    add_adapters(made, LoraConfig(**{"rank": 4, "alpha": 8.0} | settings), seed)
    if trained:
        for adapters in adapters_by_weight(made).values():
            torch.nn.init.normal_(adapters.parameters[1], std=0.05)
    return made


def exported(made):
    return {name: item.tensor() for item in model_export.exported(made) for name in item.names}


def test_a_new_model_is_the_base_model_bit_for_bit():
    base, made = network(), with_adapters(trained=False)
    named = dict(base.named_parameters(remove_duplicate=False))
    assert exported(made).keys() == named.keys()
    assert all(torch.equal(tensor, named[name]) for name, tensor in exported(made).items())
    assert torch.equal(made(TOKENS).logits, base(TOKENS).logits)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_the_exported_weights_compute_what_the_adapters_compute(dtype, limit):
    base, made = network(dtype), with_adapters(dtype)
    trained = {name: p.clone() for name, p in made.named_parameters()}
    base.load_state_dict(exported(made))
    assert (made(TOKENS).logits - base(TOKENS).logits).abs().max() < limit
    assert (made(TOKENS).logits - network(dtype)(TOKENS).logits).abs().max() > limit
    assert all(torch.equal(p, trained[name]) for name, p in made.named_parameters()), "an export changed the weights"


def test_a_tied_embedding_is_exported_once_with_both_names_and_never_trains():
    made = with_adapters()
    (tied,) = [item for item in model_export.exported(made) if len(item.names) > 1]
    assert tied.names == ("model.embed_tokens.weight", "lm_head.weight")
    assert not tied.parameter.requires_grad


def test_without_adapters_the_model_is_the_base_model_and_they_come_back():
    made = with_adapters(dropout=0.5).train()
    with without_adapters(made):
        assert torch.equal(made(TOKENS).logits, network()(TOKENS).logits)
    made.eval()
    before = made(TOKENS).logits
    with pytest.raises(ZeroDivisionError), without_adapters(made):
        raise ZeroDivisionError
    assert torch.equal(made(TOKENS).logits, before)


def test_without_dropout_a_network_in_training_mode_computes_what_it_computes_in_eval_mode():
    made = with_adapters(dropout=0.5).train()
    with without_dropout(made):
        found = made(TOKENS).logits
    assert not torch.equal(made(TOKENS).logits, found)
    assert torch.equal(made.eval()(TOKENS).logits, found)


def test_adapters_of_full_rank_step_in_the_direction_of_full_fine_tuning():
    """With A orthogonal, the first step of B changes W by -lr * scale^2 * G A^T A = -lr * scale^2 * G."""
    inputs, wanted = torch.randn(32, 8), torch.randn(32, 6)
    layer, full = layer_of_full_rank()
    for computed in (layer, full):
        (computed(inputs) - wanted).square().mean().backward()
    (adapters,) = adapters_by_weight(layer).values()
    a, b = adapters.parameters
    assert not a.grad.any(), "B is 0"
    torch.testing.assert_close(-(b.grad @ a) * adapters.scale, -full.weight.grad, rtol=1e-4, atol=1e-6)


def test_adapters_of_full_rank_reach_the_minimum_of_full_fine_tuning():
    inputs, solution = torch.randn(64, 8), torch.randn(6, 8)
    layer, _ = layer_of_full_rank()
    (adapters,) = adapters_by_weight(layer).values()
    for _ in range(200):
        (layer(inputs) - inputs @ solution.T).square().sum(1).mean().backward()
        for parameter in adapters.parameters:
            parameter.data -= 0.05 * parameter.grad
            parameter.grad = None
    torch.testing.assert_close(adapters.merged(full_weight(layer)), solution, rtol=0, atol=1e-2)


def layer_of_full_rank():
    """A layer with adapters of rank 8, A orthogonal; and the same layer without adapters."""
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model

    torch.manual_seed(0)
    full = torch.nn.Linear(8, 6, bias=False)
    made = torch.nn.Sequential(torch.nn.Linear(8, 6, bias=False))
    made[0].load_state_dict(full.state_dict())
    inject_adapter_in_model(PeftConfig(r=8, lora_alpha=8.0, target_modules=["0"]), made)
    (adapters,) = adapters_by_weight(made).values()
    adapters.parameters[0].data = torch.linalg.qr(torch.randn(8, 8))[0]
    return made, full


def full_weight(layer):
    return layer[0].base_layer.weight


def test_only_adapters_train_and_only_they_reach_the_optimizer():
    made = with_adapters(target_modules=["q_proj", "down_proj"])
    trains = {name for name, p in made.named_parameters() if p.requires_grad}
    assert trains == {name for name, _ in made.named_parameters() if "lora_" in name}
    assert all("q_proj" in name or "down_proj" in name for name in trains)
    (group,) = parameter_groups(made, Config().signal.optimizer)
    assert len(group["params"]) == len(trains) == 2 * 2 * 2
    count = adapter_parameters(network(), LoraConfig(rank=4, target_modules=["q_proj", "down_proj"]))
    assert count == sum(p.numel() for p in group["params"]) == 2 * 4 * (64 + 64 + 96 + 64)
    assert trainable_share(made) == pytest.approx(count / (count + sum(p.numel() for p in network().parameters())))
    assert trainable_share(network()) == 1


def test_frozen_matrices_save_a_third_of_their_operations():
    full, made = dense_shape(network()), dense_shape(with_adapters())
    adapters = adapter_parameters(network(), LoraConfig(rank=4))
    assert not full.frozen_parameters and not full.frozen_output
    assert made.frozen_output
    assert made.frozen_parameters == full.matrix_parameters == made.matrix_parameters - adapters
    tokens = 10 * (4 * full.matrix_parameters + 6 * adapters) + 7 * 4 * made.output_parameters
    assert training_flops(made, 10, 0, 7) == tokens


def test_the_seed_draws_the_adapters():
    def drawn(seed):
        return [adapters.parameters[0] for adapters in adapters_by_weight(with_adapters(seed=seed)).values()]

    assert all(map(torch.equal, drawn(0), drawn(0)))
    assert not any(map(torch.equal, drawn(0), drawn(1)))


def test_a_frozen_head_gets_no_gradient_and_hidden_states_the_same():
    hidden, weight, bias, targets, pull = head(20, with_bias=True)
    (chunked_logprobs(hidden, weight, bias, targets, 0.7, 7)[0] * pull).sum().backward()
    expected, hidden.grad = hidden.grad, None
    frozen = [t.detach().clone() for t in (weight, bias)]
    (chunked_logprobs(hidden, *frozen, targets, 0.7, 7)[0] * pull).sum().backward()
    assert torch.equal(hidden.grad, expected)
    assert all(t.grad is None for t in frozen)


def test_frozen_weights_are_moved_and_trained_ones_stay(monkeypatch):
    """DeepSpeed moves the trained weights of a learner that sleeps."""
    made, moved = with_adapters(), []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: moved.append((tensor.data_ptr(), device)) or tensor)
    move_frozen(made, "cpu")
    assert moved == [(p.data_ptr(), "cpu") for p in made.parameters() if not p.requires_grad]


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens", "q", "layers.0.self_attn.q_proj", "", ".*"])
def test_a_name_that_is_no_linear_layer_of_the_decoder_is_refused_with_the_list(name):
    with pytest.raises(
        ConfigError, match="decoder of Qwen2ForCausalLM, which has down_proj, gate_proj, k_proj, o_proj"
    ):
        adapter_layers(network(), LoraConfig(rank=4, target_modules=["q_proj", name]))


def test_a_rank_above_every_layer_and_a_decoder_without_linear_layers_are_refused():
    assert len(adapter_layers(network(), LoraConfig(rank=64))) == 2 * 7
    with pytest.raises(ConfigError, match="learner.lora.rank=65 is above 64"):
        adapter_layers(network(), LoraConfig(rank=65))
    with pytest.raises(ConfigError, match="has no torch.nn.Linear"):
        adapter_layers(SimpleNamespace(base_model=torch.nn.Embedding(3, 4)), LoraConfig(rank=1))


def config(**lora) -> Config:
    made = Config(model=SHAPE)
    made.curriculum.stages = [StageConfig(name="one"), StageConfig(name="two")]
    made.learner.lora = LoraConfig(**lora)
    return made


def test_settings_that_cannot_work_are_refused_before_the_start():
    assert not [*faults(config())]
    assert not [*faults(config(rank=8, target_modules=["q_proj"], dropout=0.1))]
    kept = config(rank=8)
    kept.curriculum.stages[1].optimizer_state = "keep"
    (message,) = faults(kept)
    assert "learner.lora.rank=8 with optimizer_state=keep in stage two" in message
    (message,) = faults(config(rank=8, target_modules=["lm_head"]))
    assert "lm_head is no linear layer of the decoder" in message
    away = config(rank=10**6, target_modules=["anything"])
    away.model = ModelConfig(source="hf", path="/nowhere/model")
    assert not [*faults(away)], "the learner checks a model that is not on this machine yet"


def test_the_known_shape_of_smollm2_has_its_parameters():
    made = empty_network(architecture(ModelConfig(source="smollm2")))
    assert sum(p.numel() for p in made.parameters()) == 134_515_008


def test_the_plan_counts_gradients_and_moments_of_the_adapters_only():
    full, small = config(), config(rank=4)
    count = adapter_count(small)
    assert count == adapter_parameters(network(), small.learner.lora)
    assert adapter_count(full) is None
    assert learner_bytes(1e6, small, count) == pytest.approx(4 * 1e6 + (4 + 4 + 8) * count)
    assert learner_bytes(1e6, full) == pytest.approx(16e6)
    kinds = [plan.kind for plan in actor_plan(replace(small))]
    assert "learner (DeepSpeed ZeRO-1, LoRA rank 4)" in kinds
