"""One GPU for a generator and a learner rank: one of them works, the other sleeps with its memory on the host.

    RayLearner.update --take--> [generator sleeps, learner wakes] ... RayGenerator.generate --take--> [and back]

RayGenerator and RayLearner take the GPU at the beginning of every call, so the phases need not know that it is shared.
Exported weights are in the object store: a generator can load them while the learner sleeps. If the GPU's memory holds
both (`planning.resource_plan.generator_share`), both stay awake.
"""

from __future__ import annotations

from typing import Protocol


class Sleeper(Protocol):
    """A user of the GPU that can free its memory."""

    def sleep(self) -> None: ...

    def wake_up(self) -> None: ...


class SharedGpu:
    """Remembers which user is awake. With `shared` false, all users stay awake and every method does nothing."""

    def __init__(self, shared: bool):
        self.shared = shared
        self._awake: Sleeper | None = None

    def take(self, user: Sleeper) -> None:
        """Gives the GPU to `user`: puts the other user to sleep first."""
        if self.shared and user is not self._awake:
            self.vacate()
            user.wake_up()
            self._awake = user

    def vacate(self) -> None:
        """Puts the awake user to sleep: an engine must be opened on an empty GPU."""
        if self._awake is not None:
            self._awake.sleep()
            self._awake = None

    def stop_sharing(self) -> None:
        """Both users stay awake from now on: the GPU's memory holds both."""
        self.shared, self._awake = False, None

    def opened(self, user: Sleeper) -> None:
        """`user` has just been opened, so it is awake."""
        if self.shared:
            self._awake = user

    def closed(self, user: Sleeper | None) -> None:
        if user is self._awake:
            self._awake = None
