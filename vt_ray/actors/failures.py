"""Which nodes and actors of a run are dead.

The error that ends a run seldom names its cause: when a node dies, the other ranks fail first, because a connection is
closed, and Ray declares the node dead up to a minute later.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError, WorkerCrashedError

from vt_ray.actors.reservation import Reservation
from vt_ray.planning.placement import ClusterError

ANSWER_S = 2.0
DECISION_S = 60.0


@dataclass(frozen=True)
class DeadActors:
    """Dead nodes or, if all nodes are alive, the names of dead actors."""

    nodes: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.nodes:
            return f"lost {' and '.join(self.nodes)}"
        return (
            f"lost {', '.join(self.actors)}: killed, or out of memory, unless logs/ in the run's folder says otherwise"
        )


def actor_died(error: BaseException) -> bool:
    """Whether the actor that was called is dead. Returns False for a RayTaskError: the actor is alive and only forwards
    another actor's death."""
    return isinstance(error, RayActorError) and not isinstance(error, RayTaskError)


def find_dead(error: BaseException, reservation: Reservation, actors: Mapping[str, ActorHandle]) -> DeadActors | None:
    """Returns the dead nodes, or else the dead actors; None if `error` has another cause.

    Waits up to DECISION_S for Ray to decide about actors and nodes that do not answer.
    """
    if not isinstance(error, (RayError, TimeoutError, ClusterError)):
        return None
    deadline = time.monotonic() + DECISION_S
    while True:
        unreachable, unanswered = _ping(actors)
        if nodes := reservation.lost_nodes():
            return DeadActors(nodes=tuple(nodes))
        dead = [name for name, why in unreachable.items() if isinstance(why, ActorDiedError)]
        # An actor that does not answer is busy, or on a node that Ray has not declared dead yet.
        undecided = unreachable or (unanswered and reservation.placement.nodes > 1)
        if dead or not undecided or time.monotonic() > deadline:
            break
        time.sleep(1)
    names = tuple(dead or unreachable)
    if not names and isinstance(error, WorkerCrashedError):
        # Ray has repeated the task that writes rollouts, the only task of a run, and its process died each time.
        names = ("the process that writes rollouts",)
    return DeadActors(actors=names) if names else None


def _ping(actors: Mapping[str, ActorHandle]) -> tuple[dict[str, RayActorError], int]:
    """Returns the actors that cannot be reached, each with Ray's error, and the number of actors that do not answer.

    Actors whose constructor failed are left out: their own error says more.
    """
    if not actors:
        return {}, 0
    answers: dict[Any, str] = {actor.__ray_ready__.remote(): name for name, actor in actors.items()}
    ready, waiting = ray.wait(list(answers), num_returns=len(answers), timeout=ANSWER_S)
    unreachable = {}
    for answer in ready:
        try:
            ray.get(answer)
        except RayActorError as why:
            if not why.actor_init_failed:
                unreachable[answers[answer]] = why
    return unreachable, len(waiting)
