"""Difficulty weights: the factor on the advantages of a group, as a function of its accuracy p.

    signal.mgpo.weight --> mgpo.weight | WEIGHTS | import path --> difficulty_weight(p) --> A' = weight * A

A weight of WEIGHTS or of a user is called with accuracies in [1/G, 1 - 1/G], those of a group of G completions with
right and wrong ones. An accuracy outside takes the value of the nearest end: its group has no signal, or its posterior
reaches below what G completions can show. So a weight such as 1/p stays finite, also as a mean over a posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vt_ray.algorithms import mgpo
from vt_ray.algorithms.mgpo import Floats
from vt_ray.config import ConfigError
from vt_ray.import_path import import_callable
from vt_ray.records import AdvantageConfig

# DGPO: the temperature of its question weights (arXiv 2601.20614; the default of its authors' code).
DGPO_TEMPERATURE = 2.0

# The largest group whose accuracies are tried before a run.
MOST_CHECKED = 1024


def none(p: Floats) -> Floats:
    """1: the advantages of GRPO."""
    return np.ones_like(p)


def maxrl(p: Floats) -> Floats:
    """1/p on r - mean: MaxRL's advantage (r - mean) / mean (arXiv 2602.02710).

    Without a correct completion the advantages are 0. In expectation over groups of G they give the gradient of
    sum_{k=1..G-1} Pass@k / k, which is that of log p for an infinite group. Without the mean, the sum would include G.
    """
    return 1 / p


def dgpo(p: Floats) -> Floats:
    """exp((1/2 - p) / 2) / (2p(1-p)) on r - mean: DGPO (arXiv 2601.20614).

    2p(1-p) is the mean absolute deviation of binary rewards, by which DGPO divides. Its question weight is the softmax
    of -p / 2 over the batch's groups with a signal, times their number. A function of one accuracy has no batch: the
    mean of exp(-p / 2) over the batch is replaced by its value at p = 1/2. The ratios between questions are the same.
    """
    return np.exp((0.5 - p) / DGPO_TEMPERATURE) / (2 * p * (1 - p))


def mcpo(p: Floats) -> Floats:
    """1 up to p = 1/2, then 1 / (2 sqrt(p(1-p))): MCPO's query weight (arXiv 2604.16972, equations 12 and 13).

    GRPO's query weight sqrt(p(1-p)) becomes 1/2 for all p above 1/2. MCPO's second part, a KL penalty on questions
    with p = 1, is not implemented.
    """
    return np.where(p > 0.5, 0.5 / np.sqrt(p * (1 - p)), 1.0)


@dataclass(frozen=True, slots=True)
class Weight:
    """`function` maps accuracies, float64 [n], to weights [n]. `norm` replaces `signal.mgpo.advantage_norm`."""

    function: Callable[[Floats], Floats]
    norm: str = ""


WEIGHTS = {"none": Weight(none), "maxrl": Weight(maxrl, "none"), "dgpo": Weight(dgpo, "none"), "mcpo": Weight(mcpo)}


def named_weight(name: str) -> Weight:
    """The weight that `signal.mgpo.weight` names, except "mgpo". Raises ConfigError if there is none."""
    try:
        return WEIGHTS[name] if name in WEIGHTS else Weight(import_callable(name, ("accuracy",)))
    except ValueError as error:
        raise ConfigError(
            f"signal.mgpo.weight={name!r} must be one of mgpo, {', '.join(WEIGHTS)}, or {error}"
        ) from error


def difficulty_weight(accuracy: ArrayLike, config: AdvantageConfig) -> float | Floats:
    """The weight of a group by its accuracy, or of each accuracy of an array. Raises ConfigError for a user's weight
    that is not finite, is negative or has another shape."""
    if config.weight == "mgpo":
        return mgpo.weight(accuracy, config.lam)
    p = np.asarray(accuracy, dtype=np.float64)
    inside = np.clip(p, 1 / config.group_size, 1 - 1 / config.group_size)
    weights = _checked(config.weight, inside.reshape(-1))
    return weights.reshape(p.shape) if p.ndim else float(weights[0])


def advantage_norm(config: AdvantageConfig) -> str:
    """The norm of the advantages that the weight multiplies: its own, else that of the config."""
    own = "" if config.weight == "mgpo" else named_weight(config.weight).norm
    return own or config.advantage_norm


def refuse_bad_weight(name: str, group_sizes: Iterable[int]) -> None:
    """Calls the weight with the accuracies of groups of these sizes. Raises ConfigError as `difficulty_weight` does."""
    for size in sorted({2, *(min(size, MOST_CHECKED) for size in group_sizes if size > 2)}):
        _checked(name, np.arange(1, size) / size)


def _checked(name: str, accuracies: Floats) -> Floats:
    function = named_weight(name).function
    try:
        weights = np.asarray(function(accuracies.copy()), dtype=np.float64)
    except Exception as error:  # the function is the user's: it may raise anything
        raise ConfigError(
            f"signal.mgpo.weight={name!r} failed ({type(error).__name__}: {error}): it gets a float64 array of "
            "accuracies and returns an array of the same shape"
        ) from error
    if weights.shape != accuracies.shape:
        raise ConfigError(
            f"signal.mgpo.weight={name!r} returned the shape {weights.shape} for {accuracies.shape[0]} accuracies: "
            "return one weight for each"
        )
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        raise ConfigError(
            f"signal.mgpo.weight={name!r} is {weights[bad][0]} at the accuracy {accuracies[bad][0]:.4g}: it must be "
            "finite and at least 0"
        )
    return weights
