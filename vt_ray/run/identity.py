"""The identity of a run: the settings that a command must repeat to continue in its folder.

Config --settings--> (dotted key, value, default) --without NOT_IDENTITY--> identity --differing--> error text
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any

from vt_ray.config import Config, digest

# Settings that change neither the objective nor the data nor the random draws: paths, hardware, memory, time,
# checkpoints and tracking. They may change when a run continues. A name covers all settings below it, and list indices
# are ignored. All other settings are part of the identity.
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
    "signal.control_sft_like",
    "spectrum.sft.keep",
    "signal.checkpoint_every",
    "signal.keep_checkpoints",
    "signal.evaluate_every",
    "signal.save_hf_every",
    "signal.keep_hf",
    "signal.sync",
    "verify.sandbox",
)
# Settings and sections below a name of NOT_IDENTITY that change the samples or the updates all the same.
IDENTITY_EXCEPTIONS = ("cluster.generation_engine", "cluster.engine_args", "learner.lora")


def settings(config: Config) -> Iterator[tuple[str, Any, Any]]:
    """All settings as (dotted key, value, default), for example ("curriculum.stages.0.gate.window", 8, 5).

    The members of a list of sections are keyed by index. The key of the list itself has the first field of each member
    (the name of a stage, the path of a file).
    """
    return _settings(config, type(config)(), "")


def _settings(section: Any, defaults: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    for name in (f.name for f in fields(section)):
        key, value, default = prefix + name, getattr(section, name), getattr(defaults, name)
        if is_dataclass(value):
            yield from _settings(value, default, f"{key}.")
        elif isinstance(value, list) and any(map(is_dataclass, value)):
            yield key, [next(iter(vars(item).values())) for item in value], []
            for index, item in enumerate(value):
                yield from _settings(item, type(item)(), f"{key}.{index}.")
        else:
            yield key, value, default


def is_identity(key: str) -> bool:
    """Whether the setting is part of a run's identity."""
    plain = ".".join(part for part in key.split(".") if not part.isdigit())
    return _within(plain, IDENTITY_EXCEPTIONS) or not _within(plain, NOT_IDENTITY)


def _within(key: str, names: Iterable[str]) -> bool:
    return any(f"{key}.".startswith(f"{name}.") for name in names)


def identity(config: Config, *names: str) -> dict[str, Any]:
    """The settings of the identity by dotted key; with `names`, only the settings of these sections or keys."""
    chosen = tuple(f"{name}." for name in names) or ("",)
    return {key: value for key, value, _ in settings(config) if is_identity(key) and f"{key}.".startswith(chosen)}


def differing(known: Mapping[str, Any], now: Mapping[str, Any], config: Config) -> list[str]:
    """The differences between two mappings of settings, as text; settings outside the identity are ignored.

    A missing key counts as the default: a setting that is new in the code does not change older runs. A default that
    changed in the code is a difference, because both mappings contain the default values.
    """
    known = _in_new_names(known)
    defaults = {key: default for key, _, default in settings(config)}
    found = []
    for key in sorted(filter(is_identity, known.keys() | now.keys())):
        before, after = (values.get(key, defaults.get(key, "unknown")) for values in (known, now))
        if before != after:
            found.append(f"{key} was {before}, is {after}")
    return found


def _in_new_names(known: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of an older run, in which `signal.mgpo.importance` was one number: the cap, or 0 for none."""
    old, new = "signal.mgpo.importance_cap", "signal.mgpo.importance"
    if old not in known:
        return known
    values = {f"{new}.{name}": value for name, value in importance_of_cap(known[old]).items()}
    return {key: value for key, value in known.items() if key != old} | values


def rename_importance(mgpo: MutableMapping[str, Any]) -> None:
    """Changes the section `signal.mgpo` of an older run's config to the present names."""
    if "importance_cap" in mgpo:
        mgpo["importance"] = importance_of_cap(mgpo.pop("importance_cap"))


def importance_of_cap(cap: float | None) -> dict[str, Any]:
    """The section `signal.mgpo.importance` that acts as an older run's cap."""
    return {"kind": "truncate" if cap else "none", "low": 0.0, "high": cap}


def config_hash(config: Config) -> str:
    """The hash of all identity settings that differ from their defaults."""
    return digest({key: value for key, value, default in settings(config) if is_identity(key) and value != default})
