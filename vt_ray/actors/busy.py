"""Seconds that an actor has worked at training steps: the run's metrics show which actors wait."""

from __future__ import annotations

import time


class BusyTime:
    """`with busy:` surrounds each piece of work; `seconds` is the sum of their wall-clock times.

    An actor does one piece of work at a time. Waiting inside a piece counts: a learner rank that waits for others.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *exc: object) -> None:
        self.seconds += time.monotonic() - self._began
