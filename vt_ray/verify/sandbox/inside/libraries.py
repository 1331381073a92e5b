"""The folders of the interpreter's standard library, the only folders that a program can see."""

from __future__ import annotations

import os
import re
import sys

_LOADER_DEFAULTS = ("/lib64", "/usr/lib64", "/lib/{0}-linux-gnu", "/usr/lib/{0}-linux-gnu")
_SHARED_LIBRARY = re.compile(r"(/\S+)/[^/\s]+\.so[.\d]*$", re.MULTILINE)


def interpreter_libraries() -> list[str]:
    """Returns absolute paths, parent folders first."""
    found = {os.path.dirname(os.__file__)}
    found.update(path.format(os.uname().machine) for path in _LOADER_DEFAULTS)
    if sys.base_prefix != "/usr":
        found.add(f"{sys.base_prefix}/lib")
    with open("/proc/self/maps") as maps:
        found.update(_SHARED_LIBRARY.findall(maps.read()))
    return sorted(path for path in found if os.path.isdir(path))


def package_folders(package: str) -> list[str]:
    """Returns the folder of a package and the folder of the shared libraries that its wheel brings, if they exist."""
    return [path for path in (package, f"{package}.libs") if package and os.path.isdir(path)]
