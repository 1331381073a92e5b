"""The bandits of benchmarks/mgpo_regimes.py: their start, their gradient, their false verdicts."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import mgpo_regimes as regimes

from vt_ray.algorithms.mgpo import group_advantages
from vt_ray.records import AdvantageConfig

NO_STD = AdvantageConfig(0.0, "none", group_size=64)


def drawn(count=40, seed=0):
    return regimes.Questions.drawn(np.random.default_rng(seed), 2, count, "flat")


def test_the_start_has_the_spectrum():
    questions = regimes.Questions.drawn(np.random.default_rng(0), 4, 4000, "demo")
    p = questions.probabilities(np.zeros((1, 4, regimes.FEATURES), np.float32))
    assert p.sum(-1) == pytest.approx(1, abs=1e-5)
    right = p[..., 0]
    # The demo's Pass@1 and Pass@8 before RL.
    assert right.mean() == pytest.approx(0.375, abs=0.01)
    assert (1 - (1 - right) ** 8).mean() == pytest.approx(0.58, abs=0.01)


def test_the_gradient_is_that_of_the_mean_accuracy():
    """With advantages r - mean, its expectation is (G - 1) / G times the derivative of Pass@1."""
    questions, rng = drawn(), np.random.default_rng(1)
    theta = np.zeros((1, 2, regimes.FEATURES), np.float32)
    regime = regimes.Regime("flat", 64)
    found = np.mean([regimes.policy_gradient(questions, theta, regime, [NO_STD], rng) for _ in range(200)], 0)
    p = questions.probabilities(theta)[0]
    mean = np.einsum("sqa,sqaf->sqf", p, questions.features)
    exact = (p[..., :1] * (questions.features[:, :, 0] - mean)).mean(1) * 63 / 64
    assert found[0] == pytest.approx(exact, abs=0.1 * float(abs(exact).max()))
    assert np.corrcoef(found[0].ravel(), exact.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(("regime", "sign"), [((0.0, 0.0), 1), ((1.0, 1.0), -1)])
def test_verdicts_that_are_all_false_turn_the_gradient_round(regime, sign):
    theta = np.zeros((1, 2, regimes.FEATURES), np.float32)
    plain, asked = (
        regimes.policy_gradient(drawn(), theta, regimes.Regime("flat", 8, *false), [NO_STD], np.random.default_rng(3))
        for false in ((0.0, 0.0), regime)
    )
    assert asked == pytest.approx(sign * plain, abs=1e-6)


def test_all_weights_start_equal_and_lambda_zero_is_grpo():
    weights = [AdvantageConfig(0.0), AdvantageConfig(1.0, weight="none"), AdvantageConfig(4.0)]
    before = regimes.final_scores(regimes.Regime("demo", steps=0), range(3), weights)
    assert (before == before[:1]).all()
    after = regimes.final_scores(regimes.Regime("demo", steps=3), range(3), weights)
    assert (after[0] == after[1]).all() and (after[0] != after[2]).all()


def test_advantages_are_those_of_the_run():
    rewards = np.array([[1.0, 0, 0, 0], [1, 1, 1, 0]])
    for config in (replace(config, group_size=4) for config in regimes.WEIGHTS.values() if config.weight == "mgpo"):
        expected = group_advantages(rewards, config.lam, norm=config.advantage_norm)
        assert regimes.group_advantages_of(rewards, config) == pytest.approx(expected, rel=1e-12)
