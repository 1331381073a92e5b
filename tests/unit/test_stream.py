"""The order of the data: a pure function of (key, step)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.data.stream import batch_indices

KEY = (0, "math_short")


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 50))
def test_a_batch_holds_no_index_twice(pool, batch, step):
    got = batch_indices(pool, batch, step, KEY)
    assert len(got) == batch
    assert set(got) <= set(range(pool))
    assert len(set(got)) == min(batch, pool)


@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_covers_a_pool_of_whole_batches_once(batches, batch, epoch, seed):
    pool = batches * batch
    steps = range(epoch * batches, (epoch + 1) * batches)
    got = [i for step in steps for i in batch_indices(pool, batch, step, (seed, "x"))]
    assert sorted(got) == list(range(pool))


def test_what_an_epoch_leaves_over_comes_in_a_later_one():
    # 10 problems in batches of 4: two batches an epoch, and no two of one epoch alike.
    for epoch in range(5):
        first, second = (set(batch_indices(10, 4, 2 * epoch + i, KEY)) for i in (0, 1))
        assert not first & second
    seen = {i for step in range(20) for i in batch_indices(10, 4, step, KEY)}
    assert seen == set(range(10))


def test_a_pool_smaller_than_a_batch_repeats_evenly():
    got = batch_indices(3, 8, 5, KEY)
    assert sorted(got.count(i) for i in range(3)) == [2, 3, 3]


def test_epochs_and_keys_are_shuffled_differently():
    first = batch_indices(100, 100, 0, KEY)
    assert first != sorted(first)
    assert first != batch_indices(100, 100, 1, KEY)
    assert first != batch_indices(100, 100, 0, (1, "math_short"))
    assert first != batch_indices(100, 100, 0, (0, "math_long"))


def test_the_same_arguments_give_the_same_batch():
    assert batch_indices(50, 7, 11, KEY) == batch_indices(50, 7, 11, [*KEY])


def test_an_empty_pool_is_refused():
    with pytest.raises(ValueError, match="empty"):
        batch_indices(0, 4, 0, KEY)
