"""Landlock: a program may read the interpreter's libraries and four devices, and write no file.

Needs no privilege and no namespace (Linux 5.13). There is no scratch folder: without its own mount, the number of files
in it would not be bounded.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable

from vt_ray.verify.sandbox.inside import kernel

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_WRITE_FILE = 1 << 1
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
# All file rights of each Landlock version: a right that is handled and not granted is denied.
_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_ABI, _SCOPE_ABI = 4, 6
_TCP_BIND_AND_CONNECT = 3
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 3


def prepare_ruleset(libraries: Iterable[str]) -> int:
    """Returns the descriptor of a ruleset, to be enforced in each child. Raises OSError without Landlock."""
    abi = kernel.landlock_abi()
    if abi < 1:
        raise OSError("this kernel has no Landlock, or it is switched off")
    attributes = [_RIGHTS_BY_ABI[min(abi, 5)]]
    if abi >= _NET_ABI:
        attributes.append(_TCP_BIND_AND_CONNECT)
    if abi >= _SCOPE_ABI:
        attributes.append(_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS)
    ruleset = kernel.landlock_ruleset(struct.pack(f"{len(attributes)}Q", *attributes))
    for path in libraries:
        _allow(ruleset, path, _READ_FILE | _READ_DIR)
    for path in _DEVICES:
        _allow(ruleset, path, _READ_FILE | _WRITE_FILE)
    return ruleset


def _allow(ruleset: int, path: str, rights: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        kernel.landlock_add_path(ruleset, struct.pack("=Qi", rights, descriptor))
        os.close(descriptor)
