"""The pipelined schedule with stand-ins: bounded staleness, each question consumed once, the on-policy data order."""

import json
import time
from contextlib import suppress
from dataclasses import replace

import pytest
import test_loop

from vt_ray.config import GateConfig, StageConfig
from vt_ray.records import Rollouts
from vt_ray.signal_phase.pipelined import PromptQueue

STAGE = StageConfig("math", ["algebra"], 5, 2, 4, 8)


class World(test_loop.World):
    """Generates from a feed in a thread other than the training thread. Completions carry the generator's version."""

    version = 0
    pause = 0.0

    def generate(self, prompts, sampling):
        if not isinstance(prompts, PromptQueue):
            yield from super().generate(prompts, sampling)
            return
        while not prompts.ended:
            for prompt in prompts.take():
                self.calls["started"].append((prompt.step, prompt.problem.question_id, self.version))
                for rollouts in super_generate(self, [prompt], sampling):
                    made = tuple(replace(c, version_runs=((self.version, 3),)) for c in rollouts.completions)
                    yield Rollouts(rollouts.problem, rollouts.prompt_token_ids, made, prompt.step, prompt.seeds)
            time.sleep(0.001)

    def grade(self, rollouts):
        for r in rollouts:
            for group in super().grade([r]):
                firsts = tuple(c.version_runs[0][0] for c in r.completions)
                yield replace(group, step=r.step, first_versions=firsts, truncated=(False,) * len(r.completions))

    def update(self, groups, advantages, *args):
        self.calls["consumed"].append([(g.step, g.question_id, g.first_versions) for g in groups])
        time.sleep(self.pause)
        return super().update(groups, advantages, *args)

    def load(self, weights, fingerprint):
        acks = super().load(weights, fingerprint)
        self.version = weights.version
        return acks

    @property
    def held(self):
        """Generators may hold older weights than the learner: `value` passes the on-policy check of `generate`."""
        return self.value

    @held.setter
    def held(self, value):
        pass


def super_generate(world, prompts, sampling):
    return test_loop.World.generate(world, prompts, sampling)


def train(root, world, staleness=1, stage=STAGE):
    return test_loop.train(root, world, stages=[stage], schedule="pipelined", max_staleness=staleness)


def consumed(world):
    return [[(step, question) for step, question, _ in groups] for groups in world.calls["consumed"]]


@pytest.mark.parametrize("staleness", [1, 2, 4])
def test_staleness_reaches_and_does_not_exceed_its_bound(tmp_path, staleness):
    world = World()
    world.pause = 0.05
    train(tmp_path, world, staleness)
    ages = [step - min(versions) for step, groups in enumerate(world.calls["consumed"]) for *_, versions in groups]
    assert max(ages) == staleness
    lines = test_loop.metrics(tmp_path)
    assert [line["staleness_max"] for line in lines] == [min(step, staleness) for step in range(5)]


def test_each_step_consumes_its_questions_once_in_the_on_policy_order(tmp_path):
    world = train(tmp_path / "ahead", World(), 2)
    on_policy = test_loop.train(tmp_path / "on", test_loop.World(), stages=[STAGE])
    assert [[q for _, q in groups] for groups in consumed(world)] == [
        [g.question_id for g in groups] for groups, *_ in on_policy.calls["update"]
    ]
    assert [{step for step, _ in groups} for groups in consumed(world)] == [{i} for i in range(5)]


@pytest.mark.parametrize("crash_at", range(5, 80, 9))
def test_a_crash_does_not_change_the_order_of_the_data(tmp_path, crash_at):
    whole = consumed(train(tmp_path / "whole", World()))
    first = World(crash_at)
    with suppress(ConnectionAbortedError):
        train(tmp_path / "crashed", first)
    train(tmp_path / "crashed", World())
    steps = sorted((tmp_path / "crashed/rollouts/math").iterdir())
    recorded = [[q for q, _ in json.loads(step.read_text())[2]] for step in steps]
    assert recorded == [[q for _, q in groups] for groups in whole]


def test_groups_without_a_signal_are_replaced_while_others_are_in_flight(tmp_path):
    class Unlucky(World):
        """Every answer to the questions 0 and 3 is wrong."""

        def grade(self, rollouts):
            for group in super().grade(rollouts):
                unlucky = group.question_id.endswith(("0", "3"))
                wrong = tuple(replace(v, status="wrong") for v in group.verdicts)
                yield replace(group, verdicts=wrong) if unlucky else group

    world = train(tmp_path, Unlucky(), stage=replace(STAGE, refill_rounds=2))
    lines = test_loop.metrics(tmp_path)
    assert sum(line["replaced_groups"] for line in lines) > 0
    assert all(len(groups) == 2 for groups in world.calls["consumed"])
    assert max(line["staleness_max"] for line in lines) <= 1


def test_questions_submitted_for_steps_after_the_gate_are_listed(tmp_path):
    gate = GateConfig(max_truncated_share=0.5, window=1, min_steps=2)

    class Cut(World):
        def grade(self, rollouts):
            for group in super().grade(rollouts):
                yield replace(group, truncated=(True,) * len(group.truncated))

    world = train(tmp_path, Cut(), stage=replace(STAGE, gate=gate))
    end = json.loads((tmp_path / "rl/math/stage.json").read_text())
    assert end["steps"] == 2 and end["ended"].startswith("truncation: 100.0%")
    started = {(step, question) for step, question, _ in world.calls["started"]}
    unused = {(int(step), question) for step, questions in end["unused"].items() for question in questions}
    assert unused and started - unused == {pair for groups in consumed(world) for pair in groups}


def test_a_queue_yields_each_prompt_once_and_ends_when_closed_and_empty():
    queue = PromptQueue()
    queue.put([1, 2])
    assert queue.take() == [1, 2] and queue.take() == [] and not queue.ended
    queue.put([3])
    queue.close()
    assert queue.ended and queue.take() == []
