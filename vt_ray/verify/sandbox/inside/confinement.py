"""The walls around the broker and around each program, for each backend.

namespaces               everything: own mounts, pids, ipc, network, users; seccomp; limits
namespaces_without_proc  the same, where the kernel does not let /proc be mounted
landlock                 Landlock, seccomp and limits: no scratch folder, no namespaces
unsandboxed              limits only
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
from dataclasses import dataclass

from vt_ray.verify.sandbox.inside import kernel, landlock, namespaces, seccomp

_SIGKILL = 9
_FIRST_PID = 1
_FIRST_SLOT_UID = 200_000_000
_NOBODY = 65_534
_OUT_OF_THE_WAY = 32
_MAX_FILE_MB = 16
_SCRATCH_MB = 32
_SCRATCH_FILES = 2_048
_MAX_OPEN_FILES = 64
_MAX_THREADS = 64
_MAX_PROCESSES_OF_USER = 4_096  # outside a user namespace every thread of the user on the machine counts
_STACK_MB = 112  # the least room that the kernel leaves below the stack, whatever the limit was at the start


@dataclass
class Walls:
    """What a backend keeps ready in the broker for each program."""

    backend: str
    pid_namespace: int = -1
    ruleset: int = -1
    program_filter: kernel.Filter | None = None

    @property
    def namespaces(self) -> bool:
        return self.backend.startswith("namespaces")

    @property
    def with_proc(self) -> bool:
        return self.backend == "namespaces"


def can_leave_root() -> bool:
    """Whether this is root with other users to become: not where a container maps root alone, to an ordinary user."""
    with open("/proc/self/uid_map") as maps:
        users = sum(int(line.split()[2]) for line in maps)
    return os.getuid() == 0 and users > 1


def leave_root() -> None:
    """Become a user that owns nothing: one for each broker where the pid is free as an id, else nobody."""
    if not can_leave_root():
        return
    os.setgroups([])
    for uid in (_FIRST_SLOT_UID + os.getpid(), _NOBODY):
        try:
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            return
        except OSError:  # not mapped in this container's user namespace
            if uid == _NOBODY:
                raise


def prefer_for_oom() -> None:
    """Where memory runs out, let the kernel take this process and its children first."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def confine_broker(backend: str, libraries: list[str]) -> Walls:
    """Put up what all programs share. Raises OSError, NotImplementedError where the machine has not got it."""
    walls = Walls(backend)
    home = namespaces.SCRATCH if walls.namespaces else "/"
    os.environ.clear()
    os.environ.update(HOME=home, TMPDIR=home)
    _limit_broker(walls)
    if backend == "unsandboxed":
        # What a program leaves behind becomes this process's child, and so can be found and killed.
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        return walls
    if not seccomp.supported():
        raise NotImplementedError(f"no system call table for {kernel.MACHINE}")
    if walls.namespaces:
        # Held so that each program can be forked into a namespace of its own: see `next_child_in_own_pids`.
        walls.pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        namespaces.enter_own_root(libraries, walls.with_proc)
        kernel.drop_bounding_set()
    else:
        walls.ruleset = landlock.prepare_ruleset(libraries)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if walls.namespaces:
        walls.program_filter = kernel.Filter(seccomp.program_filter(_FIRST_PID))
    kernel.Filter(seccomp.broker_filter(own_files=walls.namespaces)).install()
    return walls


def next_child_in_own_pids(walls: Walls) -> None:
    """The next fork makes the first process of a new pid namespace."""
    if walls.namespaces:
        # A process may unshare its pid namespace only while its children still go to its own.
        kernel.setns(walls.pid_namespace, kernel.CLONE_NEWPID)
        kernel.unshare(kernel.CLONE_NEWPID)


def confine_program(walls: Walls, descriptors: list[int], memory_mb: int, cpu_s: int) -> None:
    """In a program's process: own session, streams, limits, walls. Nothing can be taken back from here on."""
    os.setsid()
    if not walls.namespaces:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, _SIGKILL)
    if walls.backend == "landlock":
        kernel.landlock_enforce(walls.ruleset)
    _keep_only(descriptors)
    if walls.namespaces:
        namespaces.enter_fresh_namespaces(walls.with_proc, _SCRATCH_MB, _SCRATCH_FILES)
    _limit(
        {
            resource.RLIMIT_AS: memory_mb << 20,
            resource.RLIMIT_CPU: cpu_s,
            resource.RLIMIT_FSIZE: _MAX_FILE_MB << 20,
        }
    )
    if walls.backend != "unsandboxed":
        (walls.program_filter or kernel.Filter(seccomp.program_filter(os.getpid()))).install()


def _keep_only(descriptors: list[int]) -> None:
    """The given descriptors as 0, 1, 2, ..., and no other."""
    # First up and out of the way: the target of one dup2 may be the source of another.
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _OUT_OF_THE_WAY) for descriptor in descriptors]
    for target, descriptor in enumerate(high):
        os.dup2(descriptor, target)
    os.closerange(len(high), _OUT_OF_THE_WAY + _MAX_OPEN_FILES)


def _limit_broker(walls: Walls) -> None:
    """What is the same for all programs is inherited. The broker itself needs no more."""
    # Only the soft limit: programs that raise it are common, and the stack counts as memory like all else.
    stack = _STACK_MB << 20
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (stack if hard == resource.RLIM_INFINITY else min(stack, hard), hard))
    _limit(
        {
            resource.RLIMIT_NOFILE: _MAX_OPEN_FILES,
            resource.RLIMIT_NPROC: _MAX_THREADS if walls.namespaces else _MAX_PROCESSES_OF_USER,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_MEMLOCK: 0,
            resource.RLIMIT_MSGQUEUE: 0,
        }
    )


def _limit(limits: dict[int, int]) -> None:
    for name, limit in limits.items():
        hard = resource.getrlimit(name)[1]
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(name, (value, value))
