"""The weight of each token of a batch, by hand: 3 groups, one of them without a verdict."""

import pytest

from vt_ray.algorithms.aggregation import completion_token_weights
from vt_ray.records import GradedGroup, Verdict

STATUS = {"+": "correct", "-": "wrong", "?": "unverified"}


def group(marks, lengths, **options):
    verdicts = tuple(Verdict(STATUS[m]) for m in marks)
    return GradedGroup("q", "s", verdicts, 3, lengths, options.pop("cut", (False,) * len(marks)), None, **options)


GROUPS = [group("+-?", (2, 4, 8)), group("??", (5, 5)), group("-+", (10, 0))]


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        # N = 2 groups count, 2 completions in each.
        ("sequence_mean", [(1 / 8, 1 / 16, 0), (0, 0), (1 / 40, 0)]),
        # 2 + 4 + 10 tokens count.
        ("token_mean", [(1 / 16, 1 / 16, 0), (0, 0), (1 / 16, 0)]),
        # 2 * 2 * 32
        ("fixed_length", [(1 / 128, 1 / 128, 0), (0, 0), (1 / 128, 0)]),
    ],
)
def test_each_aggregation(aggregation, expected):
    assert completion_token_weights(GROUPS, aggregation, 32) == expected


def test_masked_completions_have_weight_zero():
    cut = group("+-", (2, 4), cut=(True, False), mask_truncated=True)
    assert completion_token_weights([cut], "sequence_mean", 32) == [(0, 1 / 4)]


def test_an_unknown_aggregation_is_refused():
    with pytest.raises(ValueError, match="sequence_mean, token_mean, fixed_length"):
        completion_token_weights(GROUPS, "mean", 32)


def test_without_a_valid_completion_all_weights_are_zero():
    assert completion_token_weights([GROUPS[1]], "token_mean", 32) == [(0, 0)]
