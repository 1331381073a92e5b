"""The options of a stage, with stand-ins: lambda, learning rate, optimizer state, filter, sampling, masks."""

import json
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
import test_loop

from vt_ray.config import ConfigError, GateConfig, MgpoConfig, OptimizerConfig, StageConfig
from vt_ray.data.stream import refill_indices, weighted_indices
from vt_ray.records import Verdict
from vt_ray.report.run_summary import stage_costs
from vt_ray.signal_phase.curriculum import stage_optimizer

MATH = StageConfig("math", ["algebra"], 2, 2, 4, 8)
CODE = StageConfig("code", ["code"], 1, 2, 4, 8)


class World(test_loop.World):
    """Records the arguments with which learners are opened, and the states that they load."""

    @contextmanager
    def learner(self, model_path, optimizer, total_steps, with_reference=False):
        self.calls["opened"].append((optimizer.lr, total_steps, with_reference))
        with super().learner(model_path, optimizer, total_steps) as learner:
            yield learner

    def load_state(self, folder, restart_schedule=False):
        self.calls["states"].append((folder.parts[-4], restart_schedule))
        super().load_state(folder)


def test_a_stages_learning_rate_replaces_that_of_the_phase(tmp_path):
    world = test_loop.train(tmp_path, World(), stages=[replace(MATH, lr=0.5), CODE])
    assert world.calls["opened"] == [(0.5, 2, False), (OptimizerConfig().lr, 1, False)]
    assert stage_optimizer(OptimizerConfig(lr=1e-3), replace(MATH, lr=None)).lr == 1e-3


def test_optimizer_state_keep_loads_the_moments_of_the_previous_stage(tmp_path):
    kept = test_loop.train(tmp_path / "kept", World(), stages=[MATH, replace(CODE, optimizer_state="keep")])
    assert kept.calls["states"] == [("math", True)]
    assert test_loop.train(tmp_path / "reset", World(), stages=[MATH, CODE]).calls["states"] == []


def test_a_stages_lambda_replaces_that_of_the_phase(tmp_path):
    world = test_loop.train(tmp_path, World(), stages=[replace(MATH, lam=4.0), CODE])
    assert [advantage_config.lam for *_, advantage_config in world.calls["compute_advantages"]] == [4.0, 4.0, 1.0]


class Known(World):
    """algebra/0 is always solved, algebra/1 never, algebra/2 has no verdict. Other questions: every second answer."""

    fixed = {"algebra/0": "correct", "algebra/1": "wrong", "algebra/2": "unverified"}

    def grade(self, rollouts):
        for group in super().grade(rollouts):
            statuses = [
                self.fixed.get(group.question_id, ("correct", "wrong")[i % 2]) for i in range(len(group.verdicts))
            ]
            yield replace(group, verdicts=tuple(Verdict(status) for status in statuses))


def test_the_filter_drops_questions_always_or_never_solved(tmp_path):
    world = test_loop.train(tmp_path, Known(), stages=[replace(MATH, filter_samples=4)])
    assert json.loads((tmp_path / "rl/math/pool.json").read_text()) == [f"algebra/{i}" for i in range(3, 7)]
    asked = {g.question_id for groups, *_ in world.calls["update"] for g in groups}
    assert asked <= {f"algebra/{i}" for i in range(3, 7)}


def test_the_cost_of_a_stage_is_that_of_its_filter_steps_and_gate(tmp_path):
    stage = replace(MATH, filter_samples=4, gate=GateConfig(eval_every=2, target=2.0, samples=8))
    test_loop.train(tmp_path, Known(), stages=[stage], probe=test_loop.PROBLEMS[:3])
    cost = stage_costs(tmp_path)["rl math"]
    # Completions of 3 tokens: 4 of each of 7 problems, 2 steps of 2 groups of 4, and once 8 of each of 3 problems.
    assert cost["tokens"] == 3 * (7 * 4 + 2 * 2 * 4 + 3 * 8)
    lines = test_loop.metrics(tmp_path)
    assert cost["seconds"] > sum(line["seconds"]["total"] for line in lines) + lines[1]["gate"]["seconds"]


@pytest.mark.parametrize("crash_at", range(2, 40, 3))
def test_an_interrupted_filter_does_not_change_the_result(tmp_path, crash_at):
    stages = [replace(MATH, filter_samples=4)]
    test_loop.train(tmp_path / "whole", Known(), stages=stages)
    with suppress(ConnectionAbortedError):
        test_loop.train(tmp_path / "crashed", Known(crash_at), stages=stages)
    test_loop.train(tmp_path / "crashed", Known(), stages=stages)
    whole, crashed = ((tmp_path / name / "rl/math/model/model.json").read_text() for name in ("whole", "crashed"))
    assert crashed == whole


