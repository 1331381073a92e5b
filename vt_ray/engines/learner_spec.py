"""The settings of a learner, and DeepSpeed's configuration made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vt_ray.config import LearnerConfig, ModelConfig, OptimizerConfig

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LearnerSpec:
    """The settings of a learner, the same on every rank."""

    model_path: str
    model: ModelConfig
    optimizer: OptimizerConfig
    learner: LearnerConfig
    total_steps: int
    seed: int
    with_reference: bool = False


def training_config(spec: LearnerSpec) -> dict[str, Any]:
    """DeepSpeed's configuration for the model that is trained."""
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
        # DeepSpeed's CPU Adam would be compiled at first use; torch's fused AdamW exists on both devices.
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
    """The optimizer's groups of the parameters that train: norms and biases have no weight decay.

    None, for one group, if all parameters train without decay.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    if optimizer.weight_decay == 0:
        return None if len(trained) == len([*network.parameters()]) else [{"params": trained}]
    matrices = [p for p in trained if p.dim() >= 2]
    vectors = [p for p in trained if p.dim() < 2]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def reference_config(spec: LearnerSpec) -> dict[str, Any]:
    """DeepSpeed's configuration for the frozen reference: without an optimizer ZeRO-3 only partitions the weights."""
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
