"""Functions that a user adds by import path, without a change to vt_ray (docs/extending.md).

setting "package.module:function" --import--> function      its module's file --SHA-256--> part of the run's identity
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vt_ray.config import ConfigError

FORM = "package.module:function"


def extension(
    key: str, value: str, own: Mapping[str, Callable[..., Any]], arguments: tuple[str, ...]
) -> Callable[..., Any]:
    """The function that the setting `key` names: one of vt_ray's `own` by its name there, or an import path.

    `arguments` are the names of the positional arguments that vt_ray passes. Raises ConfigError if `value` is neither,
    if the function cannot be imported, or if it does not take the arguments.
    """
    if value in own:
        return own[value]
    if ":" not in value:
        raise ConfigError(f"{key}={value!r} must be one of {', '.join(own)}, or an import path like {FORM}")
    function = load_object(key, value)
    if not callable(function):
        raise ConfigError(f"{key}={value!r} is a {type(function).__name__}, not a function: name a function")
    if not _takes(function, len(arguments)):
        raise ConfigError(
            f"{key}={value!r} has the signature {inspect.signature(function)}, but is called with "
            f"({', '.join(arguments)}): give it these positional arguments"
        )
    return function


def load_object(key: str, value: str) -> Any:
    """The object at the import path `value` of the setting `key`. Raises ConfigError with the reason if it fails."""
    module, _, name = value.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # the user's module may raise anything
        raise ConfigError(
            f"{key}={value!r} cannot be imported as {FORM} ({type(error).__name__}: {error}): install the package in "
            "the environment of every machine, or add its folder to PYTHONPATH before Ray starts"
        ) from error


def extension_files(values: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of the source file of each import path among `values`: a run with another loss is another run."""
    found = {}
    for value in values:
        if ":" in value:
            file = importlib.import_module(value.partition(":")[0]).__file__
            found[value] = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else "no source file"
    return found


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a function of a C extension does not tell its signature
        return True
    return True
