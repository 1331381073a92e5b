"""What every actor does first: its output goes to a file in the run folder, and GPUs it did not ask for are hidden."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ray


def begin_process(log: Path) -> None:
    """Append this process's stdout and stderr, also those of its C++ libraries, to `log`: the user's screen is not for
    them. An actor without a GPU sees none: PyTorch and DeepSpeed would take NCCL and the first GPU, which is another
    actor's. A Ray that was started elsewhere does not hide GPUs by itself."""
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    if not ray.get_runtime_context().get_accelerator_ids().get("GPU"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
