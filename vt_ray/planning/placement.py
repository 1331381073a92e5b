"""The node and the bundle of each actor, from the settings alone. Imports no Ray.

    ClusterConfig --place--> Placement --actors/reservation.py--> a Ray placement group, each actor in its bundle

A bundle is a set of actors that Ray keeps on one node: all actors of a node or, with `cluster.colocate`, one generator
and one learner rank, so that Ray gives both the same GPU. The tracker and the recorder's tasks have no bundle: they
reserve nothing and run on the driver's node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from vt_ray.config import ClusterConfig, Config, ConfigError


class ClusterError(RuntimeError):
    """A resource that the run needs is missing or lost. The message names it and the remedy."""


@dataclass(frozen=True)
class ActorRequest:
    """The CPUs and GPUs that one actor reserves in Ray."""

    actor: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Bundle:
    """Actors on one node. `node` is the number of the node in the plan, from 0; Ray chooses the real node."""

    node: int
    requests: tuple[ActorRequest, ...]

    @property
    def cpus(self) -> float:
        # Ray counts CPUs in units of 0.0001.
        return round(sum(request.cpus for request in self.requests), 4)

    @property
    def gpus(self) -> int:
        return round(sum(request.gpus for request in self.requests))

    @property
    def actors(self) -> tuple[str, ...]:
        return tuple(request.actor for request in self.requests)


@dataclass(frozen=True)
class Placement:
    """The bundles and Ray's strategy: PACK prefers few nodes, SPREAD prefers one node for each bundle."""

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


def with_needed_actors(config: Config) -> Config:
    """The settings with the actors that the run needs: no learner ranks, and none of their GPUs, if no phase trains."""
    if config.trains:
        return config
    return replace(config, cluster=replace(config.cluster, num_learners=0, colocate=False))


def place(cluster: ClusterConfig) -> Placement:
    """Assign every actor to a node.

    Learner ranks fill node after node. A generator goes to the node with the most free GPUs; without GPUs, to the node
    with the fewest generators. Verifiers go to the nodes of the generators. Raises ConfigError if no node has enough
    free GPUs; a node has `cluster.gpus_per_node` (0: as many as the actors ask for).
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
    bundles: dict[tuple[int, int], list[ActorRequest]] = {}
    for index, request in _requests(k):
        pair = index % k.num_generators if k.colocate else 0
        bundles.setdefault((home[request.actor], pair), []).append(request)
    strategy = "PACK" if k.colocate or k.num_nodes == 1 else "SPREAD"
    return Placement(tuple(Bundle(node, tuple(bundles[node, pair])) for node, pair in sorted(bundles)), strategy)


def _requests(k: ClusterConfig) -> Iterable[tuple[int, ActorRequest]]:
    """Every actor with its index. Two actors that share a GPU reserve half of it each."""
    share = 0.5 if k.colocate else 1
    kinds = (
        ("generator", k.num_generators, k.gpus_per_generator * share),
        ("learner", k.num_learners, k.gpus_per_learner * share),
        ("verifier", k.num_verifiers, 0),
    )
    for kind, count, gpus in kinds:
        yield from ((i, ActorRequest(f"{kind}_{i}", k.cpus_per_actor, gpus)) for i in range(count))


def _take(free: list[int], nodes: Iterable[int], gpus: int, actor: str, k: ClusterConfig) -> int:
    """Reserve `gpus` on the first of `nodes` that has as many free, and return that node."""
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
    """The GPUs that the actors ask for, in words."""
    sharing = ", each pair on one" if k.colocate else ""
    return (
        f"{k.num_generators} generators x {k.gpus_per_generator} GPU + {k.num_learners} learner ranks x "
        f"{k.gpus_per_learner} GPU{sharing} = {gpus_asked(k)} GPUs"
    )


def waiting_text(
    k: ClusterConfig, placement: Placement, nodes: Sequence[tuple[str, Mapping[str, float]]], free: Mapping[str, float]
) -> str:
    """The resources that the run asks for, and those of Ray.

    `nodes` are addresses and resources of the nodes that are alive, `free` the resources that are not in use.
    """
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
