"""One named actor that is started, watched and replaced: the part that every group of actors has in common.

    no actor --start--> starting --ready--> ready
       ^----------- discard ---'--------------'

GeneratorPool, VerifierPool, RayTracker and RayCluster (learner ranks) add what a new actor needs before it is ready,
and when to give up.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import ray
from ray.actor import ActorHandle

from vt_ray.planning.placement import ClusterError

# Ray needs a moment to release the name of a dead actor.
NAME_RETRY_S, NAME_TIMEOUT_S = 0.2, 30.0
_ids = count()


@dataclass
class Worker:
    """`spawn` starts the actor; it raises ValueError while Ray still holds the name of the previous actor."""

    name: str
    spawn: Callable[[], ActorHandle]
    # Unique among all actors of this process: a replacement has a new id.
    id: int = -1
    ready: bool = False
    # The call that the owner waits for (the start, a load, a chunk of work) and its time, by time.monotonic().
    pending: ray.ObjectRef[Any] | None = None
    pending_since: float = 0.0
    starts: int = 0
    # Since the owner last set it to 0.
    failures: int = 0
    last_error: BaseException | None = None
    _actor: ActorHandle | None = field(default=None, repr=False)
    _not_before: float = 0.0

    @property
    def running(self) -> bool:
        """Whether there is an actor: starting or ready."""
        return self._actor is not None

    @property
    def actor(self) -> ActorHandle:
        """Raises RuntimeError while there is no actor."""
        if self._actor is None:
            raise RuntimeError(f"{self.name} has no actor: it died and its replacement has not been started")
        return self._actor

    def start(self) -> bool:
        """Starts the actor without waiting. Returns False, to be called again, if the pause after a failure is not over
        or Ray still holds the name."""
        if time.monotonic() < self._not_before:
            return False
        try:
            self._actor = self.spawn()
        except ValueError:
            self._not_before = time.monotonic() + NAME_RETRY_S
            return False
        self.id, self.starts = next(_ids), self.starts + 1
        return True

    def start_now(self) -> ActorHandle:
        """Starts the actor and waits until Ray has released the name. Raises ClusterError after NAME_TIMEOUT_S."""
        deadline = time.monotonic() + NAME_TIMEOUT_S
        while not self.start():
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"Ray still holds the name {self.name} of a dead actor after {NAME_TIMEOUT_S:g} s: start the "
                    "command again"
                )
            time.sleep(NAME_RETRY_S / 2)
        return self.actor

    def wait_for(self, call: ray.ObjectRef[Any] | None) -> None:
        """Makes `call` the pending one; None: no call is pending."""
        self.pending, self.pending_since = call, time.monotonic()

    def discard(self, error: BaseException | None = None, is_failure: bool = True, pause_s: float = 0.0) -> None:
        """Kills the actor, since an unreachable actor may still run, and makes room for a new one in `pause_s`."""
        with contextlib.suppress(Exception):
            ray.kill(self.actor)
        self.failures += is_failure
        self.last_error = error or self.last_error
        self._actor, self.pending, self.ready = None, None, False
        self._not_before = time.monotonic() + pause_s

    @property
    def why(self) -> str:
        """The last line of the last error, to end an error message with; "" if there is none."""
        if self.last_error is None:
            return ""
        lines = str(self.last_error).strip().splitlines()
        return f". Last error: {lines[-1] if lines else type(self.last_error).__name__}"
