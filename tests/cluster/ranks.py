"""Learner ranks without a run: actors that call functions of the tests, joined by a process group.

A start costs seconds (PyTorch and DeepSpeed are imported), so all tests of this folder share three ranks.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import ray
import torch
from ray import cloudpickle

from vt_ray.engines.deepspeed_process import init_process_group
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.training import TrainingEngine

# Ray's workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@ray.remote(num_cpus=0.1)
class Rank:
    def __init__(self, rank: int, world_size: int, port: int):
        torch.set_num_threads(1)
        init_process_group(rank, world_size, "127.0.0.1", port)
        self.engine: TrainingEngine | None = None

    def call(self, function: Callable, *arguments) -> Any:
        return function(*arguments)

    def open(self, spec: LearnerSpec) -> None:
        """Opens an engine for `call_with_engine`. It stays open until `close`."""
        self.engine = TrainingEngine(spec)

    def call_with_engine(self, function: Callable, *arguments) -> Any:
        return function(self.engine, *arguments)

    def close(self) -> None:
        self.engine.close()
        self.engine = None


@contextmanager
def open_ranks(world_size: int):
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    ranks = [Rank.remote(rank, world_size, port) for rank in range(world_size)]
    try:
        yield ranks
    finally:
        for rank in ranks:
            ray.kill(rank)
