"""Who sits where, from the config alone: actors are dealt to nodes and bundles. No Ray is imported.

    ClusterConfig --place--> Placement --actors/reservation.py--> a Ray placement group, each actor in its bundle

A bundle is what must lie on one node: everything that one node holds or, where a generator and a learner rank share a
GPU, one such pair, so that Ray gives both the same GPU. The tracker and the recorder have no bundle: they ask for
nothing and sit on the driver's node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vt_ray.config import ClusterConfig, ConfigError


class ClusterError(RuntimeError):
    """The cluster lacks or has lost something that the run needs. The message names it and the remedy."""


@dataclass(frozen=True)
class Seat:
    """What one actor asks of Ray."""

    actor: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Bundle:
    """Seats on one node; `node` counts the nodes of the plan from 0, Ray decides which real one it is."""

    node: int
    seats: tuple[Seat, ...]

    @property
    def cpus(self) -> float:
        # Ray counts in ten-thousandths.
        return round(sum(seat.cpus for seat in self.seats), 4)

    @property
    def gpus(self) -> int:
        return round(sum(seat.gpus for seat in self.seats))

    @property
    def actors(self) -> tuple[str, ...]:
        return tuple(seat.actor for seat in self.seats)


@dataclass(frozen=True)
class Placement:
    """`strategy` is Ray's: PACK prefers few nodes, SPREAD one node a bundle."""

    bundles: tuple[Bundle, ...]
    strategy: str

    @property
    def cpus(self) -> float:
        return round(sum(bundle.cpus for bundle in self.bundles), 4)

    @property
    def gpus(self) -> int:
        return sum(bundle.gpus for bundle in self.bundles)

    @property
    def nodes(self) -> int:
        return len({bundle.node for bundle in self.bundles})


def place(cluster: ClusterConfig) -> Placement:
    """Learner ranks fill node after node, generators go where most GPUs are left, verifiers beside the generators.

    Raises ConfigError where a node of `cluster.gpus_per_node` GPUs (0: as many as are asked for) has too few left.
    """
    k = cluster
    free = [k.gpus_per_node or gpus_asked(k)] * k.num_nodes
    packed, generators_on = range(k.num_nodes), Counter[int]()
    home: dict[str, int] = {}
    for i in range(k.num_learners):
        home[f"learner_{i}"] = _take(free, packed, k.gpus_per_learner, f"learner_{i}", k)
    for i in range(k.num_generators):
        if k.colocate:
            home[f"generator_{i}"] = home[f"learner_{i}"]
            continue
        emptiest = sorted(packed, key=lambda n: (-free[n] if k.gpus_per_generator else 0, generators_on[n]))
        home[f"generator_{i}"] = node = _take(free, emptiest, k.gpus_per_generator, f"generator_{i}", k)
        generators_on[node] += 1
    for i in range(k.num_verifiers):
        home[f"verifier_{i}"] = home[f"generator_{i % k.num_generators}"]
    bundles: dict[tuple[int, int], list[Seat]] = {}
    for index, seat in _seats(k):
        pair = index % k.num_generators if k.colocate else 0
        bundles.setdefault((home[seat.actor], pair), []).append(seat)
    strategy = "PACK" if k.colocate or k.num_nodes == 1 else "SPREAD"
    return Placement(tuple(Bundle(node, tuple(bundles[node, pair])) for node, pair in sorted(bundles)), strategy)


def _seats(k: ClusterConfig) -> Iterable[tuple[int, Seat]]:
    """Every actor with its index. Two that share a GPU have half of it each in Ray's books."""
    share = 0.5 if k.colocate else 1
    kinds = (
        ("generator", k.num_generators, k.gpus_per_generator * share),
        ("learner", k.num_learners, k.gpus_per_learner * share),
        ("verifier", k.num_verifiers, 0),
    )
    for kind, count, gpus in kinds:
        yield from ((i, Seat(f"{kind}_{i}", k.cpus_per_actor, gpus)) for i in range(count))


def _take(free: list[int], nodes: Iterable[int], gpus: int, actor: str, k: ClusterConfig) -> int:
    """The first of `nodes` with so many GPUs left, which are then taken."""
    for node in nodes:
        if free[node] >= gpus:
            free[node] -= gpus
            return node
    raise ConfigError(
        f"no node has {gpus} GPU left for {actor}: cluster asks for {asked(k)}, cluster.num_nodes={k.num_nodes} of "
        f"cluster.gpus_per_node={k.gpus_per_node}: raise them, or lower cluster.num_generators or cluster.num_learners"
    )


def gpus_asked(k: ClusterConfig) -> int:
    learning = 0 if k.colocate else k.num_learners * k.gpus_per_learner
    return k.num_generators * k.gpus_per_generator + learning


def asked(k: ClusterConfig) -> str:
    """The GPUs asked for, in words."""
    sharing = ", each pair on one" if k.colocate else ""
    return (
        f"{k.num_generators} generators x {k.gpus_per_generator} GPU + {k.num_learners} learner ranks x "
        f"{k.gpus_per_learner} GPU{sharing} = {gpus_asked(k)} GPUs"
    )


def waiting_text(
    k: ClusterConfig, placement: Placement, nodes: Sequence[tuple[str, Mapping[str, float]]], free: Mapping[str, float]
) -> str:
    """What is asked and what Ray has: `nodes` are the living ones' addresses and resources, `free` those not in use."""
    total = Counter[str]()
    for _, resources in nodes:
        total.update({name: resources.get(name, 0) for name in ("GPU", "CPU")})
    each = "; ".join(f"{address}: {_amount(resources)}" for address, resources in nodes)
    return (
        f"waiting for {_amount({'GPU': placement.gpus, 'CPU': placement.cpus})} on {_nodes(placement.nodes)} "
        f"({asked(k)}, {k.num_verifiers} verifiers); Ray has {_amount(total)} on {_nodes(len(nodes))}"
        f"{f' ({each})' if each else ''}, free: {_amount(free)}"
    )


def _amount(resources: Mapping[str, float]) -> str:
    return f"{resources.get('GPU', 0):g} GPUs and {resources.get('CPU', 0):g} CPUs"


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
