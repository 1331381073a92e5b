"""The command `vt-tools fuse`: checks its options, then fuses model folders into a new folder.

folders, options --refusals--> fuse into a hidden folder beside the output --rename--> output
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from vt_ray.config import ConfigError, FusionConfig
from vt_ray.spectrum_phase.fusion import fuse
from vt_ray.spectrum_phase.fusion_rules import Rule, fusion_rule, fusion_weights


def fuse_into(
    output: Path,
    models: Sequence[Path],
    settings: FusionConfig,
    base: Path | None,
    scores: Sequence[float],
    seed: int,
    shard_gb: float,
) -> None:
    """Fuse `models` into the new or empty folder `output`. `scores` is Pass@K of each model, for probe_softmax.

    If this fails, `output` does not exist or is still empty. Raises ConfigError for an option that cannot work, and
    ModelFolderError for a model that cannot be fused.
    """
    target = output.resolve()  # of a link, the folder that it names
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"--output {output} is not an empty folder: choose a new folder")
    if target == Path.cwd():
        raise ConfigError(f"--output {output} is the current folder, which cannot be replaced: choose a new folder")
    named = {str(path): path for path in models}
    if len({path.resolve() for path in models}) < len(models):
        raise ConfigError("a model is listed twice: list it once and set its share with --weights")
    if not (isfinite(shard_gb) and shard_gb * 1e9 >= 1):
        raise ConfigError(f"--shard-gb {shard_gb:g} must be above 0 and finite: 5 is usual")
    rule = fusion_rule(settings)
    _refuse_settings(settings, rule, base, len(models), scores)
    shares = fusion_weights(settings, list(named), dict(zip(named, scores, strict=False)))
    _refuse_unused(settings, rule, base, scores)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        fuse(named, shares, partial, rule, base, seed, int(shard_gb * 1e9))
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse_settings(
    settings: FusionConfig, rule: Rule, base: Path | None, models: int, scores: Sequence[float]
) -> None:
    method = settings.method
    if method == "greedy_soup":
        raise ConfigError(
            "--method greedy_soup measures each soup on probing problems: start a run with phases=[probe,fuse] "
            "spectrum.checkpoints=[...] spectrum.fusion.method=greedy_soup"
        )
    if rule.on_changes and base is None:
        raise ConfigError(f"--method {method} needs --base, the model that the others were trained from")
    if method == "probe_softmax" and (len(scores) != models or not all(0 <= score <= 1 for score in scores)):
        raise ConfigError(f"--scores must be {models} numbers in [0, 1], Pass@K of each model, for {method}")
    if not 0 < settings.density <= 1:
        raise ConfigError(f"--density {settings.density} must lie in (0, 1]: 0.5 keeps half of the changes")
    for name in ("scale", "temperature"):
        value = getattr(settings, name)
        if not (isfinite(value) and value > 0):
            raise ConfigError(f"--{name} {value} must be finite and above 0")


def _refuse_unused(settings: FusionConfig, rule: Rule, base: Path | None, scores: Sequence[float]) -> None:
    """Refuses an option that the method does not use: the result would be that of the method without the option."""
    method, plain = settings.method, FusionConfig()
    used_by = {
        "base": (base is not None, rule.needs_base, "task_arithmetic, ties, dare and functions of yours"),
        "density": (settings.density != plain.density, rule.keep is not None, "ties and dare"),
        "scale": (settings.scale != plain.scale, rule.on_changes, "task_arithmetic, ties and dare"),
        "scores": (bool(scores), method == "probe_softmax", "probe_softmax"),
        "temperature": (settings.temperature != plain.temperature, method == "probe_softmax", "probe_softmax"),
    }
    for option, (given, used, methods) in used_by.items():
        if given and not used:
            raise ConfigError(f"--{option} has no effect with --method {method}, only with {methods}: leave it out")
