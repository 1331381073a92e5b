import random
from math import sqrt
from statistics import fmean, variance

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.evaluation.statistics import (
    Interval,
    difference_over_seeds,
    mean_interval,
    mean_over_nested_seeds,
    mean_over_seeds,
    paired_difference,
)

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


by_seed = st.integers(1, 4).flatmap(
    lambda seeds: st.integers(1, 12).flatmap(
        lambda questions: st.lists(
            st.lists(st.integers(0, 8).map(lambda c: c / 8), min_size=questions, max_size=questions),
            min_size=seeds,
            max_size=seeds,
        ).map(lambda rows: {s: {f"q{i}": v for i, v in enumerate(row)} for s, row in enumerate(rows)})
    )
)


def test_two_seeds_by_hand():
    # One of the two seeds is drawn: of seed 0 the two questions give 0 in 1 of 4 draws, seed 1 gives 1 in all.
    found = mean_over_seeds({0: {"a": 0.0, "b": 1.0}, 1: {"a": 1.0, "b": 1.0}})
    assert found.interval == Interval(0.75, 0.0, 1.0)
    assert (found.by_seed, found.num_problems) == ({0: 0.5, 1: 1.0}, 2)


def test_seeds_vary_as_two_draws_of_three():
    # Questions agree, so only seeds count: two draws give -1 and 1 in 1 of 9 cases each, three in 1 of 27.
    found = mean_over_seeds({s: dict.fromkeys("abc", s - 1.0) for s in range(3)})
    assert (found.interval.low, found.interval.high) == (-1.0, 1.0)
    # Of 6 seeds 5 are drawn: the variance of their mean is (35 / 12) / 5, which is the unbiased 3.5 / 6.
    many = mean_over_seeds({s: {"a": float(s)} for s in range(6)}, resamples=20_000)
    assert (many.interval.high - many.interval.low) / 2 == pytest.approx(1.96 * (3.5 / 6) ** 0.5, abs=0.12)


def test_one_seed_is_a_bootstrap_over_problems():
    rng = random.Random(5)
    before = {str(i): rng.random() for i in range(80)}
    after = {q: s + rng.gauss(0.1, 0.3) for q, s in before.items()}
    two_level, one_level = difference_over_seeds({7: before}, {7: after}).interval, paired_difference(before, after)
    assert two_level.mean == pytest.approx(one_level.mean)
    assert (two_level.low, two_level.high) == pytest.approx((one_level.low, one_level.high), abs=0.02)


@settings(deadline=None)
@given(by_seed)
def test_a_run_does_not_differ_from_itself(scores):
    found = difference_over_seeds(scores, scores, resamples=200)
    assert found.interval == Interval(0.0, 0.0, 0.0)
    assert set(found.by_seed.values()) == {0.0}


@settings(deadline=None)
@given(by_seed, st.integers(-8, 8))
def test_a_constant_shift_is_that_shift_whatever_seeds_and_questions_do(scores, eighths):
    shifted = {s: {q: v + eighths / 8 for q, v in of_seed.items()} for s, of_seed in scores.items()}
    found = difference_over_seeds(scores, shifted, resamples=200).interval
    assert (found.mean, found.low, found.high) == pytest.approx((eighths / 8,) * 3, abs=1e-12)


@settings(deadline=None)
@given(by_seed)
def test_a_mean_lies_in_its_interval_and_among_its_seeds(scores):
    found = mean_over_seeds(scores, resamples=200)
    assert 0 <= found.interval.low <= found.interval.mean <= found.interval.high <= 1
    assert np.mean(list(found.by_seed.values())) == pytest.approx(found.interval.mean)
    reordered = {s: dict(reversed(of.items())) for s, of in scores.items()}
    assert mean_over_seeds(reordered, resamples=200) == found


def test_differences_pair_what_both_sides_have():
    before = {0: {"a": 0.0, "b": 0.5, "c": 0.0}, 1: {"a": 1.0, "b": 0.5}, 2: {"a": 0.0}}
    after = {1: {"a": 1.0, "b": 1.0}, 0: {"a": 0.5, "b": 0.5, "c": 1.0}, 3: {"a": 1.0}}
    found = difference_over_seeds(before, after)
    # Seeds 0 and 1, questions a and b: +0.5 and 0 of seed 0, 0 and +0.5 of seed 1.
    assert (found.interval.mean, found.by_seed, found.num_problems) == (0.25, {0: 0.25, 1: 0.25}, 2)


def test_seeds_or_questions_without_a_pair_are_refused():
    with pytest.raises(ValueError, match=r"no seed in common: \[0\] and \[1\]"):
        difference_over_seeds({0: {"a": 0.0}}, {1: {"a": 0.0}})
    with pytest.raises(ValueError, match="no question in common"):
        mean_over_seeds({0: {"a": 0.0}, 1: {"b": 0.0}})
    with pytest.raises(ValueError, match="at least one run"):
        mean_over_seeds({})


def test_two_level_interval_covers_the_truth_with_three_seeds():
    # Seeds move all questions by 0.03 (sd), questions differ by 0.1, the luck of one seed on one question is 0.25.
    rng = np.random.default_rng(11)
    hits, trials = 0, 150
    for _ in range(trials):
        table = rng.normal(0, 0.03, (3, 1)) + rng.normal(0, 0.1, 100) + rng.normal(0, 0.25, (3, 100))
        scores = {s: {str(q): value for q, value in enumerate(row)} for s, row in enumerate(table)}
        interval = mean_over_seeds(scores, resamples=400).interval
        hits += interval.low <= 0 <= interval.high
    assert 0.92 <= hits / trials <= 1.0


def test_seeds_with_questions_of_their_own_are_averaged_by_seed():
    rng = random.Random(0)
    scores = {s: {f"{s}/{q}": rng.random() for q in range(40 + 10 * s)} for s in range(3)}
    found = mean_over_nested_seeds(scores)
    means = [fmean(of_seed.values()) for of_seed in scores.values()]
    assert list(found.by_seed.values()) == pytest.approx(means)
    assert found.interval.mean == pytest.approx(fmean(means))
    assert found.num_problems == 40 + 50 + 60
    within = sum(variance(of_seed.values()) / len(of_seed) for of_seed in scores.values()) / 9
    half = 1.96 * sqrt(max(within, variance(means) / 3))
    assert found.interval.high - found.interval.mean == pytest.approx(half, rel=1e-4)


def test_the_spread_between_seeds_widens_the_interval():
    equal = {s: {f"{s}/{q}": float(q % 2) for q in range(40)} for s in range(3)}
    shifted = {s: {q: score + s for q, score in of_seed.items()} for s, of_seed in equal.items()}
    narrow, wide = mean_over_nested_seeds(equal).interval, mean_over_nested_seeds(shifted).interval
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * sqrt(variance([0.0, 1.0] * 20) / 120), rel=1e-4)
    assert wide.high - wide.low == pytest.approx(2 * 1.96 / sqrt(3), rel=1e-4)


def test_nested_differences_are_paired_within_a_seed():
    before = {s: {f"{s}/{q}": 0.5 for q in range(5)} for s in range(2)}
    after = {s: {q: score + 0.25 for q, score in of_seed.items()} for s, of_seed in before.items()}
    found = difference_over_seeds(before, after, nested=True)
    assert found.by_seed == {0: 0.25, 1: 0.25}
    assert (found.interval.low, found.interval.mean, found.interval.high) == (0.25, 0.25, 0.25)
    with pytest.raises(ValueError, match="no scores of a seed"):
        mean_over_nested_seeds({0: {}})
