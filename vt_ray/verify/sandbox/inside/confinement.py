"""The confinement of the broker and of each program, by backend.

namespaces               everything: own mounts, pids, ipc, network, users; seccomp; limits
namespaces_without_proc  the same, if the kernel does not allow to mount /proc
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
_MAX_PROCESSES_OF_USER = 4_096  # outside a user namespace, all threads of the user on the machine count
_STACK_MB = 112  # the kernel reserves at least this much below the stack


@dataclass
class SandboxSetup:
    """The prepared parts of a backend in the broker, used for each program."""

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
    """Whether this is root that can become another user. It cannot if a container maps only root."""
    with open("/proc/self/uid_map") as maps:
        users = sum(int(line.split()[2]) for line in maps)
    return os.getuid() == 0 and users > 1


def leave_root() -> None:
    """Become a user without files: a separate user for each broker if its pid is free as a user id, else `nobody`."""
    if not can_leave_root():
        return
    os.setgroups([])
    for uid in (_FIRST_SLOT_UID + os.getpid(), _NOBODY):
        try:
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            return
        except OSError:  # the id is not mapped in the container's user namespace
            if uid == _NOBODY:
                raise


def prefer_for_oom() -> None:
    """If memory runs out, let the kernel kill this process and its children first."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def confine_broker(backend: str, libraries: list[str]) -> SandboxSetup:
    """Set up the parts that all programs share. Raises OSError or NotImplementedError if the machine lacks them."""
    setup = SandboxSetup(backend)
    home = namespaces.SCRATCH if setup.namespaces else "/"
    os.environ.clear()
    os.environ.update(HOME=home, TMPDIR=home)
    _limit_broker(setup)
    if backend == "unsandboxed":
        # Processes that a program leaves behind become children of this process, which can find and kill them.
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        return setup
    if not seccomp.supported():
        raise NotImplementedError(f"no system call table for {kernel.MACHINE}")
    if setup.namespaces:
        # Kept open so that each program can be forked into its own namespace: see `next_child_in_own_pids`.
        setup.pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        namespaces.enter_own_root(libraries, setup.with_proc)
        kernel.drop_bounding_set()
    else:
        setup.ruleset = landlock.prepare_ruleset(libraries)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if setup.namespaces:
        setup.program_filter = kernel.Filter(seccomp.program_filter(_FIRST_PID))
    kernel.Filter(seccomp.broker_filter(own_files=setup.namespaces)).install()
    return setup


def next_child_in_own_pids(setup: SandboxSetup) -> None:
    """Make the next fork create the first process of a new pid namespace."""
    if setup.namespaces:
        # A process may unshare its pid namespace only while its children are created in its own namespace.
        kernel.setns(setup.pid_namespace, kernel.CLONE_NEWPID)
        kernel.unshare(kernel.CLONE_NEWPID)


def confine_program(setup: SandboxSetup, descriptors: list[int], memory_mb: int, cpu_s: int) -> None:
    """In a program's process: set its session, streams, limits and confinement. None of it can be undone."""
    os.setsid()
    if not setup.namespaces:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, _SIGKILL)
    if setup.backend == "landlock":
        kernel.landlock_enforce(setup.ruleset)
    _keep_only(descriptors)
    if setup.namespaces:
        namespaces.enter_fresh_namespaces(setup.with_proc, _SCRATCH_MB, _SCRATCH_FILES)
    _limit(
        {
            resource.RLIMIT_AS: memory_mb << 20,
            resource.RLIMIT_CPU: cpu_s,
            resource.RLIMIT_FSIZE: _MAX_FILE_MB << 20,
        }
    )
    if setup.backend != "unsandboxed":
        (setup.program_filter or kernel.Filter(seccomp.program_filter(os.getpid()))).install()


def _keep_only(descriptors: list[int]) -> None:
    """Make the given descriptors 0, 1, 2, ... and close all others."""
    # Move them to higher numbers first: the target of one dup2 may be the source of another.
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _OUT_OF_THE_WAY) for descriptor in descriptors]
    for target, descriptor in enumerate(high):
        os.dup2(descriptor, target)
    os.closerange(len(high), _OUT_OF_THE_WAY + _MAX_OPEN_FILES)


def _limit_broker(setup: SandboxSetup) -> None:
    """Set the limits that all programs inherit. The broker itself stays below them."""
    # Only the soft limit: many programs raise it, and the stack counts as memory in any case.
    stack = _STACK_MB << 20
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (stack if hard == resource.RLIM_INFINITY else min(stack, hard), hard))
    _limit(
        {
            resource.RLIMIT_NOFILE: _MAX_OPEN_FILES,
            resource.RLIMIT_NPROC: _MAX_THREADS if setup.namespaces else _MAX_PROCESSES_OF_USER,
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
