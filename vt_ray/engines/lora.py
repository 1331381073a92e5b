"""Low-rank adapters (LoRA, arXiv 2106.09685) by the package peft: their layers, and the weights that contain them.

    linear layers of the decoder --rank--> W frozen, A and B train --export--> W + (alpha / rank) B A

B is 0 at the start, so a new learner computes exactly its start model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from vt_ray.config import ConfigError, LoraConfig
from vt_ray.data.prompts import sample_seed

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# peft's name of an adapter, the part that it adds to the name of a layer, and the parts that begin an adapter's name.
ADAPTER, WRAPPED, PARTS = "default", ".base_layer", (".lora_A.", ".lora_B.")


def adapter_layers(network: PreTrainedModel, lora: LoraConfig) -> dict[str, torch.nn.Linear]:
    """The linear layers of the decoder that get adapters, by their names below the decoder.

    Raises ConfigError for a name in `lora.target_modules` that is no linear layer of the decoder, and for a rank above
    the smaller side of all these layers.
    """
    layers = {name: m for name, m in network.base_model.named_modules() if isinstance(m, torch.nn.Linear)}
    architecture = type(network).__name__
    if not layers:
        raise ConfigError(
            f"learner.lora.rank={lora.rank}: the decoder of {architecture} has no torch.nn.Linear, and only these get "
            "adapters: take learner.lora.rank=0"
        )
    known = {name.rpartition(".")[2] for name in layers}
    if unknown := [name for name in lora.target_modules if name not in known]:
        raise ConfigError(
            f"learner.lora.target_modules={lora.target_modules}: {', '.join(unknown)} is no linear layer of the "
            f"decoder of {architecture}, which has {', '.join(sorted(known))}: name some of these, or [] for all"
        )
    chosen = {n: m for n, m in layers.items() if not lora.target_modules or n.rpartition(".")[2] in lora.target_modules}
    largest = max(min(layer.weight.shape) for layer in chosen.values())
    if lora.rank > largest:
        raise ConfigError(
            f"learner.lora.rank={lora.rank} is above {largest}, the smaller side of the largest layer of "
            f"{architecture} that gets an adapter: take 8 to 64, or 0 to train all weights"
        )
    return chosen


def adapter_parameters(network: PreTrainedModel, lora: LoraConfig) -> int:
    """The number of parameters of the adapters that `network` would get. Raises ConfigError as `adapter_layers`."""
    return sum(lora.rank * sum(layer.weight.shape) for layer in adapter_layers(network, lora).values())


def empty_network(shape: PretrainedConfig) -> PreTrainedModel:
    """A network of this architecture without memory for its weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(shape)


def add_adapters(network: PreTrainedModel, lora: LoraConfig, seed: int) -> None:
    """Freezes the weights of `network` and adds adapters that train. A is drawn by `seed`, B is 0."""
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model

    layers = adapter_layers(network, lora)
    # All ranks draw the same A.
    torch.manual_seed(sample_seed("lora", seed))
    shape = {"r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    inject_adapter_in_model(PeftConfig(**shape, target_modules=list(layers)), network.base_model, ADAPTER)
    network.requires_grad_(False)
    for adapters in adapters_by_weight(network).values():
        for parameter in adapters.parameters:
            parameter.requires_grad_(True)


class Adapters:
    """A and B of one layer, and the factor of their product."""

    def __init__(self, layer: Any):
        self.parameters = (layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight)
        self.scale = layer.scaling[ADAPTER]

    def merged(self, weight: torch.Tensor) -> torch.Tensor:
        """W + scale B A as a new tensor, summed in float32 and rounded once to the dtype of `weight`."""
        a, b = (parameter.detach().float() for parameter in self.parameters)
        return (weight.detach().float() + self.scale * (b @ a)).to(weight.dtype)


def adapters_by_weight(network: torch.nn.Module) -> dict[int, Adapters]:
    """{id of a frozen weight: its adapters}; {} for a network without adapters."""
    return {id(layer.base_layer.weight): Adapters(layer) for layer in _lora_layers(network)}


def trainable_share(network: torch.nn.Module) -> float:
    """The share of the parameters that train, adapters included. Before ZeRO-3 partitions the parameters."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    return sum(size for size, trains in counts if trains) / sum(size for size, _ in counts)


def checkpoint_name(name: str) -> str | None:
    """The name in a checkpoint of the parameter `name` of a network with adapters; None for an adapter."""
    return None if any(part in name for part in PARTS) else name.replace(WRAPPED, "")


@contextmanager
def without_adapters(network: torch.nn.Module) -> Iterator[None]:
    """Within the block, `network` computes the start model: the product B A of each layer is multiplied by 0.

    The same modules run as with adapters, so ZeRO-3 gathers the parameters in its usual order.
    """
    layers = _lora_layers(network)
    for layer in layers:
        layer.set_scale(ADAPTER, 0.0)
    try:
        yield
    finally:
        for layer in layers:
            layer.set_scale(ADAPTER, 1.0)


@contextmanager
def without_dropout(network: torch.nn.Module) -> Iterator[None]:
    """Within the block, the adapters of a network in training mode have no dropout."""
    dropouts = [layer.lora_dropout for layer in _lora_layers(network)]
    for dropout in dropouts:
        dropout.eval()
    try:
        yield
    finally:
        for dropout in dropouts:
            dropout.train(network.training)


def _lora_layers(network: torch.nn.Module) -> list[Any]:
    return [module for module in network.modules() if hasattr(module, "lora_A") and hasattr(module, "base_layer")]
