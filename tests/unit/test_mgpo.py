"""The MGPO weight and advantages: check values of the paper, and an independent GRPO."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from vt_ray.algorithms.mgpo import (
    entropy_deviation,
    group_accuracy,
    group_advantages,
    normalised_advantages,
    weight,
)

binary = st.sampled_from([0.0, 1.0])
lams = st.floats(0, 8)


def grpo(rewards):
    """(r - mean) / (population std + 1e-6), in plain Python; 0 for a group without a signal."""
    if len(set(rewards)) < 2:
        return [0.0] * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    std = math.sqrt(math.fsum((r - mean) ** 2 for r in rewards) / len(rewards))
    return [(r - mean) / (std + 1e-6) for r in rewards]


@pytest.mark.parametrize(
    ("correct", "deviation", "w1", "w4"),
    [
        (0, 0.6931, 0.5, 0.0625),
        (1, 0.3164, 0.729, 0.282),
        (2, 0.1308, 0.877, 0.593),
        (3, 0.0316, 0.969, 0.881),
        (4, 0.0, 1.0, 1.0),
    ],
)
def test_check_values_of_a_group_of_eight(correct, deviation, w1, w4):
    p = correct / 8
    assert entropy_deviation(p) == pytest.approx(deviation, abs=5e-5)
    assert weight(p, 1.0) == pytest.approx(w1, abs=5e-4)
    assert weight(p, 4.0) == pytest.approx(w4, abs=5e-4)


@pytest.mark.parametrize("correct", range(9))
@pytest.mark.parametrize("lam", [0.5, 1.0, 2.0, 4.0])
def test_advantages_are_the_weight_times_the_normalised_ones(correct, lam):
    rewards = [1.0] * correct + [0.0] * (8 - correct)
    expected = weight(correct / 8, lam) * np.array(grpo(rewards))
    assert group_advantages(rewards, lam) == pytest.approx(expected, rel=1e-12)


def test_one_correct_of_four_by_hand():
    # mean 1/4, std sqrt(3)/4: A = sqrt(3) and -1/sqrt(3); D(1/4) = 0.1308 and w = exp(-0.1308) = 0.8774.
    got = group_advantages([1, 0, 0, 0], 1.0).tolist()
    assert got == pytest.approx([0.8774 * 3**0.5, *[-0.8774 / 3**0.5] * 3], abs=1e-4)


def test_a_weight_on_the_raw_reward_would_cancel():
    # Why the weight must multiply A: a scaled reward cancels under the division by std, a scaled A does not.
    rewards = [1.0, 0.0, 0.0, 0.0]
    w = weight(0.25, 1.0)
    scaled_rewards = grpo([w * r for r in rewards])
    assert scaled_rewards == pytest.approx(grpo(rewards), rel=1e-5)
    assert group_advantages(rewards, 1.0).tolist() == pytest.approx([w * a for a in grpo(rewards)])
    assert group_advantages(rewards, 1.0)[0] < 0.9 * scaled_rewards[0]


@given(p=st.floats(0, 1), lam=lams)
def test_weight_is_symmetric_and_lies_between_its_floor_and_one(p, lam):
    assert weight(p, lam) == pytest.approx(weight(1 - p, lam), rel=1e-9)
    assert 2**-lam * (1 - 1e-12) <= weight(p, lam) <= 1 + 1e-12


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_weight_at_the_ends_is_two_to_the_minus_lambda(lam):
    assert weight(0.0, lam) == pytest.approx(2**-lam, rel=1e-15)
    assert weight(1.0, lam) == pytest.approx(2**-lam, rel=1e-15)
    assert weight(0.5, lam) == 1.0


@given(st.floats(0, 1))
def test_lambda_zero_gives_weight_one(p):
    assert weight(p, 0.0) == 1.0


@pytest.mark.parametrize("size", [2, 4, 8])
def test_lambda_zero_is_grpo_bit_for_bit(size):
    # Sizes whose shares are exact in binary, so that no order of summation can round differently.
    for rewards in itertools.product([0.0, 1.0], repeat=size):
        assert group_advantages(rewards, 0.0).tolist() == grpo(rewards)


@given(st.lists(binary, min_size=2, max_size=33))
def test_lambda_zero_is_grpo_for_any_group_size(rewards):
    assert group_advantages(rewards, 0.0).tolist() == pytest.approx(grpo(rewards), rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, 1e-300, -7.7])
@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8])
def test_equal_rewards_give_exactly_zero(value, size):
    # 0.1 + 0.1 + 0.1 is not 0.3: a computed mean would leave a rest, and the tiny std would blow it up.
    assert group_advantages([value] * size, 1.0).tolist() == [0.0] * size


@given(
    st.lists(st.tuples(binary, st.booleans(), st.sampled_from([0.0, 1.0, 9.0, math.nan, math.inf])), min_size=1),
    lams,
)
def test_an_invalid_rollout_enters_no_statistic(group, lam):
    valid = [ok for _, ok, _ in group]
    rewards = [r if ok else junk for r, ok, junk in group]
    kept = [r for r, ok, _ in group if ok]
    got = group_advantages(rewards, lam, valid).tolist()
    expected = group_advantages(kept, lam).tolist() if len(kept) >= 2 else [0.0] * len(kept)
    assert [a for a, ok in zip(got, valid, strict=True) if ok] == pytest.approx(expected, rel=1e-9)
    assert all(a == 0.0 for a, ok in zip(got, valid, strict=True) if not ok)
    share = sum(kept) / len(kept) if kept else 0.0
    assert group_accuracy(rewards, valid).item() == pytest.approx(share)


def test_fewer_than_two_valid_rollouts_give_zero():
    assert group_advantages([1.0, 0.0, 1.0], 1.0, [True, False, False]).tolist() == [0.0] * 3
    assert group_advantages([1.0, 0.0], 1.0, [False, False]).tolist() == [0.0] * 2


@given(st.integers(2, 9).flatmap(lambda g: st.lists(st.lists(binary, min_size=g, max_size=g), min_size=1)), lams)
def test_a_batch_equals_its_rows_one_by_one(rows, lam):
    batch = group_advantages(rows, lam)
    assert batch.shape == (len(rows), len(rows[0]))
    for row, got in zip(rows, batch, strict=True):
        assert got.tolist() == pytest.approx(group_advantages(row, lam).tolist(), rel=1e-12)


def test_a_batch_takes_a_mask_for_each_row():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, math.nan]])
    valid = torch.tensor([[True] * 4, [True, True, True, False]])
    batch = group_advantages(rewards, 2.0, valid)
    assert batch[0].tolist() == pytest.approx([1, -1, -1, 1], abs=1e-5)
    assert batch[1, :3].tolist() == pytest.approx(group_advantages([1.0, 1.0, 0.0], 2.0).tolist())
    assert batch[1, 3] == 0


@given(st.lists(binary, min_size=2, max_size=16), lams)
def test_advantages_sum_to_zero_and_have_the_sign_of_the_reward(rewards, lam):
    advantages = group_advantages(rewards, lam)
    assert advantages.sum().item() == pytest.approx(0, abs=1e-9)
    assert (abs(advantages) <= abs(group_advantages(rewards, 0.0)) * (1 + 1e-12)).all()
    assume(len(set(rewards)) == 2)
    assert all((a > 0) == (r == 1) for a, r in zip(advantages.tolist(), rewards, strict=True))


@given(st.data())
def test_reordering_the_rollouts_reorders_the_advantages(data):
    rewards = data.draw(st.lists(binary, min_size=2, max_size=12))
    order = data.draw(st.permutations(range(len(rewards))))
    moved = group_advantages([rewards[i] for i in order], 1.0).tolist()
    still = group_advantages(rewards, 1.0).tolist()
    assert moved == pytest.approx([still[i] for i in order], rel=1e-12)


@pytest.mark.parametrize("accuracy", [-0.01, 1.01, math.nan, math.inf, [0.5, 1.5]])
def test_an_accuracy_outside_zero_to_one_is_refused(accuracy):
    with pytest.raises(ValueError, match="0, 1"):
        entropy_deviation(accuracy)
    with pytest.raises(ValueError, match="0, 1"):
        weight(accuracy, 1.0)


@pytest.mark.parametrize("lam", [-1e-9, math.inf, -math.inf, math.nan])
def test_a_bad_lambda_is_refused(lam):
    with pytest.raises(ValueError, match="lam"):
        weight(0.5, lam)
    with pytest.raises(ValueError, match="lam"):
        group_advantages([1.0, 0.0], lam)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_valid_reward_must_be_finite(bad):
    with pytest.raises(ValueError, match="finite"):
        group_advantages([1.0, bad, 0.0], 1.0)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="shape"):
        group_advantages([1.0, 0.0, 1.0], 1.0, [True, True])
    with pytest.raises(ValueError, match="shape"):
        group_advantages([[1.0, 0.0], [1.0, 0.0]], 1.0, [True, True])
    with pytest.raises(ValueError, match="group"):
        group_advantages(torch.tensor(1.0), 1.0)


@pytest.mark.parametrize("made", [list, np.array, torch.tensor])
def test_lists_arrays_and_tensors_give_the_same_float64_arrays(made):
    rewards, valid = [[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]], [[True] * 4, [True, True, True, False]]
    advantages, accuracy = group_advantages(made(rewards), 1.0, made(valid)), group_accuracy(made(rewards), made(valid))
    assert advantages.dtype == accuracy.dtype == np.float64
    assert np.array_equal(advantages, group_advantages(rewards, 1.0, valid))
    assert np.array_equal(accuracy, [1 / 2, 1 / 3])
    assert weight(made([0.5, 1.0]), 1.0).tolist() == [1.0, 0.5]
    assert entropy_deviation(made([0.5, 0.25])).dtype == np.float64


@pytest.mark.parametrize("accuracy", [0.25, np.float64(0.25), np.float32(0.25), torch.tensor(0.25)])
def test_one_number_gives_a_float(accuracy):
    assert type(weight(accuracy, 1.0)) is float and type(entropy_deviation(accuracy)) is float
    assert isinstance(group_accuracy([1.0, 0.0]), float)


def test_a_given_weight_and_shaped_rewards_replace_those_of_the_group():
    rewards, shaped = [1.0, 1.0, 0.0, 0.0], [1.2, 0.8, 0.0, 0.0]
    got = group_advantages(rewards, 1.0, group_weight=0.25, shaped_rewards=shaped)
    assert got.tolist() == (0.25 * normalised_advantages(shaped)).tolist()
    # p_c is that of the binary rewards: 1/2, whose weight is 1.
    assert group_advantages(rewards, 4.0, shaped_rewards=shaped).tolist() == normalised_advantages(shaped).tolist()
    rows = group_advantages([rewards, rewards], 1.0, group_weight=[0.25, 0.5], shaped_rewards=[shaped, rewards])
    assert rows.tolist() == [got.tolist(), (0.5 * normalised_advantages(rewards)).tolist()]


def test_the_weight_of_one_group_and_of_a_batch_agree():
    shares = [k / 24 for k in range(25)]
    assert weight(shares, 2.0) == pytest.approx([weight(p, 2.0) for p in shares], rel=1e-15)
