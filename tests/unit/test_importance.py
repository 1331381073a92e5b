"""The correction of the mismatch between trainer and engine, and CISPO: by hand, and for any ratios."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.algorithms.importance import importance_weights, mean_over_sequences
from vt_ray.algorithms.losses import cispo_loss, mgpo_loss
from vt_ray.config import ImportanceConfig, MgpoConfig

NONE = ImportanceConfig("none", 0.0, 0.0)
TOKENS = ImportanceConfig("mask_token", 0.5, 5.0)
KINDS = (
    NONE,
    ImportanceConfig("truncate", 0.0, 2.0),
    TOKENS,
    ImportanceConfig("mask_sequence", 0.5, 2.0),
    ImportanceConfig("mask_sequence", 0.5, 2.0, "arithmetic"),
)


def found(ratios, importance, ids=None, completion=None):
    """The weights of tokens with these ratios, as a list, and the number of capped or masked tokens."""
    ratio = torch.tensor(ratios, dtype=torch.float64)
    where = torch.ones_like(ratio, dtype=torch.bool) if completion is None else torch.tensor(completion)
    log_ratio = torch.where(where, ratio.log(), 0.0)
    weights, counts = importance_weights(log_ratio, where, None if ids is None else torch.tensor(ids), importance)
    return torch.where(where, weights, 0.0).tolist(), [int(n) for n in counts.values()]


def test_each_kind_by_hand():
    ratios = [0.25, 0.5, 1.0, 4.0, 8.0]
    assert found(ratios, NONE) == ([1.0] * 5, [])
    assert found(ratios, ImportanceConfig("truncate", 0.0, 2.0)) == (pytest.approx([0.25, 0.5, 1.0, 2.0, 2.0]), [2])
    assert found(ratios, TOKENS) == (pytest.approx([0.0, 0.5, 1.0, 4.0, 0.0]), [2])


def test_a_sequence_is_kept_or_masked_by_its_mean():
    """Completion 0 has ratios 4 and 1/4: geometric mean 1, arithmetic 2.125. Completion 1 has 4 and 4: both are 4."""
    ratios, ids = [4.0, 0.25, 4.0, 4.0], [0, 0, 1, 1]
    geometric, arithmetic = (ImportanceConfig("mask_sequence", 0.5, 3.0, mean) for mean in ("geometric", "arithmetic"))
    assert found(ratios, geometric, ids) == (pytest.approx([1.0, 1.0, 0.0, 0.0]), [2])
    assert found(ratios, arithmetic, ids) == (pytest.approx([2.125, 2.125, 0.0, 0.0]), [2])
    strict = ImportanceConfig("mask_sequence", 0.5, 2.0, "arithmetic")
    assert found(ratios, strict, ids) == ([0.0] * 4, [4])
    low = ImportanceConfig("mask_sequence", 0.5, 2.0)
    assert found([0.4, 0.4, 0.5, 0.5], low, ids) == (pytest.approx([0.0, 0.0, 0.5, 0.5]), [2])


def test_prompt_and_padding_enter_no_mean_and_no_count():
    """A row of a prompt, a completion, a second prompt with its completion, and padding that continues its number."""
    ratios, ids = [9.0, 1.5, 1.5, 9.0, 7.0, 9.0], [0, 0, 0, 1, 1, 1]
    completion = [False, True, True, False, True, False]
    for mean in ("geometric", "arithmetic"):
        importance = ImportanceConfig("mask_sequence", 0.5, 2.0, mean)
        assert found(ratios, importance, ids, completion) == (pytest.approx([0, 1.5, 1.5, 0, 0, 0]), [1])
    assert found(ratios, TOKENS, ids, completion) == (pytest.approx([0, 1.5, 1.5, 0, 0, 0]), [1])


def test_sequences_of_several_rows_are_separate():
    """Both rows number their sequences from 0."""
    ratios, ids = [[4.0, 4.0], [1.0, 1.0]], [[0, 0], [0, 0]]
    weights, counts = found(ratios, ImportanceConfig("mask_sequence", 0.5, 2.0), ids)
    assert weights == [[0.0, 0.0], [1.0, 1.0]] and counts == [2]


def test_a_mask_of_sequences_without_their_numbers_is_refused():
    with pytest.raises(ValueError, match="needs sequence_ids"):
        found([1.0], KINDS[3])


@pytest.mark.parametrize("importance", KINDS)
def test_a_loss_with_a_correction_is_the_weighted_on_policy_loss(importance):
    """rho is 1: the gradient of a token is -w_t M_t A'_t, and masked tokens have none."""
    dice = torch.Generator().manual_seed(0)
    trainer, noise = -3 * torch.rand(2, 40, generator=dice), torch.randn(40, generator=dice)
    rollout, weights = trainer[0] - noise, torch.rand(40, generator=dice)
    ids, advantages = torch.arange(40) // 4, torch.randn(40, generator=dice)
    leaf = trainer[0].clone().requires_grad_()
    loss, metrics = mgpo_loss(leaf, rollout, advantages, weights, MgpoConfig(importance=importance), ids)
    loss.backward()
    if importance.kind == "none":
        assert not any(name.startswith("importance") for name in metrics)
        return
    wanted, counts = importance_weights(trainer[0] - rollout, weights > 0, ids, importance)
    torch.testing.assert_close(leaf.grad, -weights * wanted * advantages)
    assert metrics["clipped_tokens"] == 0
    assert 0 < next(iter(counts.values())) < 40


