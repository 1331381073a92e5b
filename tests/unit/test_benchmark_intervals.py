"""Intervals of a benchmark with few problems: their coverage, and cases in which a bootstrap has no width."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.evaluation.statistics import benchmark_difference, benchmark_interval, mean_interval

scores = st.lists(st.integers(0, 8).map(lambda c: c / 8), min_size=1, max_size=60)
PROBLEMS, TRIALS = 30, 400


def rates(rng, mean, spread):
    """The accuracy of a model on each problem: Beta(a, b) with a + b = spread."""
    return rng.beta(mean * spread, (1 - mean) * spread, PROBLEMS)


@pytest.mark.parametrize("samples", [4, 64])
@pytest.mark.parametrize("spread", [0.3, 1, 4, 1e6])
@pytest.mark.parametrize("mean", [0.05, 0.5, 0.8])
def test_thirty_problems_cover_the_true_mean(mean, spread, samples):
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(TRIALS):
        found = benchmark_interval((rng.binomial(samples, rates(rng, mean, spread)) / samples).tolist(), samples)
        hits += found.low <= mean <= found.high
    # 0.95 minus 2.5 standard errors of the simulation; the long run has 0.943 at least (docs/statistics.md).
    assert hits / TRIALS >= 0.92


@pytest.mark.parametrize("samples", [4, 64])
@pytest.mark.parametrize("gain", [0.0, 0.1])
@pytest.mark.parametrize("mean", [0.05, 0.5, 0.8])
def test_thirty_pairs_cover_the_true_difference(mean, gain, samples):
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(TRIALS):
        before = rates(rng, mean, 1)
        # A tenth of all problems is solved after the change, solved or not before it.
        after = np.where(rng.random(PROBLEMS) < gain, 1.0, before)
        old, new = (
            {str(q): rng.binomial(samples, p) / samples for q, p in enumerate(side)} for side in (before, after)
        )
        found = benchmark_difference(old, new)
        hits += found.low <= gain * (1 - mean) <= found.high
    assert hits / TRIALS >= 0.92


def test_a_few_small_scores_do_not_give_a_narrow_interval():
    # The scores 0.125 of three problems say little about problems that the model always solves.
    few = [0.125] * 3 + [0.0] * 27
    assert mean_interval(few, 64).high < 0.04
    assert benchmark_interval(few, 64).high > 0.08


def test_many_problems_have_the_interval_of_a_milestone():
    rng = np.random.default_rng(2)
    many = (rng.binomial(16, rng.beta(0.5, 0.5, 1000)) / 16).tolist()
    cautious, plain = benchmark_interval(many, 16), mean_interval(many, 16)
    assert (cautious.low, cautious.high) == pytest.approx((plain.low, plain.high), abs=1e-4)


@given(scores, st.integers(1, 64))
def test_the_interval_holds_its_mean_and_is_no_narrower_than_that_of_a_milestone(values, samples):
    found, plain = benchmark_interval(values, samples), mean_interval(values, samples)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.high - found.low >= plain.high - plain.low - 1e-12


@given(scores, st.integers(1, 64))
def test_the_interval_mirrors_when_right_and_wrong_change_places(values, samples):
    found, mirror = benchmark_interval(values, samples), benchmark_interval([1 - v for v in values], samples)
    assert (mirror.low, mirror.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)


@pytest.mark.parametrize("values", [[], [1.5], [float("nan")]])
def test_impossible_scores_are_refused(values):
    with pytest.raises(ValueError):
        benchmark_interval(values, 1)


def test_a_difference_by_hand():
    # Differences 0.5, 0, -0.5, 0 and half a problem with +-1: the centre is 0, the squares are 0.5 + 0.5, and
    # the 97.5% quantile of Student's t with 3 degrees of freedom is 3.182.
    before = {"a": 0.0, "b": 1.0, "c": 0.5, "d": 0.5}
    after = {"d": 0.5, "c": 0.0, "b": 1.0, "a": 0.5}
    found = benchmark_difference(before, after)
    half = 3.1824 * (1.0 / 3.5 / 4.5) ** 0.5
    assert (found.mean, found.low, found.high) == pytest.approx((0.0, -half, half), abs=1e-4)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_a_difference_lies_in_its_interval_and_is_never_a_point(pairs):
    before, after = ({str(q): pair[side] / 4 for q, pair in enumerate(pairs)} for side in (0, 1))
    found, back = benchmark_difference(before, after), benchmark_difference(after, before)
    assert -1 <= found.low <= found.mean <= found.high <= 1
    assert found.high - found.low > 0.01
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_pairs_of_different_questions_are_refused():
    with pytest.raises(ValueError, match="only before: lost; only after: new"):
        benchmark_difference({"lost": 1.0}, {"new": 1.0})
    with pytest.raises(ValueError, match="no questions"):
        benchmark_difference({}, {})
