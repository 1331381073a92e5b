"""Long2Short: values by hand, and its properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.algorithms.length_reward import long2short

ALL = (True,) * 4


def test_a_group_by_hand():
    # Right: 10, 20, 20 tokens; s = .1, .05, .05, mean 1/15; deviations 1/30, -1/60, -1/60.
    assert long2short((1, 1, 1, 0), (10, 20, 20, 5), ALL, 0.2) == pytest.approx((1.2, 0.9, 0.9, 0.0))


@pytest.mark.parametrize(
    ("rewards", "lengths", "valid"),
    [
        ((1, 1, 1, 0), (7, 7, 7, 5), ALL),
        ((1, 0, 0, 0), (7, 9, 9, 9), ALL),
        ((0, 0, 0, 0), (1, 2, 3, 4), ALL),
        ((1, 1, 0, 0), (7, 9, 9, 9), (True, False, True, True)),
    ],
)
def test_equal_lengths_and_single_correct_completions_change_nothing(rewards, lengths, valid):
    assert long2short(rewards, lengths, valid, 0.2) == rewards


def test_no_share_changes_nothing():
    assert long2short((1, 1, 0, 0), (7, 9, 9, 9), ALL, 0.0) == (1, 1, 0, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 99_999), st.booleans()), min_size=1, max_size=16))
def test_shaped_rewards_keep_their_sum_and_fall_with_length(rollouts):
    rewards, lengths, valid = ([column[i] for column in rollouts] for i in range(3))
    shaped = long2short([float(r) for r in rewards], lengths, valid, 0.2)
    right = [i for i in range(len(rollouts)) if rewards[i] and valid[i]]
    assert sum(shaped[i] for i in right) == pytest.approx(len(right))
    assert all(0.8 - 1e-9 <= shaped[i] <= 1.2 + 1e-9 for i in right)
    assert all(shaped[i] == rewards[i] for i in range(len(rollouts)) if i not in right)
    ordered = sorted(right, key=lambda i: lengths[i])
    assert all(shaped[a] >= shaped[b] - 1e-9 for a, b in zip(ordered, ordered[1:], strict=False))
