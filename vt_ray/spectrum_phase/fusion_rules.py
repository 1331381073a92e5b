"""The fusion rules, which make one tensor of the fused model from that tensor of all specialists.

stored tensors --masks or weights of the whole tensor--> slices in float32 --combine--> one tensor in the stored dtype

A slice at a time is widened to float32, so that memory holds the result and slices, not a float32 copy of each model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from math import acos, exp, sin
from typing import TYPE_CHECKING

from vt_ray.config import ConfigError, FusionConfig
from vt_ray.import_path import import_callable

if TYPE_CHECKING:
    import torch

# Elements of each tensor that are widened at the same time.
SLICE = 1 << 20
# slerp: two tensors with a larger cosine are averaged linearly, because sin(angle) is too small to divide by.
COLLINEAR = 0.9995


@dataclass(frozen=True, slots=True)
class Rule:
    """A fusion rule with its settings. `on_changes`, `rescales` and the functions are explained at RULES."""

    combine: Callable[[list[torch.Tensor], Sequence[float]], torch.Tensor]
    on_changes: bool = False
    keep: Callable[[torch.Tensor, float, torch.Generator], torch.Tensor] | None = None
    rescales: bool = False
    reweigh: Callable[[list[torch.Tensor], Sequence[float]], Sequence[float]] | None = None
    # The function of a user, called once with (tensors, weights, base), whole, in `wide_dtype`.
    own: Callable[[list[torch.Tensor], list[float], torch.Tensor | None], torch.Tensor] | None = None
    density: float = 1.0
    scale: float = 1.0

    @property
    def needs_base(self) -> bool:
        """Whether the run gives the rule the model that SFT started from."""
        return self.on_changes or self.own is not None


def weighted_average(tensors: list[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """sum_i w_i M*_i, the paper's rule (arXiv 2511.06221, section 3.3)."""
    total = tensors[0].new_zeros(tensors[0].shape)
    for tensor, weight in zip(tensors, weights, strict=True):
        total += weight * tensor
    return total


