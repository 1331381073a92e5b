"""The learning rate of each step: linear warm-up, then the decay that the config names; the steps of epochs."""

from __future__ import annotations

import math
from dataclasses import replace

from vt_ray.config import SCHEDULES, OptimizerConfig, SftConfig


def lr_at(step: int, total_steps: int, optimizer: OptimizerConfig) -> float:
    """The learning rate of `step`, counted from 0.

    Warm-up is linear and its first step already trains: step 0 has lr / warmup_steps. Then "cosine" and "linear" go
    from `lr` to `lr * min_lr_ratio` at step `total_steps - 1` and stay there; "constant" keeps `lr`. Raises ValueError
    for another `optimizer.schedule`. `warmup_share` of the steps, rounded, replaces `warmup_steps`.
    """
    share = optimizer.warmup_share
    warmup_steps = optimizer.warmup_steps if share is None else round(share * total_steps)
    if step < warmup_steps:
        return optimizer.lr * (step + 1) / warmup_steps
    span = max(total_steps - 1 - warmup_steps, 1)
    done = min((step - warmup_steps) / span, 1.0)
    if optimizer.schedule == "cosine":
        left = 0.5 * (1 + math.cos(math.pi * done))
    elif optimizer.schedule == "linear":
        left = 1 - done
    elif optimizer.schedule == "constant":
        left = 1.0
    else:
        raise ValueError(f"optimizer.schedule={optimizer.schedule!r} must be one of {', '.join(SCHEDULES)}")
    return optimizer.lr * (optimizer.min_lr_ratio + (1 - optimizer.min_lr_ratio) * left)


def with_steps(sft: SftConfig, examples: int) -> SftConfig:
    """The settings with the steps of `epochs`, if it is set. An epoch ends with its last whole batch."""
    if sft.epochs is None:
        return sft
    return replace(sft, steps=max(1, round(sft.epochs * max(1, examples // sft.batch_size))))
