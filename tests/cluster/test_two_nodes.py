"""A run on a Ray of two nodes: it waits for them, spreads its actors as planned, loses one, and is continued."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from tiny_run import TINY, copy_phases

from vt_ray.config import ClusterConfig
from vt_ray.planning.placement import place

pytestmark = pytest.mark.slow

# A GPU in Ray's books puts one learner rank on each node; torch sees none and takes gloo.
PLAN = {
    "num_nodes": 2,
    "gpus_per_node": 1,
    "num_generators": 2,
    "num_learners": 2,
    "num_verifiers": 2,
    "gpus_per_learner": 1,
    "generator_threads": 1,
    "learner_threads": 1,
}
NODE = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 256 << 20, "dashboard_agent_listen_port": 0}
# Ray's default is 5 checks, 3 s apart. A dead node refuses the connection at once, a busy one has 5 s to answer.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 4,
}


@pytest.fixture(scope="module")
def nodes():
    """A Ray with one node. Each test adds the nodes that it needs and removes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        head = {**NODE, "include_dashboard": False, "_system_config": HEALTH}
        nodes = Cluster(initialize_head=True, head_node_args=head)
        yield nodes
        nodes.shutdown()


class Run:
    """`vt-ray` in a separate process, with its output so far."""

    def __init__(self, runs: Path, nodes: Cluster, *overrides: str):
        plan = [f"cluster.{name}={value}" for name, value in {**PLAN, "ray_address": nodes.address}.items()]
        command = [*TINY, f"runs_dir={runs}", *plan]
        self.output = runs / f"output_{time.monotonic_ns()}"
        with self.output.open("w") as file:
            self.process = subprocess.Popen([*command, *overrides], stdout=file, stderr=subprocess.STDOUT)

    @property
    def output_text(self) -> str:
        return self.output.read_text()

    def wait_until(self, condition, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.output_text
            assert time.monotonic() < deadline, self.output_text
            time.sleep(0.2)

    def end(self, timeout_s: float) -> int:
        try:
            return self.process.wait(timeout_s)
        finally:
            self.process.kill()


def node_of_each_actor(nodes: Cluster) -> dict[str, str]:
    """Node id of every named actor that is alive."""
    actors = nodes.global_state.actor_table(None, None, None).values()
    return {a["Name"]: a["Address"]["NodeID"] for a in actors if a["Name"] and a["State"] == "ALIVE"}


def rl_steps(root: Path) -> list[tuple[str, int]]:
    lines = map(json.loads, (root / "metrics.jsonl").read_text().splitlines())
    return [(line["stage"], line["step"]) for line in lines]


def test_a_wait_for_missing_nodes_ends_with_an_error_that_lists_them(nodes, tmp_path):
    run = Run(tmp_path, nodes, "cluster.resources_timeout_s=3")
    assert run.end(timeout_s=300) == 1
    assert "error: gave up after 3 s of waiting for 2 GPUs and 0.6 CPUs on 2 nodes" in run.output_text
    assert "raise cluster.resources_timeout_s" in run.output_text and "Traceback" not in run.output_text


@pytest.mark.timeout(500)
def test_a_node_lost_while_actors_start_is_not_waited_for(nodes, tmp_path):
    """Actors that were to start there stay pending and raise no error: the run must not wait for
    cluster.startup_timeout_s."""
    second = nodes.add_node(**NODE)
    run = Run(tmp_path, nodes, "cluster.startup_timeout_s=400")
    actors = nodes.global_state.actor_table
    run.wait_until(lambda: any(a["Name"] == "learner_1" for a in actors(None, None, None).values()), 300)
    nodes.remove_node(second, allow_graceful=False)
    assert run.end(timeout_s=120) == 1
    assert (
        f"lost node {second.node_ip_address} ({second.node_id[:8]}) with" in run.output_text
        and "Traceback" not in run.output_text
    )


@pytest.mark.timeout(2500)
def test_a_lost_node_ends_the_run_with_its_name_and_the_same_command_finishes_it(nodes, finished_run, tmp_path):
    copy_phases(finished_run[0], tmp_path)
    run, root = Run(tmp_path, nodes), tmp_path / "tiny"
    run.wait_until(lambda: "waiting for 2 GPUs and 0.6 CPUs on 2 nodes" in run.output_text, 300)
    assert "Ray has 1 GPUs and 2 CPUs on 1 node (" in run.output_text
    second = nodes.add_node(**NODE)
    run.wait_until((root / "rl/math_short/checkpoints/step_000001/manifest.json").exists, 1000)

    node_of = node_of_each_actor(nodes)
    used = [{node_of[actor] for actor in bundle.actors} for bundle in place(ClusterConfig(**PLAN)).bundles]
    assert sorted(len(ids) for ids in used) == [1, 1] and used[0] != used[1]
    actors_of_second = sorted(actor for actor, node in node_of.items() if node == second.node_id)
    assert {name.split("_")[0] for name in actors_of_second} == {"generator", "learner", "verifier"}

    nodes.remove_node(second, allow_graceful=False)
    # Ray declares a node dead within half a minute, and the run must end soon after that.
    assert run.end(timeout_s=120) == 1
    assert (
        f"lost node {second.node_ip_address} ({second.node_id[:8]}) with {', '.join(actors_of_second)}"
        in run.output_text
    )
    assert "The same command continues" in run.output_text and "Traceback" not in run.output_text
    committed = root / "rollouts/math_short/step_000001.parquet"
    written = committed.stat().st_mtime_ns

    nodes.add_node(**NODE)
    again = Run(tmp_path, nodes)
    assert again.end(timeout_s=1000) == 0, again.output_text
    assert rl_steps(root) == [(stage, step) for stage in ("math_short", "math_long", "code") for step in (1, 2)]
    assert committed.stat().st_mtime_ns == written
