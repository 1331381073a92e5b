"""A single actor that is replaced in its seat when it is lost, so that whoever calls it hardly notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from vt_ray.actors.failures import is_loss

# Actors lost one after the other over one call: the call itself is to blame.
MAX_TRIES = 4


class Replaceable:
    """`spawn` starts the actor; `restore` brings a new one to where the lost one was."""

    def __init__(self, spawn: Callable[[], ActorHandle], restore: Callable[[ActorHandle], None] = lambda actor: None):
        self.spawn, self.restore = spawn, restore
        self.actor = spawn()

    def call(self, ask: Callable[[ActorHandle], ray.ObjectRef]) -> Any:
        """The answer to `ask`, of whoever sits in the seat. Raises what the actor raises, and RayActorError after
        MAX_TRIES lost actors."""
        for attempt in range(1, MAX_TRIES + 1):
            try:
                return ray.get(ask(self.actor))
            except RayActorError as error:
                if attempt == MAX_TRIES or not is_loss(error):
                    raise
                self._replace()

    def _replace(self) -> None:
        # Unreachable is not dead: two of one kind must not write at once.
        ray.kill(self.actor)
        self.actor = self.spawn()
        self.restore(self.actor)
