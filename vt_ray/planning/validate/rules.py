"""Rules that several sections share. Each yields error messages: value, limit, remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from vt_ray.config import SCHEDULES, ConfigError, OptimizerConfig

Problems = Iterator[str]


def at_least(name: str, value: float, limit: float) -> Problems:
    if not value >= limit:
        yield f"{name}={value} must be at least {limit}"


def no_error(check: Callable[..., Any], *arguments: Any) -> Problems:
    """The message of the ConfigError that `check(*arguments)` raises, if any."""
    try:
        check(*arguments)
    except ConfigError as error:
        yield str(error)


def one_of(name: str, value: object, allowed: tuple) -> Problems:
    if value not in allowed:
        yield f"{name}={value!r} must be one of {', '.join(map(str, allowed))}"


def optimizer(at: str, o: OptimizerConfig) -> Problems:
    if not 0 < o.lr < 1:
        yield f"{at}.lr={o.lr} must lie in (0, 1): 1e-6 is usual for RL on a pretrained model"
    yield from one_of(f"{at}.schedule", o.schedule, SCHEDULES)
    if not 0 <= o.min_lr_ratio <= 1:
        yield f"{at}.min_lr_ratio={o.min_lr_ratio} must lie in [0, 1]: 1 is a constant rate"
    if len(o.betas) != 2 or not all(0 <= b < 1 for b in o.betas):
        yield f"{at}.betas={o.betas} must be two numbers in [0, 1)"
    yield from at_least(f"{at}.warmup_steps", o.warmup_steps, 0)
    if o.warmup_share is not None and not 0 <= o.warmup_share < 1:
        yield f"{at}.warmup_share={o.warmup_share} must lie in [0, 1): 0.05 is usual, null takes {at}.warmup_steps"
    yield from at_least(f"{at}.weight_decay", o.weight_decay, 0)
    if not o.max_grad_norm > 0:
        yield f"{at}.max_grad_norm={o.max_grad_norm} must be above 0: 1.0 is usual"


def sampling(at: str, temperature: float, top_p: float, max_new_tokens: int) -> Problems:
    if not 0 < temperature < inf:
        yield f"{at}.temperature={temperature} must be above 0 and finite: samples of one question must differ"
    if not 0 < top_p <= 1:
        yield f"{at}.top_p={top_p} must lie in (0, 1]"
    yield from at_least(f"{at}.max_new_tokens", max_new_tokens, 1)


def pass_at_k(at: str, k: int, samples: int) -> Problems:
    if not 1 <= k <= samples:
        yield f"{at}.k={k} must lie in 1..{at}.samples={samples}: draw more samples or lower k"
