"""Byte streams through the broker, which moves the bytes without reading them.

    worker's pipe --splice--> sealed file --> program        program's pipe --splice--> Stream --sendfile--> worker

Programs are forked from the broker. If a program's text or output had been in the broker's memory, a later program
could find it in its own memory.
"""

from __future__ import annotations

import fcntl
import os

from vt_ray.verify.sandbox.inside import kernel

_CHUNK_BYTES = 1 << 16
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def sealed_file(source: int, size: int) -> int:
    """Returns the next `size` bytes of a pipe as an immutable file in memory. Raises EOFError."""
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
    """Returns the text of a file and closes it."""
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, size, 0)
    os.close(descriptor)
    return data.decode("utf-8", "surrogatepass")


class Stream:
    """A pipe for the output of a program, and a file in memory that keeps at most about `cap` bytes of it.

    The stream is reused for the next program after `clear`.
    """

    def __init__(self, name: str, keep_tail: int = 0) -> None:
        self.name, self.keep_tail = name, keep_tail
        self.file = os.memfd_create(name, os.MFD_CLOEXEC)
        self.descriptor, self.size, self.cap = -1, 0, 0

    def open(self, cap: int) -> int:
        """Open a new pipe. Returns its writing end, which the caller must close."""
        self.descriptor, write = os.pipe()
        self.cap = cap
        os.set_blocking(self.descriptor, False)
        return write

    def drain(self) -> bool:
        """Take the available bytes. Returns False once all writing ends are closed."""
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
        """The number of bytes, from the end, that the worker gets."""
        return min(self.size, self.keep_tail) if self.keep_tail else self.size

    def send(self, target: int) -> None:
        offset = self.size - self.kept
        while offset < self.size:
            offset += os.sendfile(target, self.file, offset, self.size - offset)

    def clear(self) -> None:
        """Close the pipe and discard the bytes."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        if self.size:
            os.ftruncate(self.file, 0)
            os.lseek(self.file, 0, os.SEEK_SET)
        self.descriptor, self.size = -1, 0
