"""Generators that hang: a stopped process, or an engine stuck in one piece of work, is no loss to Ray.

every few seconds: actor.stuck_seconds --> for longer than `hang_timeout_s`, or no answer for so long --> killed

A thread of its own, as whoever needs the generators may be waiting for the very one that hangs. It kills and no more:
the loss is then noticed, and made good, as any other. A load that waits for a learner that hangs looks the same.
"""

from __future__ import annotations

import threading
import time

import ray
from ray.exceptions import RayError

from vt_ray.actors.generator_pool import GeneratorSeats, Seat
from vt_ray.progress import console

LOOKS_A_TIMEOUT = 20
SLOWEST_S = 30.0


class Watchdog:
    """Watches all that serve in `seats`, until it is closed. `hang_timeout_s`: seconds."""

    def __init__(self, seats: GeneratorSeats, hang_timeout_s: float):
        self._seats, self._hang_timeout_s = seats, hang_timeout_s
        self._asked: dict[int, tuple[ray.ObjectRef, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(min(self._hang_timeout_s / LOOKS_A_TIMEOUT, SLOWEST_S)):
            serving = {seat.worker: seat for seat in self._seats.serving()}
            for worker in self._asked.keys() - serving.keys():
                del self._asked[worker]
            for seat in serving.values():
                if self._stuck_seconds(seat) > self._hang_timeout_s:
                    self._kill(seat)

    def _stuck_seconds(self, seat: Seat) -> float:
        now = time.monotonic()
        if seat.worker not in self._asked:
            self._asked[seat.worker] = seat.actor.stuck_seconds.remote(), now
        answer, since = self._asked[seat.worker]
        if not ray.wait([answer], timeout=0)[0]:
            return now - since
        del self._asked[seat.worker]
        try:
            return ray.get(answer)
        except RayError:  # lost, and for others to notice
            return 0.0

    def _kill(self, seat: Seat) -> None:
        console.print(
            f"[yellow]{seat.name} has given no sign of life for cluster.hang_timeout_s={self._hang_timeout_s:g}: it is "
            "killed, and replaced[/]"
        )
        ray.kill(seat.actor)
