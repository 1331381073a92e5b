"""The entropy bonus and its coefficient, the entropy by position, and the share of tokens with a high covariance."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from vt_ray.algorithms.packing import TrainSequence, make_row, pack, pack_branches, slice_of_row, stack
from vt_ray.config import ConfigError, EntropyBonusConfig, ImportanceConfig, MgpoConfig
from vt_ray.engines.entropy_bonus import EntropyBonus
from vt_ray.engines.rl_loss import covariance_counts, entropy_metrics, refuse_unusable_loss, rl_row_loss
from vt_ray.engines.training import TrainingEngine

BONUS = EntropyBonusConfig(target=0.5, step=0.25, max_coef=0.6)


def step(bonus, entropy, tokens=10.0):
    return bonus.note({"entropy": entropy * tokens, "tokens": tokens})


def test_the_coefficient_by_hand():
    """It acts in the step after the one whose entropy was low, rises to its maximum, and falls to 0."""
    bonus = EntropyBonus(BONUS)
    entropies = [0.4, 0.3, 0.3, 0.5, 0.9, 0.4, 0.9, 0.9, 0.9]
    coefficients = [0.25, 0.5, 0.6, 0.35, 0.1, 0.35, 0.1, 0.0, 0.0]
    acted = [0.0, 0.25, 0.5, 0.6, 0.35, 0.0, 0.35, 0.0, 0.0]
    for entropy, coefficient, in_this_step in zip(entropies, coefficients, acted, strict=True):
        assert step(bonus, entropy) == {"entropy_coef": pytest.approx(in_this_step)}
        assert bonus.coefficient == pytest.approx(coefficient)


@pytest.mark.parametrize("metrics", [{"entropy": 0.0, "tokens": 0.0}, {"entropy": math.nan, "tokens": 3.0}, {}])
def test_a_step_without_a_known_entropy_changes_nothing(metrics):
    bonus = EntropyBonus(BONUS, 0.25, 0.4)
    bonus.note(metrics)
    assert (bonus.coefficient, bonus.last_entropy, bonus.active()) == (0.25, 0.4, 0.25)


def test_a_resumed_bonus_continues_exactly():
    whole, first = EntropyBonus(BONUS), EntropyBonus(BONUS)
    entropies = [0.41, 0.3, 0.7, 0.2]
    for entropy in entropies[:2]:
        step(whole, entropy), step(first, entropy)
    second = EntropyBonus(BONUS)
    second.restore({"step_count": 2, **first.state()})
    assert [step(second, entropy) for entropy in entropies[2:]] == [step(whole, entropy) for entropy in entropies[2:]]
    assert second == whole


def test_a_bonus_that_is_off_does_not_act_and_stores_nothing():
    bonus = EntropyBonus()
    assert step(bonus, 0.0) == {} and bonus.state() == {} and bonus.active() == 0.0
    bonus.restore({"step_count": 3})
    assert bonus == EntropyBonus()


def sequence(prompt, completion, weight=1.0, advantage=1.0, logprob=-1.0):
    return TrainSequence((7,) * prompt, (8,) * completion, weight, advantage, [logprob] * completion)


def test_the_bonus_is_the_weighted_entropy():
    row = make_row([sequence(2, 3, weight=0.5)])
    logprobs, entropy = torch.zeros(5), torch.tensor([0.0, 1.0, 2.0, 4.0, 0.0], requires_grad=True)
    found = {}
    for target in (0.0, 0.5):
        mgpo = MgpoConfig(entropy_bonus=EntropyBonusConfig(target=target))
        found[target] = rl_row_loss(mgpo, 0.1, True, None)(logprobs, entropy, row)
    assert (found[0.5][0] - found[0.0][0]).item() == pytest.approx(-0.1 * 0.5 * 7.0)
    assert not found[0.0][0].requires_grad
    found[0.5][0].backward()
    assert entropy.grad.tolist() == pytest.approx([0.0, -0.05, -0.05, -0.05, 0.0])
    assert not any(value.requires_grad for value in found[0.5][1].values())


def test_the_entropy_has_a_gradient_only_in_a_step_in_which_the_bonus_acts():
    head = SimpleNamespace(entropy_gradient=None)
    engine = SimpleNamespace(
        spec=SimpleNamespace(with_reference=False),
        parallel=None,
        entropy_bonus=EntropyBonus(),
        module=SimpleNamespace(get_output_embeddings=lambda: head),
    )
    found = []
    for entropy in (0.4, 0.9, 0.4):
        TrainingEngine.mgpo_row_loss(engine, MgpoConfig(entropy_bonus=BONUS), 1.0)
        found.append(head.entropy_gradient)
        step(engine.entropy_bonus, entropy)
    assert found == [False, True, False]


def test_the_entropy_of_each_quarter_by_hand():
    """Eight tokens are two in each quarter; of three tokens, the first three quarters have one (0, 1/3, 2/3)."""
    row = stack([make_row([sequence(2, 8), sequence(1, 3)])], 1)[0]
    entropy = torch.zeros(1, 14)
    entropy[0, 1:9] = torch.arange(1.0, 9.0)
    entropy[0, 10:13] = torch.tensor([10.0, 20.0, 30.0])
    metrics = {name: float(value) for name, value in entropy_metrics(entropy, row).items()}
    assert [metrics[f"tokens_q{i}"] for i in (1, 2, 3, 4)] == [3, 3, 3, 2]
    assert [metrics[f"entropy_q{i}"] for i in (1, 2, 3, 4)] == [1 + 2 + 10, 3 + 4 + 20, 5 + 6 + 30, 7 + 8]
    assert metrics["entropy"] == 36 + 60


def quarters(row):
    """The counts of the row, whose entropy is 1 at each completion token."""
    metrics = entropy_metrics((row.token_weights > 0).float(), row)
    assert all(metrics[f"entropy_q{i}"] == metrics[f"tokens_q{i}"] for i in (1, 2, 3, 4))
    return torch.stack([metrics[f"tokens_q{i}"] for i in (1, 2, 3, 4)])


def test_quarters_do_not_depend_on_the_packing():
    """Packed, with shared prompts, padded, and as slices of a row that two ranks share."""
    sequences = [sequence(3, n) for n in (1, 2, 5, 8, 13)]
    alone = sum(quarters(make_row([s])) for s in sequences)
    sliced = [slice_of_row(make_row([s]), i, 2) for s in sequences for i in (0, 1)]
    for rows in (pack(sequences, 24), pack_branches(sequences, 64), stack(pack(sequences, 1), 3), sliced):
        assert torch.equal(sum(map(quarters, rows)), alone)
    assert int(alone.sum()) == 29


@pytest.fixture
def one_rank(monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)
    return partial(covariance_counts, device=torch.device("cpu"))


def test_the_covariance_by_hand(one_rank):
    """Means: log p -2, A' 0. Covariances 1 * 2, -1 * -2, 1 * -2 and -1 * 2: the first two are above 1."""
    members = [(-1.0, 2.0), (-3.0, -2.0), (-1.0, -2.0), (-3.0, 2.0)]
    rows = [make_row([sequence(2, 1, logprob=logprob, advantage=a) for logprob, a in members])]
    assert one_rank(rows) == {"high_covariance_tokens": 2.0}
    # At the bound itself a token does not count, and a token without a weight enters neither mean nor count.
    rows = [make_row([sequence(2, 1, logprob=logprob, advantage=a / 2) for logprob, a in members])]
    rows += [make_row([sequence(1, 4, weight=0.0, logprob=-50.0, advantage=9.0)])]
    assert one_rank(rows) == {"high_covariance_tokens": 0.0}
    assert one_rank([]) == {"high_covariance_tokens": 0.0}


