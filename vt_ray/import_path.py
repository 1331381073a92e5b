"""Functions and classes that a user adds by an import path "package.module:name", without a change to vt_ray."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def import_callable(path: str, arguments: tuple[str, ...]) -> Callable[..., Any]:
    """The function or class at `path`, which vt_ray calls with `arguments` by position.

    Raises ValueError, with the remedy, if `path` has another form, if the import fails, if the object cannot be called,
    or if its signature does not take the arguments.
    """
    found = import_object(path)
    if not callable(found):
        raise ValueError(f"{path} is a {type(found).__name__}, which cannot be called: name a function")
    try:
        signature = inspect.signature(found)
    except ValueError:  # a function of a C extension may have no signature
        return found
    try:
        signature.bind(*arguments)
    except TypeError:
        raise ValueError(
            f"{path} has the parameters ({', '.join(signature.parameters)}), but is called with "
            f"({', '.join(arguments)}): give it these parameters"
        ) from None
    return found


def import_object(path: str) -> Any:
    """The object at `path`. Raises ValueError as `import_callable` does."""
    module, _, name = path.partition(":")
    if not module or not name.isidentifier():
        raise ValueError(f"{path!r} is not of the form package.module:name")
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # the module is the user's: its import may raise anything
        raise ValueError(
            f"importing {module} failed ({type(error).__name__}: {error}): install its package on every machine, or "
            "add its folder to PYTHONPATH before Ray starts"
        ) from error
    if not hasattr(loaded, name):
        raise ValueError(f"the module {module} has no {name}: correct the name")
    return getattr(loaded, name)


def source_digests(values: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of the module file of each import path among `values`; other values, and modules that are built into
    Python and have no file, are skipped.

    A run with another version of a user's function is another run.
    """
    modules = {value: importlib.import_module(value.partition(":")[0]) for value in values if ":" in value}
    files = {value: m.__file__ for value, m in modules.items() if getattr(m, "__file__", None)}
    return {value: hashlib.sha256(Path(file).read_bytes()).hexdigest() for value, file in files.items() if file}
