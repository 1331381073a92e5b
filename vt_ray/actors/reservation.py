"""The run's share of a Ray cluster: a placement group, waited for out loud, and the nodes that it lies on.

Placement --placement_group--> bundles on real nodes --options(actor)--> where each actor starts
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from vt_ray.config import ClusterConfig
from vt_ray.planning.placement import ClusterError, Placement, waiting_text


class Reservation:
    """Holds every bundle of `placement` from the moment it is made. Raises ClusterError if Ray cannot give them within
    `cluster.resources_timeout_s`; what is missing is told through `say` while waiting, again when it changes."""

    def __init__(self, cluster: ClusterConfig, placement: Placement, say: Callable[[str], None]):
        self.placement = placement
        bundles = [{"CPU": b.cpus} | ({"GPU": b.gpus} if b.gpus else {}) for b in placement.bundles]
        self.group = placement_group(bundles, strategy=placement.strategy)
        _wait(self.group, cluster, placement, say)
        self.node_ids: dict[int, str] = placement_group_table(self.group)["bundles_to_node_id"]

    def options(self, actor: str) -> dict[str, Any]:
        """What `Actor.options` needs to start `actor` in its seat, or near the driver where it has none."""
        seats = {seat.actor: (i, seat) for i, bundle in enumerate(self.placement.bundles) for seat in bundle.seats}
        if actor not in seats:
            # It asks for nothing: a head node may offer no CPUs.
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            return {"num_cpus": 0, "scheduling_strategy": here}
        index, seat = seats[actor]
        strategy = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=index)
        return {"name": actor, "num_cpus": seat.cpus, "num_gpus": seat.gpus, "scheduling_strategy": strategy}

    def lost_nodes(self) -> list[str]:
        """Each node of the reservation that Ray has declared dead, with the actors it held."""
        nodes = {node["NodeID"]: node for node in ray.nodes()}
        dead: dict[str, list[str]] = {}
        for index, node_id in self.node_ids.items():
            if not nodes[node_id]["Alive"]:
                dead.setdefault(node_id, []).extend(self.placement.bundles[index].actors)
        return [
            f"node {nodes[node_id]['NodeManagerAddress']} ({node_id[:8]}) with {', '.join(actors)}"
            for node_id, actors in dead.items()
        ]

    def refuse_lost_nodes(self) -> None:
        """Raises ClusterError where a node is gone: what waits for its actors would wait for ever."""
        if lost := self.lost_nodes():
            raise ClusterError(f"lost {' and '.join(lost)}")


def _wait(group: PlacementGroup, cluster: ClusterConfig, placement: Placement, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + cluster.resources_timeout_s
    told = ""
    while not group.wait(timeout_seconds=1):
        nodes = [(node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
        text = waiting_text(cluster, placement, nodes, ray.available_resources())
        if text != told:
            say(text)
            told = text
        if time.monotonic() > deadline:
            raise ClusterError(
                f"gave up after {cluster.resources_timeout_s:g} s of {text}: add nodes, lower cluster.num_generators "
                "or cluster.num_learners, or raise cluster.resources_timeout_s"
            )