def test_the_means_are_those_of_all_ranks(monkeypatch):
    """Another rank adds one token of log p -3 and A' 2: the means become -2 and 0, as in the test above."""
    other = torch.tensor([1.0, -3.0, 2.0], dtype=torch.float64)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.add_(other))
    rows = [make_row([sequence(2, 1, logprob=p, advantage=a) for p, a in [(-1.0, 2.0), (-3.0, -2.0), (-1.0, -2.0)]])]
    assert covariance_counts(rows, torch.device("cpu")) == {"high_covariance_tokens": 2.0}


@pytest.mark.parametrize(
    ("mgpo", "text"),
    [
        (MgpoConfig(kl_coef=0.5), "kl_coef=0.5, but the learner was opened without a reference"),
        (MgpoConfig(ratio="sequence"), "ratio=sequence with .* take ratio=token"),
        (MgpoConfig(importance=ImportanceConfig("mask_sequence", 0.1, 10.0)), "take importance.kind=mask_token"),
    ],
)
def test_a_loss_that_the_learner_cannot_compute_is_refused(mgpo, text):
    with pytest.raises(ConfigError, match=text):
        refuse_unusable_loss(mgpo, False, 2)
    refuse_unusable_loss(MgpoConfig(ratio="sequence"), False, 1)
