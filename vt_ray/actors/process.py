"""Settings of a whole process: an actor's log and visible GPUs, the driver's handler of SIGTERM."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray

# Constants of <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Makes glibc keep large blocks of freed memory. It returns them to the kernel by default, and the page faults of
    the next allocation take a quarter of the time of SmolLM2's updates, and of its loads into vLLM, on a CPU."""
    with suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def begin_process(log: Path) -> None:
    """Appends stdout and stderr of this process to `log`, also those of its C++ libraries.

    An actor that asks for no GPU sees no GPU: PyTorch and DeepSpeed would take NCCL and the first GPU, which belongs to
    another actor. A Ray that was started elsewhere may not hide GPUs itself.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    if not ray.get_runtime_context().get_accelerator_ids().get("GPU"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@contextmanager
def own_sigterm_handler() -> Iterator[None]:
    """Restores the driver's handler of SIGTERM after `ray.init`, which installs another one.

    Ray's handler raises SystemExit; inside a call of Ray that ends the process with SIGABRT. The driver's handler
    raises KeyboardInterrupt, which does not.
    """
    handler: Any = signal.getsignal(signal.SIGTERM)
    mine = callable(handler) and threading.current_thread() is threading.main_thread()
    try:
        yield
    except SystemExit:
        # Raised by Ray's handler: the signal came during `ray.init`.
        if mine:
            handler(signal.SIGTERM, None)
        raise
    finally:
        if mine and signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
            signal.signal(signal.SIGTERM, handler)
