"""What a run has lost, in words: nodes that Ray has declared dead, actors that have died.

The error that ends a run seldom names its cause: when a node dies, the surviving ranks complain first, about a closed
connection, and Ray declares the node dead up to a minute later.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError

from vt_ray.actors.reservation import Reservation
from vt_ray.planning.placement import ClusterError

ANSWER_S = 2.0
VERDICT_S = 60.0


@dataclass(frozen=True)
class Lost:
    """What is gone: whole nodes, or else single actors by name."""

    nodes: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.nodes:
            return f"lost {' and '.join(self.nodes)}"
        return (
            f"lost {', '.join(self.actors)}: killed, or out of memory, unless logs/ in the run's folder says otherwise"
        )


def is_loss(error: BaseException) -> bool:
    """Whether the actor that was asked is lost. One that has failed because another one was lost raises that one's
    error as its own: it is not lost itself."""
    return isinstance(error, RayActorError) and not isinstance(error, RayTaskError)


def find_the_lost(error: BaseException, reservation: Reservation, actors: Mapping[str, ActorHandle]) -> Lost | None:
    """The nodes, or else the actors, that are gone; None where `error` has another cause."""
    if not isinstance(error, (RayError, TimeoutError, ClusterError)):
        return None
    deadline = time.monotonic() + VERDICT_S
    while True:
        silent, mute = _roll_call(actors)
        if nodes := reservation.lost_nodes():
            return Lost(nodes=tuple(nodes))
        dead = [name for name, why in silent.items() if isinstance(why, ActorDiedError)]
        # One that does not answer may be busy, or on a node that Ray has not yet given up.
        undecided = silent or (mute and reservation.placement.nodes > 1)
        if dead or not undecided or time.monotonic() > deadline:
            break
        time.sleep(1)
    names = tuple(dead or silent)
    return Lost(actors=names) if names else None


def _roll_call(actors: Mapping[str, ActorHandle]) -> tuple[dict[str, RayActorError], int]:
    """The actors that cannot be reached, each with what Ray says of it, and the number of those that do not answer.

    One that failed to start is not among them: its own error says more.
    """
    if not actors:
        return {}, 0
    answers = {actor.__ray_ready__.remote(): name for name, actor in actors.items()}
    ready, waiting = ray.wait(list(answers), num_returns=len(answers), timeout=ANSWER_S)
    silent = {}
    for answer in ready:
        try:
            ray.get(answer)
        except RayActorError as why:
            if not why.actor_init_failed:
                silent[answers[answer]] = why
    return silent, len(waiting)
