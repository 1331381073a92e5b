"""What a run is: the settings that another command must share to continue in its folder.

Config --settings--> (dotted key, value, default) --but NOT_IDENTITY--> identity --differing--> words for an error
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from vt_ray.config import Config, digest

# Settings that change neither the objective nor the data nor the order of chance: where a run lies and runs, memory,
# time, checkpoints, and where figures are sent. They may change when a run continues. A name stands for all settings
# below it; a list's index is left out. Every other setting is part of what a run is.
NOT_IDENTITY = (
    "run_name",
    "runs_dir",
    "dry_run",
    "tracking",
    "cluster",
    "learner",
    "model.attention",
    "model.gradient_checkpointing",
    "model.parameters_b",
    "signal.checkpoint_every",
    "signal.keep_checkpoints",
    "signal.sync",
    "verify.sandbox",
)


def settings(config: Config) -> Iterator[tuple[str, Any, Any]]:
    """Every setting as (dotted key, value, default): ("curriculum.stages.0.gate.window", 8, 5). A list of sections has
    its members by index, and under its own key the first field of each (a stage's name, a file's path)."""
    return _settings(config, type(config)(), "")


def _settings(section: Any, usual: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    for name in (f.name for f in fields(section)):
        key, value, default = prefix + name, getattr(section, name), getattr(usual, name)
        if is_dataclass(value):
            yield from _settings(value, default, f"{key}.")
        elif isinstance(value, list) and any(map(is_dataclass, value)):
            yield key, [next(iter(vars(item).values())) for item in value], []
            for index, item in enumerate(value):
                yield from _settings(item, type(item)(), f"{key}.{index}.")
        else:
            yield key, value, default


def is_identity(key: str) -> bool:
    """Whether the setting is part of what a run is."""
    plain = ".".join(part for part in key.split(".") if not part.isdigit())
    return not any(f"{plain}.".startswith(f"{name}.") for name in NOT_IDENTITY)


def identity(config: Config, *names: str) -> dict[str, Any]:
    """The settings that are part of what the run is, by dotted key; with `names`, those of these sections or keys."""
    chosen = tuple(f"{name}." for name in names) or ("",)
    return {key: value for key, value, _ in settings(config) if is_identity(key) and f"{key}.".startswith(chosen)}


def differing(known: Mapping[str, Any], now: Mapping[str, Any], config: Config) -> list[str]:
    """The differences between two mappings of settings, in words; settings outside of the identity are passed over.

    A key that one of them lacks counts as its default: a setting added to the code leaves older runs what they were. A
    default that was changed in the code is a difference, since `known` and `now` hold defaults too.
    """
    defaults = {key: default for key, _, default in settings(config)}
    found = []
    for key in sorted(filter(is_identity, known.keys() | now.keys())):
        before, after = (values.get(key, defaults.get(key, "unknown")) for values in (known, now))
        if before != after:
            found.append(f"{key} was {before}, is {after}")
    return found


def config_hash(config: Config) -> str:
    """The hash of what a run is: every setting of its identity that differs from its default."""
    return digest({key: value for key, value, default in settings(config) if is_identity(key) and value != default})
