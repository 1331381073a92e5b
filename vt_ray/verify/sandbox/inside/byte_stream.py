"""Bytes on their way through the broker, which it moves and never reads.

    worker's pipe --splice--> sealed file --> program        program's pipe --splice--> Stream --sendfile--> worker

Programs are forked from the broker. What had once been in its memory, another program's text or output, a later
one could find in its own.
"""

from __future__ import annotations

import fcntl
import os

from vt_ray.verify.sandbox.inside import kernel

_CHUNK_BYTES = 1 << 16
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def sealed_file(source: int, size: int) -> int:
    """The next `size` bytes of a pipe as a file in memory that nobody can change. Raises EOFError."""
    file = os.memfd_create("payload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    left = size
    while left:
        moved = kernel.splice(source, file, left)
        if not moved:
            os.close(file)
            raise EOFError
        left -= moved
    os.lseek(file, 0, os.SEEK_SET)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    return file


def read_whole(descriptor: int) -> str:
    """The text of a file, which is closed."""
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, size, 0)
    os.close(descriptor)
    return data.decode("utf-8", "surrogatepass")


class Stream:
    """A pipe that a program writes into, and a file in memory that takes at most about `cap` bytes of it.

    Used again for the next program, after `clear`.
    """

    def __init__(self, name: str, keep_tail: int = 0) -> None:
        self.name, self.keep_tail = name, keep_tail
        self.file = os.memfd_create(name, os.MFD_CLOEXEC)
        self.descriptor, self.size, self.cap = -1, 0, 0

    def open(self, cap: int) -> int:
        """A new pipe. Returns its writing end, whose owner is the caller."""
        self.descriptor, write = os.pipe()
        self.cap = cap
        os.set_blocking(self.descriptor, False)
        return write

    def drain(self) -> bool:
        """Take what is there now. False once the other end is closed by all."""
        while self.size <= self.cap:
            try:
                moved = kernel.splice(self.descriptor, self.file, _CHUNK_BYTES)
            except BlockingIOError:
                return True
            if not moved:
                return False
            self.size += moved
        return True

    @property
    def kept(self) -> int:
        """How many of the bytes, the last ones, are for the worker."""
        return min(self.size, self.keep_tail) if self.keep_tail else self.size

    def send(self, target: int) -> None:
        offset = self.size - self.kept
        while offset < self.size:
            offset += os.sendfile(target, self.file, offset, self.size - offset)

    def clear(self) -> None:
        """Close the pipe and forget the bytes."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        if self.size:
            os.ftruncate(self.file, 0)
            os.lseek(self.file, 0, os.SEEK_SET)
        self.descriptor, self.size = -1, 0
