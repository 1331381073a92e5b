"""Namespaces that separate the broker from the machine, and each test's process from the broker.

    launcher --drop root, new user, pid, mount, ipc, uts, net, cgroup namespaces, fork--> broker (pid 1, own root)
    broker --new pid namespace, fork, new mount namespace, tmpfs, proc, no capabilities--> program (pid 1)

This needs no privileges, no bubblewrap and no setuid program. When the broker ends, the kernel kills all processes of
its pid namespace. When a program ends, its mounts and their files are removed.
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
# The place of packages that lie below /tmp, because /tmp is the programs' own folder in the new root.
_PACKAGES = "/packages"


def enter_user_namespace() -> None:
    """Enter new namespaces, with all rights inside and none outside. The next child is their first process."""
    uid, gid = os.getuid(), os.getgid()
    # After a change of user the process is not dumpable, so its /proc files belong to root.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    with _named("user namespaces cannot be made"):
        kernel.unshare(_NEW_WORLD)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{_INSIDE_ID} {uid} 1")
        _write("/proc/self/gid_map", f"{_INSIDE_ID} {gid} 1")
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Name the failed step in the error: it is logged together with the backend that is used instead."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{what} ({error.strerror})") from error


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def enter_own_root(libraries: Iterable[str], with_proc: bool) -> None:
    """In the broker: enter a root that holds only the interpreter's libraries and four devices, all read-only."""
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
        # The kernel allows a proc mount only if a complete one is visible: this one stays for the programs.
        with _named("a fresh /proc cannot be mounted"):
            kernel.mount("proc", f"{root}/proc", "proc", _SCRATCH_FLAGS)
    os.chdir(root)
    kernel.pivot_root(".", ".")
    kernel.detach(".")
    os.chdir("/")
    kernel.restrict_mount("/", _HELD | kernel.MS_NOEXEC, False)
    kernel.sethostname("sandbox")


def place_inside(path: str) -> str:
    """Returns the path of a library in the new root: its own path, or a folder below /packages for one below /tmp."""
    return f"{_PACKAGES}/{os.path.basename(path)}" if _within(path, "/tmp") else os.path.realpath(path)


def _within(path: str, directory: str) -> bool:
    return os.path.realpath(path).startswith(directory + "/") or path.startswith(directory + "/")


def _bring(path: str, root: str) -> None:
    """Mount the folder `path` read-only at its `place_inside` of the new root; a symbolic link stays a link."""
    real, inside = os.path.realpath(path), place_inside(path)
    if not os.path.isdir(root + inside):
        os.makedirs(root + inside)
        kernel.mount(real, root + inside, None, kernel.MS_BIND | kernel.MS_REC)
        kernel.restrict_mount(root + inside, _HELD, True)
    if path != real and inside == real and not os.path.lexists(root + path):
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(real, root + path)


def enter_fresh_namespaces(with_proc: bool, scratch_mb: int, scratch_files: int) -> None:
    """In a program's process, the first in its pid namespace: mount its own files, then drop all rights.

    The namespaces of ipc, network and host name are the broker's: the seccomp filter allows no call that uses them.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    options = f"size={scratch_mb}m,nr_inodes={scratch_files},mode=700"
    kernel.mount("tmpfs", SCRATCH, "tmpfs", _SCRATCH_FLAGS, options)
    if with_proc:
        kernel.mount("proc", "/proc", "proc", _SCRATCH_FLAGS, "subset=pid")
    os.chdir(SCRATCH)
    kernel.drop_capabilities()
