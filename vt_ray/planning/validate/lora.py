"""Checks of learner.lora: the numbers, the package, and the layers of the model if its architecture is known."""

from __future__ import annotations

from importlib.util import find_spec
from math import isfinite

from vt_ray.config import Config, LoraConfig
from vt_ray.engines.base_model import architecture
from vt_ray.planning.validate.rules import Problems, at_least, no_error


def lora(c: Config) -> Problems:
    lora = c.learner.lora
    yield from at_least("learner.lora.rank", lora.rank, 0)
    if not (lora.alpha > 0 and isfinite(lora.alpha)):
        yield f"learner.lora.alpha={lora.alpha} must be above 0 and finite: 32 is usual"
    if not 0 <= lora.dropout < 1:
        yield f"learner.lora.dropout={lora.dropout} must lie in [0, 1): 0 is usual for RL"
    if lora.rank == 0 and lora != LoraConfig():
        yield (
            "learner.lora.rank=0 trains all weights without adapters, but alpha, dropout or target_modules is set: "
            "give a rank too, such as 16, or leave these out"
        )
    if lora.rank > 0:
        yield from _with_adapters(c)


def _with_adapters(c: Config) -> Problems:
    if find_spec("peft") is None:
        yield "learner.lora needs the package peft, which is not installed: pip install peft==0.21.2"
    for stage in c.curriculum.stages:
        if stage.optimizer_state == "keep":
            yield (
                f"learner.lora.rank={c.learner.lora.rank} with optimizer_state=keep in stage {stage.name}: a stage "
                "merges its adapters into its model, and the next stage starts new ones: set it to reset"
            )
    shape = architecture(c.model)
    if shape is not None:
        from vt_ray.engines.lora import adapter_layers, empty_network

        yield from no_error(adapter_layers, empty_network(shape), c.learner.lora)
