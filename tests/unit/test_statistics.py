import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.evaluation.statistics import Interval, mean_interval, paired_difference

scores = st.lists(st.integers(0, 8).map(lambda c: c / 8), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_single_samples_give_the_published_wilson_interval(correct, n, low, high):
    # Of 0/1 scores the variance is p(1-p)n/(n-1), so n_eff is capped to n: Wilson's own interval.
    interval = mean_interval([1.0] * correct + [0.0] * (n - correct), 1)
    assert interval.mean == pytest.approx(correct / n)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


def test_effective_size_follows_the_spread_between_problems():
    # p = 1/2, v = (4 * 1/16) / 3 = 1/12, so n_eff = 4 * (1/4) / (1/12) = 12; Wilson of 6 in 12.
    interval = mean_interval([0.25, 0.75, 0.25, 0.75], 8)
    assert (interval.low, interval.high) == pytest.approx((0.2538, 0.7462), abs=5e-5)


def test_equal_scores_count_every_sample_and_no_more():
    # No spread: n_eff = 10 * 4 = 40 flips; Wilson of 20 in 40.
    interval = mean_interval([0.5] * 10, 4)
    assert (interval.low, interval.high) == pytest.approx((0.3520, 0.6480), abs=5e-5)


def test_one_problem_counts_once_however_often_it_is_sampled():
    assert mean_interval([0.5], 64) == mean_interval([0.5], 1)
    assert mean_interval([1.0], 64).low == pytest.approx(0.2065, abs=5e-5)


@given(scores, st.integers(1, 64))
def test_interval_holds_its_mean_and_never_is_a_point(values, samples):
    interval = mean_interval(values, samples)
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    assert interval.high - interval.low > 1e-3


@given(scores, st.integers(1, 64))
def test_interval_mirrors_when_right_and_wrong_change_places(values, samples):
    interval = mean_interval(values, samples)
    mirror = mean_interval([1 - v for v in values], samples)
    assert (mirror.low, mirror.high) == pytest.approx((1 - interval.high, 1 - interval.low), abs=1e-9)


@given(scores, st.integers(1, 32))
def test_more_samples_never_widen_it(values, samples):
    few, many = mean_interval(values, samples), mean_interval(values, 2 * samples)
    assert many.high - many.low <= few.high - few.low + 1e-12


def test_interval_covers_the_true_mean_about_95_times_in_100():
    rng = random.Random(7)
    hits, trials, problems, samples = 0, 600, 40, 4
    for _ in range(trials):
        # Difficulty is Beta(1, 2), so the true mean over problems is 1/3.
        rates = [rng.betavariate(1, 2) for _ in range(problems)]
        interval = mean_interval([sum(rng.random() < r for _ in range(samples)) / samples for r in rates], samples)
        hits += interval.low <= 1 / 3 <= interval.high
    assert 0.92 <= hits / trials <= 0.98


@pytest.mark.parametrize(
    ("values", "samples", "says"),
    [
        ([], 1, "no scores"),
        ([0.5, 1.5], 1, "1.5"),
        ([-0.1], 1, "-0.1"),
        ([float("nan")], 1, "nan"),
        ([0.5], 0, "at least 1"),
    ],
)
def test_impossible_scores_are_refused(values, samples, says):
    with pytest.raises(ValueError, match=says):
        mean_interval(values, samples)


def test_difference_is_paired_by_question():
    before = {"a": 0.0, "b": 1.0, "c": 0.5}
    after = {"c": 1.0, "a": 0.5, "b": 1.0}
    interval = paired_difference(before, after)
    assert interval.mean == pytest.approx(1 / 3)
    # Differences are 0.5, 0, 0.5: of three draws all can be 0 (1 in 27) and all 0.5 (8 in 27).
    assert (interval.low, interval.high) == (0.0, 0.5)


def test_pairing_removes_what_questions_differ_by():
    before = {str(i): i % 2 * 0.9 for i in range(50)}
    after = {q: s + 0.1 for q, s in before.items()}
    interval = paired_difference(before, after)
    assert (interval.low, interval.high) == pytest.approx((0.1, 0.1))


def test_difference_of_coin_flips_is_as_wide_as_theory_says():
    # 100 differences of +-1: the standard error is 0.1, so the interval is about 0.0 -+ 0.196.
    before = {str(i): float(i % 2) for i in range(100)}
    after = {str(i): float((i + 1) % 2) for i in range(100)}
    interval = paired_difference(before, after)
    assert interval.mean == 0.0
    assert (interval.low, interval.high) == pytest.approx((-0.196, 0.196), abs=0.025)


def test_difference_depends_on_seed_and_not_on_order():
    rng = random.Random(3)
    before = {str(i): rng.random() for i in range(30)}
    after = {str(i): rng.random() for i in range(30)}
    shuffled = dict(reversed(list(after.items())))
    assert paired_difference(before, after) == paired_difference(before, shuffled)
    assert paired_difference(before, after) != paired_difference(before, after, seed=1)


def test_questions_that_differ_are_named():
    with pytest.raises(ValueError, match="only before: lost; only after: new"):
        paired_difference({"kept": 0.0, "lost": 1.0}, {"kept": 0.0, "new": 1.0})
    with pytest.raises(ValueError, match="q0, q1, q2, q3, q4 and 4 more"):
        paired_difference({f"q{i}": 0.0 for i in range(9)}, {})
    with pytest.raises(ValueError, match="no questions"):
        paired_difference({}, {})


def test_interval_as_plain_data():
    assert Interval(0.5, 0.4, 0.6).as_dict() == {"mean": 0.5, "low": 0.4, "high": 0.6}
