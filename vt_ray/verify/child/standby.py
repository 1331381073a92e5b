"""A child process with a second one on standby, which takes over when the first is killed.

line --ChildProcess.ask, within the deadline--> reply
          ^-- a second one, started before it is needed, takes its place when it is killed
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from vt_ray.verify.child.process import ChildProcess, NotStarted

# After these outcomes the child is replaced: the interrupted call may have left a library's caches half filled.
_SPOILING = ("timeout", "memory")


class ChildLost(Exception):
    """The child could not be started, or ended without an answer."""


class ChildEnded(ChildLost):
    """The child ended twice over the same request."""


class StandbyChild:
    """One child process and a spare, started at the first request. For use by one thread.

    `name` and `hint` describe the child in the message of ChildLost.
    """

    def __init__(self, start: Callable[[], ChildProcess], name: str, hint: str) -> None:
        self._start = start
        self._name, self._hint = name, hint
        self._worker: ChildProcess | None = None
        self._spare: ChildProcess | None = None

    def ask(self, line: bytes) -> dict[str, Any]:
        """The child's reply to a JSON line; {"outcome": "timeout"} if the child had to be killed.

        A child that has ended is replaced once. Raises ChildEnded if its replacement ends too, ChildLost if no child
        starts.
        """
        for _ in range(2):
            worker = self._ready_worker()
            try:
                reply = worker.ask(line) or {"outcome": "timeout"}
            except (OSError, EOFError, ValueError):
                self._replace()
                continue
            if reply["outcome"] in _SPOILING:
                self._replace()
            return reply
        raise ChildEnded(f"the {self._name} ended twice without an answer")

    def close(self) -> None:
        """End both children. The next request starts new ones."""
        for worker in (self._worker, self._spare):
            if worker is not None:
                worker.close()
        self._worker = self._spare = None

    def _ready_worker(self) -> ChildProcess:
        """The worker. Its spare starts only now, so that their imports do not compete for one core."""
        if self._worker is None:
            self._worker = self._started()
        try:
            self._worker.wait_until_ready()
        except NotStarted as error:
            self.close()
            raise ChildLost(f"the {self._name} did not start: {self._hint} {error}".strip()) from error
        if self._spare is None:
            with contextlib.suppress(ChildLost):  # without a spare, a replacement takes longer
                self._spare = self._started()
        return self._worker

    def _replace(self) -> None:
        """End the worker, put the spare in its place, and start the next spare, all without waiting."""
        if self._worker is not None:
            self._worker.close()
        self._worker, self._spare = self._spare, None
        if self._worker is not None:
            with contextlib.suppress(ChildLost):
                self._spare = self._started()

    def _started(self) -> ChildProcess:
        try:
            return self._start()
        except OSError as error:
            raise ChildLost(f"the {self._name} cannot start: {error}") from error
