"""Groups of probing problems in place of their subdomains: `spectrum.probe.groups`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vt_ray.config import ConfigError, SpectrumConfig
from vt_ray.records import Problem
from vt_ray.spectrum_phase.fusion_rules import fusion_weights


def grouped(problems: Sequence[Problem], groups: Mapping[str, str]) -> list[Problem]:
    """The problems with their group as subdomain. A problem without a group keeps its subdomain."""
    return [replace(p, subdomain=_group(p, groups)) for p in problems]


def refuse_unusable_groups(problems: Sequence[Problem], spectrum: SpectrumConfig) -> None:
    """Raises ConfigError for a key of the groups that is neither a family nor a subdomain of the probing problems, and
    for fusion weights of another number than the groups."""
    groups = spectrum.probe.groups
    known = {name for p in problems for name in _names(p)}
    if unknown := [name for name in groups if name not in known]:
        raise ConfigError(
            f"spectrum.probe.groups has the key {unknown[0]!r}, which is no family and no subdomain of the probing "
            f"problems: choose from {', '.join(sorted(known))}"
        )
    if groups:
        fusion_weights(spectrum.fusion, sorted({_group(p, groups) for p in problems}))


def _group(problem: Problem, groups: Mapping[str, str]) -> str:
    return next((groups[name] for name in _names(problem) if name in groups), problem.subdomain)


def _names(problem: Problem) -> list[str]:
    """The family of a generated problem, and the subdomain: `linear`, `algebra` for algebra/linear/3_4_19."""
    family = problem.question_id.split("/")[1:2] if problem.source == "builtin" else []
    return [*family, problem.subdomain]
