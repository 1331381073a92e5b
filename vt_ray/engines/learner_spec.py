"""The settings that a learner is opened with, and DeepSpeed's configuration made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vt_ray.config import LearnerConfig, ModelConfig, OptimizerConfig

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LearnerSpec:
    """What a learner is opened with: the same on every rank."""

    model_path: str
    model: ModelConfig
    optimizer: OptimizerConfig
    learner: LearnerConfig
    total_steps: int
    seed: int
    with_reference: bool = False


def training_config(spec: LearnerSpec) -> dict[str, Any]:
    """DeepSpeed's configuration of the model that learns."""
    optimizer, learner = spec.optimizer, spec.learner
    zero: dict[str, Any] = {"stage": learner.zero_stage}
    if learner.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    if learner.offload_parameters:
        zero["offload_param"] = {"device": "cpu"}
    return {
        **_common(spec),
        "gradient_clipping": optimizer.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # DeepSpeed's own CPU Adam is compiled at first use; torch's fused one is there already, on both devices.
        "zero_force_ds_cpu_optimizer": False,
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": optimizer.lr,
                "betas": list(optimizer.betas),
                "weight_decay": optimizer.weight_decay,
                "torch_adam": True,
                "fused": True,
            },
        },
    }


def parameter_groups(network: torch.nn.Module, optimizer: OptimizerConfig) -> list[dict[str, Any]] | None:
    """The optimizer's groups where weights decay: vectors (norms and biases) do not. None without decay: one group."""
    if optimizer.weight_decay == 0:
        return None
    matrices = [p for p in network.parameters() if p.dim() >= 2]
    vectors = [p for p in network.parameters() if p.dim() < 2]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def reference_config(spec: LearnerSpec) -> dict[str, Any]:
    """Of a model that only answers: without an optimizer DeepSpeed partitions it, as ZeRO-3 does, and no more."""
    zero: dict[str, Any] = {"stage": 3}
    if spec.learner.offload_parameters:
        zero["offload_param"] = {"device": "cpu"}
    return {**_common(spec), "zero_optimization": zero}


def _common(spec: LearnerSpec) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "bf16": {"enabled": spec.model.dtype == "bfloat16"},
    }