def test_a_stage_does_not_continue_with_other_questions(tmp_path):
    with suppress(ConnectionAbortedError):
        test_loop.train(tmp_path, World(20), stages=[replace(MATH, steps=6)])
    pool = tmp_path / "rl/math/pool.json"
    began = json.loads(pool.read_text())
    pool.write_text(json.dumps([*began[1:], "mine/7"]))
    message = f"began with {len(began)} questions and has {len(began)} now, of which {len(began) - 1} are the same"
    with pytest.raises(ConfigError, match=message):
        test_loop.train(tmp_path, World(), stages=[replace(MATH, steps=6)])
    pool.write_text(json.dumps(began))
    test_loop.train(tmp_path, World(), stages=[replace(MATH, steps=6)])


def test_a_filter_that_leaves_no_problem_is_an_error(tmp_path):
    class Hopeless(Known):
        fixed = {f"algebra/{i}": "wrong" for i in range(7)}

    with pytest.raises(ConfigError, match="leaves none of 7 problems"):
        test_loop.train(tmp_path, Hopeless(), stages=[replace(MATH, filter_samples=4)])


def test_a_step_takes_the_whole_pool_if_it_is_smaller_than_prompts_per_step(tmp_path):
    world = test_loop.train(tmp_path, Known(), stages=[replace(MATH, filter_samples=4, prompts_per_step=7)])
    assert [len(groups) for groups, *_ in world.calls["update"]] == [4, 4]


def test_masked_completions_enter_neither_p_c_nor_the_update(tmp_path):
    class Cut(Known):
        def grade(self, rollouts):
            for group in super().grade(rollouts):
                yield replace(group, truncated=(True, False, False, False))

    for truncated, accuracy in (("zero", 0.5), ("mask", 1 / 3)):
        world = test_loop.train(tmp_path / truncated, Cut(), stages=[replace(MATH, truncated=truncated)])
        updates = world.calls["update"]
        pairs = [pair for groups, advantages, *_ in updates for pair in zip(advantages, groups, strict=True)]
        undecided = [a for a, g in pairs if g.question_id not in Known.fixed]
        assert undecided and all(a.accuracy == pytest.approx(accuracy) for a in undecided)
        assert all((a.advantages[0] == 0) == (truncated == "mask") for a in undecided)


@pytest.mark.parametrize(
    ("options", "weight", "expected"),
    [
        ({"pass_k": 2}, "none", [4 / 3, 0, 4 / 3, 0]),
        ({"pass_k": 3}, "none", [1, 0, 1, 0]),
        # At most 8 tokens, of which the last 4 are penalised: rewards 1, 0, 1/2, -1; their mean is 1/8.
        ({"overlong_buffer": 4}, "maxrl", [7 / 4, -1 / 4, 3 / 4, -9 / 4]),
        ({}, "maxrl", [1, -1, 1, -1]),
        ({}, "dgpo", [1, -1, 1, -1]),
        ({}, "mcpo", [1, -1, 1, -1]),
    ],
)
def test_weights_and_rewards_reach_the_learner(tmp_path, options, weight, expected):
    """Two of four completions are correct, so p_c is 1/2. Their lengths have no effect on p_c."""

    class Lengths(Known):
        def grade(self, rollouts):
            for group in super().grade(rollouts):
                yield replace(group, completion_tokens=(3, 4, 6, 8))

    mgpo = MgpoConfig(weight=weight)
    world = test_loop.train(tmp_path, Lengths(), stages=[replace(MATH, **options)], mgpo=mgpo)
    pairs = [pair for groups, found, *_ in world.calls["update"] for pair in zip(found, groups, strict=True)]
    undecided = [found for found, group in pairs if group.question_id not in Known.fixed]
    assert undecided and all(found.accuracy == 0.5 for found in undecided)
    assert all(found.advantages == pytest.approx(expected, abs=1e-5) for found in undecided)


def test_sampling_by_the_tracker_prefers_questions_near_half(tmp_path):
    class Extreme(Known):
        """Only algebra/3 and algebra/4 are undecided."""

        fixed = {f"algebra/{i}": "wrong" for i in (0, 1, 2, 5, 6)}

    stage = replace(MATH, sampling="tracker", lam=50.0, filter_samples=0, prompts_per_step=4, steps=40)
    world = test_loop.train(tmp_path, Extreme(), stages=[stage])
    later = [g.question_id for groups, *_ in world.calls["update"][10:] for g in groups]
    undecided = sum(later.count(f"algebra/{i}") for i in (3, 4)) / len(later)
    # Uniform sampling would give 2 of 7.
    assert undecided > 0.4


def test_weighted_draws_follow_their_weights():
    firsts = [weighted_indices([1.0, 3.0, 0.0], 1, (i,))[0] for i in range(2000)]
    assert firsts.count(1) / 2000 == pytest.approx(0.75, abs=0.03)
    assert firsts.count(2) == 0
    assert sorted(weighted_indices([1.0, 3.0, 0.0], 3, ("all",))) == [0, 1, 2]
    assert weighted_indices([0.0] * 5, 2, ("none",)) == weighted_indices([0.0] * 5, 2, ("none",))


def test_refills_come_from_the_whole_pool_in_a_separate_order():
    assert sorted(refill_indices(9, ("refill", 1))) == list(range(9))
    assert refill_indices(9, ("refill", 1)) != refill_indices(9, ("refill", 2))
