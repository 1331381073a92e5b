"""Pass@K against counting every subset of the samples."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.algorithms.pass_at_k import pass_at_k

cases = [(n, c, k) for n in range(1, 9) for c in range(n + 1) for k in range(1, n + 1)]


@pytest.mark.parametrize("n", range(1, 9))
def test_equals_the_share_of_subsets_that_hold_a_correct_sample(n):
    for size, correct, k in cases:
        if size != n:
            continue
        samples = [True] * correct + [False] * (n - correct)
        subsets = list(combinations(samples, k))
        expected = sum(any(subset) for subset in subsets) / len(subsets)
        assert pass_at_k(n, correct, k) == pytest.approx(expected, abs=1e-12), (correct, k)


def test_by_hand():
    # 1 - C(3,2)/C(5,2) = 1 - 3/10
    assert pass_at_k(5, 2, 2) == pytest.approx(0.7)
    assert pass_at_k(64, 16, 1) == 0.25
    assert pass_at_k(64, 0, 64) == 0.0
    assert pass_at_k(64, 1, 64) == 1.0


def test_thousands_of_samples_neither_overflow_nor_lose_digits():
    # With one correct sample the chance is k/n.
    assert pass_at_k(10_000, 1, 1000) == pytest.approx(0.1, rel=1e-12)


@given(st.integers(2, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1), st.integers(1, n - 1))))
def test_more_draws_or_more_correct_samples_never_hurt(case):
    n, correct, k = case
    assert 0 <= pass_at_k(n, correct, k) <= pass_at_k(n, correct, k + 1) <= 1
    assert pass_at_k(n, correct, k) <= pass_at_k(n, correct + 1, k)


@pytest.mark.parametrize(("n", "c", "k"), [(8, 9, 1), (8, -1, 1), (8, 4, 0), (8, 4, 9), (0, 0, 1), (8, 4, -1)])
def test_impossible_counts_are_refused_with_the_limit(n, c, k):
    with pytest.raises(ValueError, match="must lie in"):
        pass_at_k(n, c, k)
