"""Rates by hand: warm-up, then each schedule to its end."""

import pytest

from vt_ray.algorithms.learning_rate import lr_at
from vt_ray.config import OptimizerConfig


def rates(schedule, steps, total, **given):
    return [lr_at(step, total, OptimizerConfig(lr=8.0, schedule=schedule, **given)) for step in steps]


def test_warm_up_is_linear_and_its_first_step_trains():
    for schedule in ("cosine", "linear", "constant"):
        assert rates(schedule, range(4), 20, warmup_steps=4, min_lr_ratio=0.5) == [2, 4, 6, 8]


def test_linear_by_hand():
    # Eight steps from the full rate to a quarter of it; it stays there.
    assert rates("linear", [2, 4, 6, 8, 10, 11, 50], 11, warmup_steps=2, min_lr_ratio=0.25) == [8, 6.5, 5, 3.5, 2, 2, 2]


def test_cosine_by_hand():
    # cos(0), cos(60 deg), cos(90 deg), cos(180 deg)
    assert rates("cosine", [0, 2, 3, 6, 9], 7, warmup_steps=0, min_lr_ratio=0.0) == pytest.approx([8, 6, 4, 0, 0])


def test_constant_keeps_the_rate_for_any_ratio():
    assert rates("constant", [1, 5, 99], 10, warmup_steps=1, min_lr_ratio=0.0) == [8, 8, 8]


def test_a_ratio_of_one_is_constant():
    assert rates("cosine", [0, 3, 9], 10, warmup_steps=0, min_lr_ratio=1.0) == [8, 8, 8]


def test_an_unknown_schedule_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="'step' must be one of cosine, linear, constant"):
        rates("step", [5], 10, warmup_steps=0)
