"""Finds generators that hang: Ray reports a dead process, but not a stopped one or an engine that makes no progress.

every few seconds: actor.stuck_seconds --> more than `hang_timeout_s`, or no answer for that long --> kill

The watchdog has a thread of its own, because the thread that needs the generators may be waiting for the generator that
hangs. The watchdog only kills: the pool then replaces the actor as after any other death. It cannot tell a load that
waits for a hanging learner from a generator that hangs.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import ray
from ray.exceptions import RayError

from vt_ray.actors.generator_pool import GeneratorPool
from vt_ray.actors.worker import Worker
from vt_ray.progress import console

CHECKS_PER_TIMEOUT = 20
LONGEST_INTERVAL_S = 30.0


class Watchdog:
    """Watches all ready workers of `pool` until `close`. `hang_timeout_s`: seconds."""

    def __init__(self, pool: GeneratorPool, hang_timeout_s: float):
        self._pool, self._hang_timeout_s = pool, hang_timeout_s
        # By worker id: the question that is not answered yet, and when it was asked.
        self._asked: dict[int, tuple[ray.ObjectRef[Any], float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(min(self._hang_timeout_s / CHECKS_PER_TIMEOUT, LONGEST_INTERVAL_S)):
            ready = {worker.id: worker for worker in self._pool.ready_workers()}
            for worker_id in self._asked.keys() - ready.keys():
                del self._asked[worker_id]
            for worker in ready.values():
                if self._stuck_seconds(worker) > self._hang_timeout_s:
                    self._kill(worker)

    def _stuck_seconds(self, worker: Worker) -> float:
        now = time.monotonic()
        if worker.id not in self._asked:
            self._asked[worker.id] = worker.actor.stuck_seconds.remote(), now
        answer, since = self._asked[worker.id]
        if not ray.wait([answer], timeout=0)[0]:
            return now - since
        del self._asked[worker.id]
        try:
            return float(ray.get(answer))
        except RayError:  # dead: the pool will notice
            return 0.0

    def _kill(self, worker: Worker) -> None:
        console.print(
            f"[yellow]{worker.name} made no progress for cluster.hang_timeout_s={self._hang_timeout_s:g}: it is killed "
            "and replaced[/]"
        )
        ray.kill(worker.actor)
