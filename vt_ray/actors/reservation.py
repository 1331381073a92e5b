"""The run's share of a Ray cluster: a placement group and the nodes that it lies on.

Placement --placement_group--> bundles on real nodes --options(actor)--> the place of each actor
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
    """Reserves every bundle of `placement` until Ray is shut down.

    Reports missing resources through `say` while it waits, once for each change. Raises ClusterError if Ray cannot give
    the bundles within `cluster.resources_timeout_s`.
    """

    def __init__(self, cluster: ClusterConfig, placement: Placement, say: Callable[[str], None]):
        self.placement = placement
        bundles = [{"CPU": b.cpus} | ({"GPU": b.gpus} if b.gpus else {}) for b in placement.bundles]
        self.group = placement_group(bundles, strategy=placement.strategy)
        _wait(self.group, cluster, placement, say)
        self.node_ids: dict[int, str] = placement_group_table(self.group)["bundles_to_node_id"]

    def options(self, actor: str) -> dict[str, Any]:
        """The arguments of `Actor.options` that start `actor` in its bundle. An actor without a bundle starts on the
        driver's node."""
        requests = {r.actor: (i, r) for i, bundle in enumerate(self.placement.bundles) for r in bundle.requests}
        if actor not in requests:
            # No CPUs: a head node may offer none.
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            return {"num_cpus": 0, "scheduling_strategy": here}
        index, request = requests[actor]
        strategy = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=index)
        return {"name": actor, "num_cpus": request.cpus, "num_gpus": request.gpus, "scheduling_strategy": strategy}

    def lost_nodes(self) -> list[str]:
        """Returns the nodes of the reservation that Ray has declared dead, each with its actors, as text."""
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
        """Raises ClusterError if a node is dead: its actors will never answer."""
        if lost := self.lost_nodes():
            raise ClusterError(f"lost {' and '.join(lost)}")


def _wait(group: PlacementGroup, cluster: ClusterConfig, placement: Placement, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + cluster.resources_timeout_s
    said = ""
    while not group.wait(timeout_seconds=1):
        nodes = [(node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
        text = waiting_text(cluster, placement, nodes, ray.available_resources())
        if text != said:
            say(text)
            said = text
        if time.monotonic() > deadline:
            raise ClusterError(
                f"gave up after {cluster.resources_timeout_s:g} s of {text}: add nodes, lower cluster.num_generators "
                "or cluster.num_learners, or raise cluster.resources_timeout_s"
            )