def elected_mean(changes: list[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """The weighted mean of the changes that have the sign of the weighted sum of all changes; 0 if all are 0.

    Sign election and disjoint merge of TIES (arXiv 2306.01708, section 4).
    """
    import torch

    weighted = [weight * change for change, weight in zip(changes, weights, strict=True)]
    sign = torch.where(weighted_average(changes, weights) >= 0, 1.0, -1.0)
    total, share = torch.zeros_like(changes[0]), torch.zeros_like(changes[0])
    for change, weight in zip(weighted, weights, strict=True):
        agrees = change.sign() == sign
        total += change * agrees
        share += weight * agrees
    return total / share.where(share != 0, 1.0)


def keep_largest(change: torch.Tensor, density: float, random: torch.Generator) -> torch.Tensor:
    """True for the `density` of the elements with the largest magnitude (TIES, arXiv 2306.01708, section 4).

    Among elements of equal magnitude, the first ones are kept. Overwrites `change`.
    """
    import numpy as np
    import torch

    if not len(change):
        return change.bool()
    count = max(1, int(density * len(change)))
    magnitude = change.abs_()
    limit = float(np.partition(magnitude.numpy(), -count)[-count])
    kept = magnitude > limit
    if limit:  # elements without a change need not be kept
        kept[torch.nonzero(magnitude == limit).flatten()[: count - int(kept.sum())]] = True
    return kept


def keep_random(change: torch.Tensor, density: float, random: torch.Generator) -> torch.Tensor:
    """True for each element with probability `density` (DARE, arXiv 2311.03099, section 3)."""
    import torch

    return torch.empty(change.shape, dtype=torch.bool).bernoulli_(density, generator=random)


def spherical_weights(tensors: list[torch.Tensor], weights: Sequence[float]) -> Sequence[float]:
    """sin(w_i * angle) / sin(angle), with the angle between two tensors: spherical interpolation (Shoemake 1985).

    Returns `weights` for one tensor, for nearly parallel tensors, and if a tensor is 0 and therefore has no angle.
    """
    if len(tensors) == 1:
        return weights
    dot = first = second = 0.0
    # In float64: the angle of nearly parallel tensors depends on the last digits of their cosine.
    for a, b in ([part.double() for part in parts] for parts in slices(tensors)):
        dot, first, second = dot + float(a @ b), first + float(a @ a), second + float(b @ b)
    cosine = dot / (first * second) ** 0.5 if first and second else 1.0
    if abs(cosine) > COLLINEAR:
        return weights
    angle = acos(cosine)
    return [sin(weight * angle) / sin(angle) for weight in weights]


# The rules by their name in `spectrum.fusion.method`. `combine` gets slices of the specialists' tensors and weights
# with sum 1. With `on_changes` it gets their changes from the base model, and the rule makes
# base + scale * combine(changes). `keep` chooses the elements of a specialist's whole change that count; with
# `rescales` the kept ones are divided by `density`. `reweigh` replaces the weights for one tensor. The first four rules
# differ in their weights only (fusion_weights, fusing.greedy_soup).
RULES: dict[str, Rule] = {
    "weights": Rule(weighted_average),
    "uniform": Rule(weighted_average),  # uniform soup, arXiv 2203.05482
    "probe_softmax": Rule(weighted_average),
    "greedy_soup": Rule(weighted_average),  # arXiv 2203.05482, recipe 1
    "task_arithmetic": Rule(weighted_average, on_changes=True),  # arXiv 2212.04089
    "ties": Rule(elected_mean, on_changes=True, keep=keep_largest),  # arXiv 2306.01708
    "dare": Rule(weighted_average, on_changes=True, keep=keep_random, rescales=True),  # arXiv 2311.03099
    "slerp": Rule(weighted_average, reweigh=spherical_weights),
}
# These rules set the weights of the specialists themselves.
SETS_WEIGHTS = ("uniform", "probe_softmax", "greedy_soup")


def fusion_rule(fusion: FusionConfig) -> Rule:
    """The rule of these settings, from RULES or by import path. Raises ConfigError if there is none."""
    method = fusion.method
    if method in RULES:
        return replace(RULES[method], density=fusion.density, scale=fusion.scale)
    try:
        return Rule(weighted_average, own=import_callable(method, ("tensors", "weights", "base")))
    except ValueError as error:
        raise ConfigError(f"spectrum.fusion.method={method!r} must be one of {', '.join(RULES)}, or {error}") from error


def fusion_weights(
    fusion: FusionConfig, subdomains: Sequence[str], scores: Mapping[str, float] | None = None
) -> list[float]:
    """One weight for each subdomain, sum 1. `scores` is Pass@K of each subdomain's specialist, for probe_softmax.

    Raises ConfigError unless the weights in the settings are empty or numbers >= 0 with sum 1.
    """
    weights = fusion.weights
    if weights and fusion.method in SETS_WEIGHTS:
        raise ConfigError(
            f"spectrum.fusion.weights={list(weights)} are not used by method={fusion.method}, which sets the weights "
            "itself: leave them empty, or set method=weights"
        )
    if fusion.method == "probe_softmax" and scores is not None:
        shares = [exp((scores[d] - max(scores.values())) / fusion.temperature) for d in subdomains]
        return [share / sum(shares) for share in shares]
    if not weights:
        return [1 / len(subdomains)] * len(subdomains)
    if len(weights) != len(subdomains) or not min(weights) >= 0 or not abs(sum(weights) - 1) < 1e-6:
        raise ConfigError(
            f"spectrum.fusion.weights={list(weights)} must be {len(subdomains)} numbers >= 0 that sum to 1, one for "
            f"each of {list(subdomains)}: leave it empty for 1/N"
        )
    return list(weights)


def fused_tensor(
    rule: Rule, tensors: list[torch.Tensor], weights: list[float], base: torch.Tensor | None, random: torch.Generator
) -> torch.Tensor:
    """The tensor of the fused model, computed in float32 (float64 if stored so) and rounded once to the stored dtype.

    `tensors` are of one shape and dtype. A random rule draws from `random`.
    """
    import torch

    if rule.own:
        wide = wide_dtype(tensors[0])
        return rule.own([t.to(wide) for t in tensors], weights, None if base is None else base.to(wide))
    if rule.reweigh:
        weights = list(rule.reweigh(tensors, weights))
    if rule.on_changes and base is not None:
        return _fused_changes(rule, tensors, weights, base, random)
    fused = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
    for target, parts in zip(pieces(fused), slices(tensors), strict=True):
        target.copy_(rule.combine(parts, weights))
    return fused


def _fused_changes(
    rule: Rule, tensors: list[torch.Tensor], weights: list[float], base: torch.Tensor, random: torch.Generator
) -> torch.Tensor:
    import torch

    changes = (t.to(wide_dtype(t), copy=True).sub_(base).flatten() for t in tensors)
    masks = [rule.keep(change, rule.density, random) for change in changes] if rule.keep and rule.density < 1 else []
    kept = zip(*map(pieces, masks), strict=True) if masks else repeat(())
    scale = rule.scale / rule.density if rule.rescales else rule.scale
    fused = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
    for target, (start, *parts), elements in zip(pieces(fused), slices([base, *tensors]), kept, strict=False):
        changed = [part - start for part in parts]
        if elements:
            changed = [change * kept for change, kept in zip(changed, elements, strict=True)]
        target.copy_(start + scale * rule.combine(changed, weights))
    return fused


def wide_dtype(tensor: torch.Tensor) -> torch.dtype:
    """The dtype to compute in: float32, or float64 if the tensor is stored so."""
    import torch

    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def pieces(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    """Flat views of consecutive `SLICE` elements; none of an empty tensor."""
    return tensor.reshape(-1).split(SLICE) if tensor.numel() else ()


def slices(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """The pieces of all tensors side by side, widened."""
    for parts in zip(*map(pieces, tensors), strict=True):
        yield [part.to(wide_dtype(part)) for part in parts]
