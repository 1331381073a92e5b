"""The placement of actors: clusters by hand, and properties of every cluster that fits."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vt_ray.config import ClusterConfig, Config, ConfigError
from vt_ray.planning.placement import ActorRequest, Bundle, gpus_asked, place, waiting_text, with_needed_actors
from vt_ray.planning.resource_plan import actor_plan, placement_rows
from vt_ray.planning.validate import machine


def actors_by_node(cluster):
    found = {}
    for bundle in place(cluster).bundles:
        found.setdefault(bundle.node, []).extend(bundle.actors)
    return found


def test_a_laptop_is_one_bundle_of_fractions_of_a_cpu():
    placement = place(ClusterConfig(num_verifiers=2, cpus_per_actor=0.1))
    seats = tuple(ActorRequest(name, 0.1, 0) for name in ("generator_0", "learner_0", "verifier_0", "verifier_1"))
    assert placement.bundles == (Bundle(0, seats),)
    assert (placement.cpus, placement.gpus, placement.nodes) == (0.4, 0, 1)


def test_learners_fill_nodes_and_generators_take_the_emptiest_nodes():
    cluster = ClusterConfig(
        num_nodes=3,
        gpus_per_node=4,
        num_learners=6,
        num_generators=4,
        num_verifiers=5,
        gpus_per_learner=1,
        gpus_per_generator=1,
    )
    # Left for generators: 0, 2 and 4 GPUs. Two go to node 2; of equals, the node with fewer generators comes first.
    assert actors_by_node(cluster) == {
        0: ["learner_0", "learner_1", "learner_2", "learner_3"],
        1: ["generator_2", "learner_4", "learner_5", "verifier_2"],
        2: ["generator_0", "generator_1", "generator_3", "verifier_0", "verifier_1", "verifier_3", "verifier_4"],
    }
    assert place(cluster).strategy == "SPREAD"


def test_without_gpus_generators_are_spread_over_the_nodes():
    cluster = ClusterConfig(num_nodes=2, num_learners=2, num_generators=3, num_verifiers=3)
    assert actors_by_node(cluster) == {
        0: ["generator_0", "generator_2", "learner_0", "learner_1", "verifier_0", "verifier_2"],
        1: ["generator_1", "verifier_1"],
    }


def test_a_tensor_parallel_generator_stays_on_one_node():
    cluster = ClusterConfig(num_nodes=2, gpus_per_node=4, num_learners=3, gpus_per_learner=1, gpus_per_generator=4)
    assert actors_by_node(cluster) == {0: ["learner_0", "learner_1", "learner_2"], 1: ["generator_0", "verifier_0"]}
    cluster.num_nodes = 1
    with pytest.raises(
        ConfigError, match=r"4 GPU left for generator_0.*= 7 GPUs.*num_nodes=1 of cluster.gpus_per_node=4"
    ):
        place(cluster)


def test_colocated_pairs_have_half_a_gpu_each_in_a_bundle_of_their_own():
    cluster = ClusterConfig(
        colocate=True, num_generators=2, num_learners=2, num_verifiers=3, gpus_per_generator=1, gpus_per_learner=1
    )
    placement = place(cluster)
    assert [bundle.actors for bundle in placement.bundles] == [
        ("generator_0", "learner_0", "verifier_0", "verifier_2"),
        ("generator_1", "learner_1", "verifier_1"),
    ]
    assert [seat.gpus for seat in placement.bundles[1].requests] == [0.5, 0.5, 0]
    assert (placement.gpus, placement.strategy) == (2, "PACK")


counts = st.integers(1, 9)


@st.composite
def clusters(draw):
    colocate = draw(st.booleans())
    learners, gpus = draw(counts), draw(st.integers(0, 1))
    return ClusterConfig(
        colocate=colocate,
        num_nodes=draw(st.integers(1, 5)),
        gpus_per_node=draw(st.integers(1, 8)),
        num_learners=learners,
        num_generators=learners if colocate else draw(counts),
        num_verifiers=draw(counts),
        gpus_per_learner=gpus,
        gpus_per_generator=gpus if colocate else draw(st.integers(0, 4)),
        cpus_per_actor=draw(st.sampled_from([0.1, 0.3, 1.0])),
    )


@given(clusters())
def test_each_actor_is_placed_once_and_no_node_is_overfull(k):
    try:
        placement = place(k)
    except ConfigError:
        assume(False)
    seats = [seat for bundle in placement.bundles for seat in bundle.requests]
    kinds = {"generator": k.num_generators, "learner": k.num_learners, "verifier": k.num_verifiers}
    assert sorted(seat.actor for seat in seats) == sorted(f"{kind}_{i}" for kind, n in kinds.items() for i in range(n))
    learning = 0 if k.colocate else k.num_learners * k.gpus_per_learner
    assert placement.gpus == k.num_generators * k.gpus_per_generator + learning
    assert placement.cpus == pytest.approx(sum(kinds.values()) * k.cpus_per_actor)
    on = [0] * k.num_nodes
    for bundle in placement.bundles:
        assert bundle.requests and bundle.gpus == sum(seat.gpus for seat in bundle.requests)
        on[bundle.node] += bundle.gpus
    assert max(on) <= k.gpus_per_node
    where = {actor: i for i, bundle in enumerate(placement.bundles) for actor in bundle.actors}
    for i in range(k.num_verifiers):
        assert where[f"verifier_{i}"] == where[f"generator_{i % k.num_generators}"]
    if k.colocate:
        assert all(where[f"learner_{i}"] == where[f"generator_{i}"] for i in range(k.num_learners))
        assert len(placement.bundles) == k.num_learners
    else:
        assert len({bundle.node for bundle in placement.bundles}) == len(placement.bundles)


@given(counts, counts, st.integers(1, 8))
def test_single_gpus_fit_if_there_are_enough_of_them(generators, learners, per_node):
    """Single GPUs leave no gaps: enough nodes are always accepted, one node less is always refused."""
    k = ClusterConfig(num_generators=generators, num_learners=learners, gpus_per_generator=1, gpus_per_learner=1)
    k.gpus_per_node, k.num_nodes = per_node, -(-(generators + learners) // per_node)
    assert place(k).gpus == generators + learners
    k.num_nodes -= 1
    with pytest.raises(ConfigError, match="GPU left for"):
        place(k)


def test_the_plan_lists_the_actors_of_each_gpu():
    cluster = ClusterConfig(num_nodes=2, gpus_per_node=3, gpus_per_learner=1, gpus_per_generator=2, num_generators=2)
    assert placement_rows(Config(cluster=cluster)) == [
        ("0", "0-1", "generator_1"),
        ("0", "2", "learner_0"),
        ("1", "0-1", "generator_0"),
        ("1", "–", "verifier_0"),
        ("the driver's", "–", "tracker, recorder"),
    ]
    pairs = ClusterConfig(colocate=True, num_generators=2, num_learners=2, gpus_per_generator=1, gpus_per_learner=1)
    assert placement_rows(Config(cluster=pairs))[:-1] == [
        ("0", "0", "generator_0, learner_0"),
        ("0", "–", "verifier_0"),
        ("0", "1", "generator_1, learner_1"),
    ]


def test_the_waiting_message_has_requested_and_available_resources():
    k = ClusterConfig(
        num_generators=4,
        num_learners=4,
        num_verifiers=8,
        gpus_per_generator=1,
        gpus_per_learner=1,
        cpus_per_actor=0.5,
        num_nodes=2,
        gpus_per_node=4,
    )
    nodes = [("10.0.0.1", {"GPU": 4.0, "CPU": 8.0}), ("10.0.0.2", {"CPU": 2.0, "memory": 1e9})]
    assert waiting_text(k, place(k), nodes, {"GPU": 1.0, "CPU": 9.5}) == (
        "waiting for 8 GPUs and 8 CPUs on 2 nodes (4 generators x 1 GPU + 4 learner ranks x 1 GPU = 8 GPUs, 8 "
        "verifiers); Ray has 4 GPUs and 10 CPUs on 2 nodes (10.0.0.1: 4 GPUs and 8 CPUs; 10.0.0.2: 0 GPUs and 2 CPUs), "
        "free: 1 GPUs and 9.5 CPUs"
    )
    assert re.search(r"Ray has 0 GPUs and 0 CPUs on 0 nodes, free", waiting_text(k, place(k), [], {}))


def test_a_run_that_trains_nothing_has_no_learner_ranks():
    cluster = ClusterConfig(gpus_per_node=1, gpus_per_generator=1, gpus_per_learner=1, num_learners=4)
    evaluation, rl = Config(phases=[], cluster=cluster), Config(phases=["rl"], cluster=cluster)
    placed = with_needed_actors(evaluation)
    assert [b.actors for b in place(placed.cluster).bundles] == [("generator_0", "verifier_0")]
    assert gpus_asked(placed.cluster) == 1 and evaluation.cluster is cluster and with_needed_actors(rl) is rl
    assert {plan.kind.split()[0] for plan in actor_plan(placed)} == {"generator", "verifier", "tracker,"}
    assert not [problem for problem in machine.placement(evaluation)]
    assert "no node has 1 GPU left" in next(iter(machine.placement(rl)))


def test_a_generator_has_its_gpu_alone_in_a_colocated_run_that_trains_nothing():
    pairs = ClusterConfig(colocate=True, num_generators=2, num_learners=2, gpus_per_generator=1, gpus_per_learner=1)
    placed = with_needed_actors(Config(phases=["probe", "fuse"], cluster=pairs))
    assert [(r.actor, r.gpus) for b in place(placed.cluster).bundles for r in b.requests if r.gpus] == [
        ("generator_0", 1),
        ("generator_1", 1),
    ]
