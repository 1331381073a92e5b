"""DeepSpeed in this process: the process group of the ranks, the frozen reference, moved and released memory."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch

from vt_ray.engines.learner_spec import LearnerSpec, reference_config
from vt_ray.engines.policy import load_policy


def load_deepspeed() -> Any:
    """Imports DeepSpeed without MLflow, which only its autotuner would use: a fifth of the time of this import."""
    hidden = "mlflow" not in sys.modules
    if hidden:
        sys.modules["mlflow"] = None  # type: ignore[assignment]  # its import raises ImportError
    try:
        import deepspeed
    finally:
        if hidden:
            del sys.modules["mlflow"]
    return deepspeed


def init_process_group(rank: int, world_size: int, address: str, port: int) -> None:
    """Joins the learner's process group (gloo on CPU, NCCL on GPU). Once per process."""
    deepspeed = load_deepspeed()
    # The shared-memory all-reduce of CPU builds takes about a minute to compile at first use: gloo is used instead.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    os.environ.update(
        RANK=str(rank), LOCAL_RANK="0", WORLD_SIZE=str(world_size), MASTER_ADDR=address, MASTER_PORT=str(port)
    )
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)


def release(engine: Any) -> None:
    """Destroys a DeepSpeed engine and frees its memory.

    ZeRO-3 leaves reference cycles through autograd hooks, which Python cannot collect: their large tensors are freed
    here.
    """
    parameters, optimizer = list(engine.module.parameters()), engine.optimizer
    engine.destroy()
    if engine.zero_optimization_stage() < 3:
        return
    for parameter in parameters:
        vars(parameter).clear()
        parameter.data = torch.empty(0, dtype=parameter.dtype, device=parameter.device)
        parameter.grad = None
    vars(optimizer).clear()
    if getattr(engine, "basic_optimizer", None) is not None:
        engine.basic_optimizer.state.clear()
        engine.basic_optimizer.param_groups.clear()


def open_reference(spec: LearnerSpec, device: torch.device) -> torch.nn.Module:
    """A frozen copy of the start model: partitioned over the ranks under ZeRO-3, else complete on each rank."""
    import deepspeed

    policy = load_policy(spec).requires_grad_(False)
    # In training mode, as the learner: sequence parallelism is off in `eval`.
    if spec.learner.zero_stage < 3:
        return policy.to(device).train()
    engine, *_ = deepspeed.initialize(model=policy, config=reference_config(spec))
    engine.train()
    return engine


def move_frozen(network: torch.nn.Module, device: str | torch.device) -> None:
    """Moves the weights that do not train: DeepSpeed moves only the weights of its optimizer."""
    for parameter in network.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(device)