@given(
    st.lists(st.floats(-25, 25), min_size=1, max_size=12),
    st.sampled_from(KINDS[1:]),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_weights_are_finite_and_within_the_bounds(log_ratios, importance, completion):
    log_ratio = torch.tensor(log_ratios, dtype=torch.float64)
    where = torch.tensor(completion[: len(log_ratios)])
    log_ratio = torch.where(where, log_ratio, 0.0)
    ids = torch.arange(len(log_ratios)) // 3
    weights, counts = importance_weights(log_ratio, where, ids, importance)
    kept = weights[where & (weights > 0)]
    assert not weights.isnan().any() and not weights.requires_grad
    assert (kept <= importance.high * (1 + 1e-12)).all() and (kept >= importance.low * (1 - 1e-12)).all()
    outside = (weights == 0 if importance.kind != "truncate" else log_ratio.exp() > importance.high) & where
    assert [int(n) for n in counts.values()] == [int(outside.sum())]


@given(st.integers(0, 99), st.sampled_from(KINDS[1:]))
def test_the_weights_of_a_batch_do_not_depend_on_its_rows(seed, importance):
    """Two sequences in one row, and each in a row of its own with padding between them."""
    dice = torch.Generator().manual_seed(seed)
    first, second = torch.randn(3, generator=dice), torch.randn(5, generator=dice)
    packed, _ = importance_weights(
        torch.cat([first, second]), torch.ones(8).bool(), torch.tensor([0] * 3 + [1] * 5), importance
    )
    rows = torch.stack([torch.cat([first, torch.zeros(2)]), second])
    where = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    padded, _ = importance_weights(rows, where, torch.tensor([[0] * 5, [1] * 5]), importance)
    torch.testing.assert_close(padded[where], packed)


def test_the_mean_ignores_values_outside_completions():
    values, where = torch.tensor([5.0, 1.0, 3.0]), torch.tensor([False, True, True])
    assert mean_over_sequences(values, where, torch.tensor([0, 0, 0])).tolist() == [0.0, 2.0, 2.0]


def cispo(ratio, advantage, low=1.0, high=4.0):
    trainer = torch.tensor([float("nan"), math.log(ratio) - 2.0], dtype=torch.float64, requires_grad=True)
    rollout, weights = torch.tensor([0.0, -2.0]), torch.tensor([0.0, 0.5], dtype=torch.float64)
    advantages = torch.tensor([float("inf"), advantage], dtype=torch.float64)
    mgpo = MgpoConfig(loss="cispo", clip_low=low, clip_high=high, importance=NONE)
    loss, metrics = cispo_loss(trainer, rollout, advantages, weights, mgpo)
    loss.backward()
    assert trainer.grad[0] == 0
    return loss.item(), trainer.grad[1].item(), metrics


@pytest.mark.parametrize(
    ("ratio", "low", "high", "weight", "clipped"),
    [
        (2.0, 1.0, 4.0, 2.0, None),
        (8.0, 1.0, 4.0, 5.0, "high"),  # the token keeps its gradient, with the weight 1 + clip_high
        (0.01, 1.0, 4.0, 0.01, None),  # clip_low=1: no lower bound
        (0.01, 0.2, 0.2, 0.8, "low"),
        (1.0, 0.2, 0.2, 1.0, None),
    ],
)
@pytest.mark.parametrize("advantage", [3.0, -3.0])
def test_cispo_by_hand(ratio, low, high, weight, clipped, advantage):
    loss, slope, metrics = cispo(ratio, advantage, low, high)
    assert slope == pytest.approx(-0.5 * weight * advantage)
    assert loss == pytest.approx(-0.5 * weight * advantage * (math.log(ratio) - 2.0))
    assert metrics["clipped_tokens"] == (clipped is not None)
    assert {n: int(metrics[f"clipped_{n}_tokens"]) for n in ("low", "high")} == {
        n: n == clipped for n in ("low", "high")
    }
    assert metrics["tokens"] == 1


def test_cispo_without_a_lower_bound_has_the_gradient_of_truncated_importance_sampling():
    dice = torch.Generator().manual_seed(1)
    trainer, rollout = -3 * torch.rand(2, 60, generator=dice)
    advantages, weights = torch.randn(60, generator=dice), torch.rand(60, generator=dice)
    settings = (
        (cispo_loss, MgpoConfig(clip_low=1.0, clip_high=1.0, importance=NONE)),
        (mgpo_loss, MgpoConfig(importance=ImportanceConfig("truncate", 0.0, 2.0))),
    )
    grads = []
    for loss_of, mgpo in settings:
        leaf = trainer.clone().requires_grad_()
        loss_of(leaf, rollout, advantages, weights, mgpo)[0].backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads)


def test_the_kl_term_of_cispo_is_that_of_mgpo():
    trainer, reference = torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.0])
    weights, none = torch.tensor([0.5, 0.5]), torch.zeros(2)
    mgpo = MgpoConfig(kl_coef=0.5, importance=NONE)
    (a, first), (b, second) = (
        loss(trainer, trainer, none, weights, mgpo, None, reference) for loss in (cispo_loss, mgpo_loss)
    )
    assert a == b and first["reference_kl"] == second["reference_kl"] > 0
