"""How long an actor has worked at training steps, so that a run can tell who waited for whom."""

from __future__ import annotations

import time


class BusyTime:
    """`with busy:` stands around each piece of work; `seconds` is what they took together, by the wall clock.

    An actor works at one piece at a time. Waiting inside a piece counts too: a learner rank that waits for another.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *exc: object) -> None:
        self.seconds += time.monotonic() - self._began
