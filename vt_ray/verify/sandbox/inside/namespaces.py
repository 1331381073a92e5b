"""Namespaces: a broker that sees nothing of the machine, and for each test a process that sees nothing of the broker.

    launcher --drop root, new user, pid, mount, ipc, uts, net, cgroup namespaces, fork--> broker (pid 1, own root)
    broker --new pid namespace, fork, new mount namespace, tmpfs, proc, no capabilities--> program (pid 1)

Nothing here needs privileges, bubblewrap or a setuid program. When the broker ends, the kernel ends all in its pid
namespace; when a program ends, its files are gone with its mounts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from vt_ray.verify.sandbox.inside import kernel

SCRATCH = "/box"
_INSIDE_ID = 1000
_NEW_WORLD = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWCGROUP
)
_DEVICES = ("null", "zero", "random", "urandom")
_ROOT_OPTIONS = "size=256k,nr_inodes=512,mode=755"
_HELD = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
_SCRATCH_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
_MOUNT_POINTS = ("/tmp", "/mnt", "/opt", "/var", "/home")


def enter_user_namespace() -> None:
    """Become the owner of a new world, with all rights in it and none outside. The next child is its first process."""
    uid, gid = os.getuid(), os.getgid()
    # A change of user has made the process undumpable, which makes its /proc files root's.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    with _named("user namespaces cannot be made"):
        kernel.unshare(_NEW_WORLD)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{_INSIDE_ID} {uid} 1")
        _write("/proc/self/gid_map", f"{_INSIDE_ID} {gid} 1")
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Say in plain words what was tried: the backend that is taken instead is logged with it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{what} ({error.strerror})") from error


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def enter_own_root(libraries: Iterable[str], with_proc: bool) -> None:
    """In the broker: a root of the interpreter's libraries and four devices, all read-only, and nothing else."""
    libraries = list(libraries)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    root = next(p for p in _MOUNT_POINTS if os.path.isdir(p) and not any(_within(path, p) for path in libraries))
    kernel.mount("tmpfs", root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, _ROOT_OPTIONS)
    for path in libraries:
        _bring(path, root)
    os.mkdir(f"{root}/dev")
    for name in _DEVICES:
        open(f"{root}/dev/{name}", "w").close()
        kernel.mount(f"/dev/{name}", f"{root}/dev/{name}", None, kernel.MS_BIND)
        kernel.restrict_mount(f"{root}/dev/{name}", kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NOEXEC, False)
    for directory in (SCRATCH, "/proc"):
        os.mkdir(root + directory)
    os.symlink(SCRATCH, f"{root}/tmp")
    if with_proc:
        for stream, target in (("stdin", 0), ("stdout", 1), ("stderr", 2), ("fd", "")):
            os.symlink(f"/proc/self/fd/{target}".rstrip("/"), f"{root}/dev/{stream}")
        # The kernel lets a process mount a proc only where it sees a whole one already: it stays below the programs'.
        with _named("a fresh /proc cannot be mounted"):
            kernel.mount("proc", f"{root}/proc", "proc", _SCRATCH_FLAGS)
    os.chdir(root)
    kernel.pivot_root(".", ".")
    kernel.detach(".")
    os.chdir("/")
    kernel.restrict_mount("/", _HELD | kernel.MS_NOEXEC, False)
    kernel.sethostname("sandbox")


def _within(path: str, directory: str) -> bool:
    return os.path.realpath(path).startswith(directory + "/") or path.startswith(directory + "/")


def _bring(path: str, root: str) -> None:
    """The folder at `path`, read-only at the same place in the new root; a link where it is one."""
    real = os.path.realpath(path)
    if not os.path.isdir(root + real):
        os.makedirs(root + real)
        kernel.mount(real, root + real, None, kernel.MS_BIND | kernel.MS_REC)
        kernel.restrict_mount(root + real, _HELD, True)
    if path != real and not os.path.lexists(root + path):
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(real, root + path)


def enter_fresh_namespaces(with_proc: bool, scratch_mb: int, scratch_files: int) -> None:
    """In a program's process, already first in its pid namespace: own mounts, then no rights at all.

    Ipc, network and host name stay the broker's: the filter leaves no call that reaches them.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    options = f"size={scratch_mb}m,nr_inodes={scratch_files},mode=700"
    kernel.mount("tmpfs", SCRATCH, "tmpfs", _SCRATCH_FLAGS, options)
    if with_proc:
        kernel.mount("proc", "/proc", "proc", _SCRATCH_FLAGS, "subset=pid")
    os.chdir(SCRATCH)
    kernel.drop_capabilities()
