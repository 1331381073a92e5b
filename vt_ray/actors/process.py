"""Settings of a whole process: an actor's output, the GPUs that it sees, the driver's handler of SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray


def begin_process(log: Path) -> None:
    """Append this process's stdout and stderr, also those of its C++ libraries, to `log`: the user's screen stays
    free of them. An actor that asks for no GPU sees none: PyTorch and DeepSpeed would take NCCL and the first GPU,
    which belongs to another actor. A Ray that was started elsewhere does not hide GPUs by itself."""
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
    """Keep the driver's handler of SIGTERM over `ray.init`. Ray installs handlers of its own, whose SystemExit inside a
    call of Ray ends the process by SIGABRT; the driver's KeyboardInterrupt does not."""
    handler = signal.getsignal(signal.SIGTERM)
    mine = callable(handler) and threading.current_thread() is threading.main_thread()
    try:
        yield
    except SystemExit:
        # From Ray's handler: the signal came while Ray was starting.
        if mine:
            handler(signal.SIGTERM, None)
        raise
    finally:
        if mine and signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
            signal.signal(signal.SIGTERM, handler)
