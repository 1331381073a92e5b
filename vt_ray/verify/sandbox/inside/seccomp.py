"""The allowed system calls, as two filters that the kernel runs before each call.

    broker filter, once:      foreign architecture or x32 --> kill     not named in syscalls.py --> ENOSYS
    program filter, per test: calls that only the broker needs, other processes, new processes --> EPERM

All processes of the sandbox inherit the first filter. The second is short, because each program installs it again.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable

from vt_ray.verify.sandbox.inside.kernel import MACHINE
from vt_ray.verify.sandbox.inside.syscalls import ALLOWED, BROKER_ONLY, CHECKED, DENIED

Instruction = tuple[int, int, int, int]

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32_BIT = 0x40000000

_LOAD, _AND, _JUMP_IF_EQUAL, _JUMP_IF_GREATER, _JUMP_IF_NOT_LESS, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_ALLOW: Instruction = (_RETURN, 0, 0, 0x7FFF0000)
_KILL: Instruction = (_RETURN, 0, 0, 0x80000000)

_CLONE_THREAD = 0x00010000
_CLONE_NEW_ANY = 0x7E020000
_AF_UNIX, _SOCK_STREAM = 1, 1
# Terminal queries, bytes ready to read, close-on-exec, non-blocking. Not TIOCSTI, which types into a terminal.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# Duplicates, flags, locks, sizes and seals. Not F_SETOWN, which sends signals, nor F_SETPIPE_SZ.
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1033, 1034)
_PRCTLS = (15, 16)  # a thread's name
# Calls that change a file without opening it: Landlock does not check these.
_CHANGES = {"chmod", "fchmod", "fchmodat", "utime", "utimes", "futimesat", "utimensat", "truncate"}


def supported() -> bool:
    return MACHINE in _ARCHITECTURES


def broker_filter(own_files: bool) -> bytes:
    """Returns the filter for the broker, installed before the first program.

    `own_files` is True if a program can write only its own files, in a mount that ends with the program.
    """
    column, architecture = _ARCHITECTURES[MACHINE]
    whole = ALLOWED.keys() - (set() if own_files else _CHANGES) | BROKER_ONLY.keys() | _checks_for_programs(0).keys()
    numbers = ALLOWED | CHECKED | BROKER_ONLY
    instructions: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        _KILL,
        (_LOAD, 0, 0, _NUMBER),
    ]
    if MACHINE == "x86_64":
        instructions += [(_JUMP_IF_NOT_LESS, 0, 1, _X32_BIT), _KILL]
    for first, last in _runs(number for name in whole if (number := numbers[name][column]) is not None):
        instructions += [(_JUMP_IF_NOT_LESS, 0, 2, first), (_JUMP_IF_GREATER, 1, 0, last), _ALLOW]
    instructions += _checks(column, _checks_for_all())
    for pair in DENIED.values():
        instructions += _if_number(pair[column], [_error(errno.EPERM)])
    return _pack([*instructions, _error(errno.ENOSYS)])


def program_filter(pid: int) -> bytes:
    """Returns the additional filter for a program with this pid, in its namespace. It may signal only itself."""
    column, _ = _ARCHITECTURES[MACHINE]
    instructions: list[Instruction] = [(_LOAD, 0, 0, _NUMBER)]
    for pair in BROKER_ONLY.values():
        instructions += _if_number(pair[column], [_error(errno.EPERM)])
    return _pack([*instructions, *_checks(column, _checks_for_programs(pid)), _ALLOW])


def _checks_for_programs(pid: int) -> dict[str, list[Instruction]]:
    threads_only = _CLONE_THREAD | _CLONE_NEW_ANY
    return {
        "clone": [_argument(0), (_AND, 0, 0, threads_only), *_if_in((_CLONE_THREAD,), errno.EPERM)],
        "kill": [_argument(0), *_if_in((pid,), errno.EPERM)],
        "tgkill": [_argument(0), *_if_in((pid,), errno.EPERM)],
        "prctl": [_argument(0), *_if_in(_PRCTLS, errno.EPERM)],
    }


def _checks_for_all() -> dict[str, list[Instruction]]:
    return {
        "prlimit64": [_argument(0), *_if_in((0,), errno.EPERM)],
        "ioctl": [_argument(1), *_if_in(_IOCTLS, errno.ENOTTY)],
        "fcntl": [_argument(1), *_if_in(_FCNTLS, errno.EPERM)],
        # asyncio uses such a pair to wake its loop. It has no address, and no other socket can be made.
        "socketpair": [
            _argument(0),
            (_JUMP_IF_EQUAL, 1, 0, _AF_UNIX),
            _error(errno.EPERM),
            _argument(1),
            (_AND, 0, 0, 0xF),
            *_if_in((_SOCK_STREAM,), errno.EPERM),
        ],
        "sendto": [
            _argument(4),
            (_JUMP_IF_EQUAL, 1, 0, 0),
            _error(errno.EPERM),
            _argument(4, high=True),
            *_if_in((0,), errno.EPERM),
        ],
    }


def _checks(column: int, bodies: dict[str, list[Instruction]]) -> list[Instruction]:
    """Returns the checks by system call number. Each body ends the filter."""
    return [i for name, body in bodies.items() for i in _if_number(CHECKED[name][column], body)]


def _if_number(number: int | None, body: list[Instruction]) -> list[Instruction]:
    return [] if number is None else [(_JUMP_IF_EQUAL, 0, len(body), number), *body]


def _pack(instructions: list[Instruction]) -> bytes:
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def _argument(index: int, high: bool = False) -> Instruction:
    """Load one half of an argument. The kernel uses only the low half, except for addresses."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index + (4 if high else 0))


def _if_in(values: tuple[int, ...], otherwise: int) -> list[Instruction]:
    tests = [(_JUMP_IF_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [*tests, _error(otherwise), _ALLOW]


def _error(number: int) -> Instruction:
    return (_RETURN, 0, 0, 0x00050000 | number)


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Returns (first, last) of each run of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
