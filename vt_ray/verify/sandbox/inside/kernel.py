"""System calls of the sandbox for which Python has no function. Each raises OSError."""

from __future__ import annotations

import ctypes
import os
import platform

MACHINE = platform.machine()

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
PR_SET_SECCOMP, PR_CAPBSET_DROP = 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38

# These newer calls have the same number on every architecture.
_NR_MOUNT_SETATTR = 442
_NR_LANDLOCK_CREATE_RULESET, _NR_LANDLOCK_ADD_RULE, _NR_LANDLOCK_RESTRICT_SELF = 444, 445, 446
_NR_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100
_LAST_CAPABILITY = 40

# The process has one thread, so releasing the interpreter's lock around a call has no benefit.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = _libc.splice.restype = ctypes.c_long


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _syscall(number: int, *arguments: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(number), *arguments))


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags))


def setns(descriptor: int, kind: int) -> None:
    _check(_libc.setns(descriptor, kind))


def prctl(option: int, value: int = 0) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if t is None else t.encode() for t in (source, target, kind, options)]
    _check(_libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]))


def restrict_mount(path: str, attributes: int, recursive: bool) -> None:
    """Set MS_RDONLY, MS_NOSUID, ... on a mount and, if `recursive`, on all mounts below it (Linux 5.12)."""
    fields = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    _syscall(_NR_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, ctypes.byref(fields), ctypes.c_size_t(32))


def pivot_root(new: str, old: str) -> None:
    _syscall(_NR_PIVOT_ROOT[MACHINE], new.encode(), old.encode())


def detach(path: str) -> None:
    _check(_libc.umount2(path.encode(), MNT_DETACH))


def splice(source: int, target: int, size: int) -> int:
    """Move up to `size` bytes from a pipe to a file, never into this process. Blocks if the pipe does."""
    return _check(_libc.splice(source, None, target, None, ctypes.c_size_t(size), 0))


def sethostname(name: str) -> None:
    _check(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name))))


def drop_bounding_set() -> None:
    """Prevent all programs executed after this call from gaining a capability."""
    for capability in range(_LAST_CAPABILITY + 1):
        prctl(PR_CAPBSET_DROP, capability)


_CAP_HEADER = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()


def drop_capabilities() -> None:
    _check(_libc.capset(ctypes.byref(_CAP_HEADER), ctypes.byref(_NO_CAPABILITIES)))


def landlock_ruleset(attributes: bytes) -> int:
    return _syscall(_NR_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)


def landlock_abi() -> int:
    """Returns the kernel's Landlock version, 0 without Landlock."""
    try:
        return _syscall(_NR_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    except OSError:
        return 0


def landlock_add_path(ruleset: int, rule: bytes) -> None:
    _syscall(_NR_LANDLOCK_ADD_RULE, ruleset, 1, rule, 0)


def landlock_enforce(ruleset: int) -> None:
    _syscall(_NR_LANDLOCK_RESTRICT_SELF, ruleset, 0)


class Filter:
    """A seccomp filter from packed sock_filter records."""

    class _Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    def __init__(self, records: bytes) -> None:
        self._code = ctypes.create_string_buffer(records, len(records))
        self._program = self._Program(len(records) // 8, ctypes.addressof(self._code))
        self._pointer = ctypes.c_ulong(ctypes.addressof(self._program))

    def install(self) -> None:
        """Install the filter in this process, in addition to existing filters. It cannot be removed."""
        _check(_libc.prctl(PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._pointer, 0, 0))


_SECCOMP_MODE_FILTER = ctypes.c_ulong(2)
