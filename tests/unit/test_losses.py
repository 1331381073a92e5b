"""The losses, compared with float64 references that follow the formulas sequence by sequence and group by group."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.algorithms.logprobs import entropy, selected_logprobs
from vt_ray.algorithms.losses import mgpo_loss, named_loss, rollout_metrics, sft_loss
from vt_ray.config import ConfigError, ImportanceConfig, MgpoConfig

LOW, HIGH = 0.2, 0.28
CLIPS = MgpoConfig(clip_low=LOW, clip_high=HIGH)


def truncated(cap):
    """The correction that truncates at `cap`; none for 0."""
    return ImportanceConfig("truncate", 0.0, cap) if cap else ImportanceConfig("none", 0.0, 0.0)


def groups_of_sequences(seed=0):
    """[(advantage, trainer logprobs, rollout logprobs)] for 3 groups of different sizes and lengths."""
    dice = torch.Generator().manual_seed(seed)
    groups = []
    for size in (4, 2, 3):
        group = []
        for _ in range(size):
            length = int(torch.randint(1, 9, (), generator=dice))
            rollout = -3 * torch.rand(length, generator=dice, dtype=torch.float64)
            # Differences up to 0.6 nats: ratios from 0.55 to 1.8, beyond both clips.
            gap = 1.2 * torch.rand(length, generator=dice, dtype=torch.float64) - 0.6
            advantage = float(4 * torch.rand((), generator=dice) - 2)
            group.append((advantage, rollout + gap, rollout))
        groups.append(group)
    return groups


def reference(groups):
    """-J of section 3.4: the mean over groups of the mean over rollouts of the mean over tokens."""
    total = torch.zeros((), dtype=torch.float64)
    for group in groups:
        of_group = torch.zeros((), dtype=torch.float64)
        for advantage, trainer, rollout in group:
            of_sequence = torch.zeros((), dtype=torch.float64)
            for t in range(len(trainer)):
                rho = torch.exp(trainer[t] - rollout[t])
                inside = min(max(rho.item(), 1 - LOW), 1 + HIGH)
                # min() by cases: past the clip, on the side where clipping is the smaller one, no gradient is left.
                if inside * advantage < rho.item() * advantage:
                    of_sequence = of_sequence + inside * advantage
                else:
                    of_sequence = of_sequence + rho * advantage
            of_group = of_group + of_sequence / len(trainer)
        total = total + of_group / len(group)
    return -total / len(groups)


def flat(groups, padding=1):
    """The groups as the loss takes them, with `padding` tokens of weight 0 and absurd values before each."""
    columns = [[], [], [], []]
    for group in groups:
        for advantage, trainer, rollout in group:
            w = 1 / (len(groups) * len(group) * len(trainer))
            for column, pad in zip(columns, (-50.0, 0.0, advantage, 0.0), strict=True):
                column += [torch.tensor(pad, dtype=torch.float64)] * padding
            for t in range(len(trainer)):
                parts = (trainer[t], rollout[t], rollout.new_tensor(advantage), rollout.new_tensor(w))
                for column, part in zip(columns, parts, strict=True):
                    column.append(part)
    return [torch.stack(column) for column in columns]


@pytest.mark.parametrize("seed", range(5))
def test_mgpo_loss_and_gradient_equal_the_formula(seed):
    groups = groups_of_sequences(seed)
    leaves = [s[1].requires_grad_() for group in groups for s in group]
    loss, _ = mgpo_loss(*flat(groups), CLIPS)
    expected = reference(groups)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    # A sequence of clipped tokens alone has no gradient at all: zeros instead of an error.
    got = torch.autograd.grad(loss, leaves, materialize_grads=True)
    wanted = torch.autograd.grad(expected, leaves, materialize_grads=True)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "slope"),
    [
        (1.0, 2.0, 2.0, 2.0),
        (1.5, 2.0, 2 * 1.28, 0.0),  # above the upper clip and rewarded: held back
        (1.5, -2.0, -3.0, -3.0),  # above and punished: not held back
        (0.5, 2.0, 1.0, 1.0),  # below and rewarded: not held back
        (0.5, -2.0, -1.6, 0.0),  # below the lower clip and punished: held back
        (1.25, 2.0, 2.5, 2.5),  # past 1.2, inside 1.28: the clips differ
        (0.75, -2.0, -1.6, 0.0),
    ],
)
def test_each_side_of_each_clip(ratio, advantage, objective, slope):
    trainer = torch.tensor([math.log(ratio) - 1.0], dtype=torch.float64, requires_grad=True)
    rollout = torch.tensor([-1.0], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    loss, metrics = mgpo_loss(trainer, rollout, advantage * one, one, CLIPS)
    loss.backward()
    assert loss.item() == pytest.approx(-objective)
    assert trainer.grad.item() == pytest.approx(-slope)
    assert metrics["clipped_tokens"].item() == (slope == 0)


def test_on_policy_the_loss_is_minus_the_advantages_and_nothing_is_clipped():
    logprobs = torch.tensor([-0.5, -1.5, -2.5], requires_grad=True)
    weights = torch.tensor([0.5, 0.25, 0.25])
    loss, metrics = mgpo_loss(logprobs, logprobs.detach(), torch.tensor([1.0, -2.0, 4.0]), weights, MgpoConfig())
    loss.backward()
    assert loss.item() == pytest.approx(-(0.5 - 0.5 + 1.0))
    assert logprobs.grad.tolist() == pytest.approx([-0.5, 0.5, -1.0])
    assert metrics["clipped_tokens"] == metrics["rollout_kl"] == metrics["logprob_gap_max"] == 0


def test_mgpo_metrics_are_sums_over_completion_tokens():
    groups = groups_of_sequences(3)
    _, metrics = mgpo_loss(*flat(groups, padding=3), CLIPS)
    gaps = torch.cat([trainer - rollout for group in groups for _, trainer, rollout in group])
    signs = torch.cat([torch.full_like(t, a) for group in groups for a, t, _ in group])
    ratio = gaps.exp()
    clipped = ((ratio > 1 + HIGH) & (signs > 0)) | ((ratio < 1 - LOW) & (signs < 0))
    assert metrics["tokens"].item() == len(gaps)
    assert metrics["clipped_tokens"].item() == clipped.sum().item() > 0
    assert metrics["rollout_kl"].item() == pytest.approx((ratio - 1 - gaps).sum().item())
    assert metrics["logprob_gap_max"].item() == pytest.approx(gaps.abs().max().item())


def test_sft_loss_is_torch_cross_entropy_over_the_completion_tokens():
    dice = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 11, generator=dice)
    targets = torch.randint(0, 11, (20,), generator=dice)
    is_completion = torch.arange(20) % 3 > 0
    weights = is_completion / is_completion.sum()
    loss, metrics = sft_loss(selected_logprobs(logits, targets, 1.0), weights)
    expected = torch.nn.functional.cross_entropy(logits[is_completion], targets[is_completion])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["tokens"].item() == is_completion.sum().item()


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 1.8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logprobs_and_entropy_are_those_of_the_tempered_distribution(temperature, dtype):
    dice = torch.Generator().manual_seed(1)
    logits = (4 * torch.randn(16, 50, generator=dice)).to(dtype)
    targets = torch.randint(0, 50, (16,), generator=dice)
    log_p = torch.log_softmax(logits.double() / temperature, -1)
    got = selected_logprobs(logits, targets, temperature)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), log_p[torch.arange(16), targets], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        entropy(logits, temperature).double(), -(log_p.exp() * log_p).sum(-1), rtol=1e-5, atol=1e-5
    )


def test_entropy_of_equal_logits_is_the_log_of_their_number():
    assert entropy(torch.zeros(2, 8), 0.5).tolist() == pytest.approx([math.log(8)] * 2)


def one_sequence(gaps, advantage, mgpo, **options):
    """Loss, gradient and metrics of one sequence. `gaps` are the trainer's log-probabilities minus the engine's; two
    padding tokens with absurd values precede the sequence."""
    trainer = torch.tensor([float("nan"), -80.0, *(g - 1.0 for g in gaps)], dtype=torch.float64, requires_grad=True)
    rollout = torch.tensor([0.0, float("nan"), *([-1.0] * len(gaps))], dtype=torch.float64)
    weights = torch.tensor([0.0, 0.0, *([1 / len(gaps)] * len(gaps))], dtype=torch.float64)
    advantages = torch.tensor([float("inf"), 5.0, *([advantage] * len(gaps))], dtype=torch.float64)
    loss, metrics = mgpo_loss(trainer, rollout, advantages, weights, mgpo, **options)
    loss.backward()
    assert trainer.grad[:2].tolist() == [0, 0]
    return loss.item(), trainer.grad[2:].tolist(), metrics


def test_truncated_importance_weights_by_hand():
    """Probabilities 0.5, 1.5 and 4 times the engine's, cap 2: weights 0.5, 1.5, 2; rho is 1 and nothing is clipped."""
    gaps = [math.log(0.5), math.log(1.5), math.log(4.0)]
    loss, slopes, metrics = one_sequence(gaps, 3.0, MgpoConfig(importance=truncated(2.0)))
    assert loss == pytest.approx(-3.0 * (0.5 + 1.5 + 2.0) / 3)
    assert slopes == pytest.approx([-0.5, -1.5, -2.0])
    assert (metrics["importance_capped_tokens"], metrics["clipped_tokens"]) == (1, 0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "slope", "counted"),
    [
        (2.9, -2.0, -5.8, -5.8, None),  # punished above the clip, below the bound: as in the paper
        (4.0, -2.0, -6.0, 0.0, "dual"),  # beyond the bound 3 * A'
        (0.5, -2.0, -1.6, 0.0, "low"),
        (4.0, 2.0, 2 * 1.28, 0.0, "high"),  # rewarded: the bound has nothing to do with it
    ],
)
def test_the_dual_clip_by_hand(ratio, advantage, objective, slope, counted):
    loss, slopes, metrics = one_sequence([math.log(ratio)], advantage, CLIPS)
    assert loss == pytest.approx(-objective)
    assert slopes == pytest.approx([-slope])
    assert {n: int(metrics[f"clipped_{n}_tokens"]) for n in ("low", "high", "dual")} == {
        n: int(n == counted) for n in ("low", "high", "dual")
    }
    assert metrics["clipped_tokens"] == (counted is not None)


@given(st.floats(-30, 30), st.floats(-5, -0.01), st.floats(1.3, 10), st.sampled_from([0.0, 2.0]))
def test_the_loss_of_a_token_with_a_negative_advantage_is_bounded(gap, advantage, bound, cap):
    loss, slopes, _ = one_sequence([gap], advantage, MgpoConfig(clip_dual=bound, importance=truncated(cap)))
    assert loss <= bound * max(cap, 1.0) * -advantage * (1 + 1e-12)
    assert abs(slopes[0]) <= bound * max(cap, 1.0) * -advantage * (1 + 1e-12)


@pytest.mark.parametrize("advantage", [-1.5, 1.5])
def test_without_the_dual_clip_the_loss_equals_the_papers_bit_for_bit(advantage):
    dice = torch.Generator().manual_seed(0)
    trainer, rollout = -3 * torch.rand(2, 500, generator=dice)
    weights, advantages = torch.rand(500, generator=dice), torch.full((500,), advantage)
    leaf, twin = trainer.clone().requires_grad_(), trainer.clone().requires_grad_()
    loss, metrics = mgpo_loss(leaf, rollout, advantages, weights, MgpoConfig(clip_dual=0.0))
    rho = (twin - rollout).exp()
    paper = -(weights * torch.minimum(rho * advantages, rho.clamp(0.8, 1.2) * advantages)).sum()
    loss.backward()
    paper.backward()
    assert torch.equal(loss, paper)
    assert torch.equal(leaf.grad, twin.grad)
    assert metrics["clipped_dual_tokens"] == 0
    bounded, _ = mgpo_loss(trainer, rollout, advantages, weights, MgpoConfig())
    assert (bounded < paper) == (advantage < 0)


def test_padding_is_not_capped_and_its_sequence_numbers_do_not_matter():
    _, _, metrics = one_sequence([0.0, math.log(0.5)], 3.0, MgpoConfig(importance=truncated(0.9)))
    assert metrics["importance_capped_tokens"] == 1
    sequence = MgpoConfig(ratio="sequence")
    plain, odd = (
        one_sequence([0.1, -0.3], 3.0, sequence, sequence_ids=torch.tensor([number, number, 1, 1]))
        for number in (0, -7)
    )
    assert plain[:2] == odd[:2]


def test_on_policy_a_cap_changes_nothing():
    plain, capped = (one_sequence([0.0, 0.0], 3.0, MgpoConfig(importance=truncated(cap))) for cap in (0.0, 2.0))
    assert plain[:2] == capped[:2]


def test_a_sequences_ratio_by_hand():
    """Ratios 2 and 1/2 of two tokens are a ratio of 1 of the sequence; 2 and 2 are 2, clipped at 1.28."""
    sequence = MgpoConfig(ratio="sequence", clip_low=LOW, clip_high=HIGH)
    ids = {"sequence_ids": torch.tensor([0, 0, 1, 1])}
    loss, slopes, metrics = one_sequence([math.log(2), -math.log(2)], 3.0, sequence, **ids)
    assert loss == pytest.approx(-3.0)
    # d/d logprob_t of exp(mean) is 1/2 for each token: together one.
    assert slopes == pytest.approx([-1.5, -1.5])
    assert metrics["clipped_tokens"] == 0
    loss, slopes, metrics = one_sequence([math.log(2), math.log(2)], 3.0, sequence, **ids)
    assert loss == pytest.approx(-3.0 * 1.28)
    assert (slopes, metrics["clipped_tokens"]) == ([0, 0], 2)
    # The drift from the engine is measured by token for both values of `ratio`.
    assert metrics["logprob_gap_max"] == pytest.approx(math.log(2))


def test_sequences_of_several_rows_are_separate():
    sequence = MgpoConfig(ratio="sequence", clip_high=0.9)
    gaps = torch.tensor([[0.1, 0.3, -0.1], [0.05, 0.0, 0.2]], dtype=torch.float64)
    ids = torch.tensor([[0, 0, 1], [0, 1, 1]])
    ones = torch.ones_like(gaps)
    loss, _ = mgpo_loss(gaps, 0 * gaps, ones, ones, sequence, sequence_ids=ids)
    expected = 2 * math.exp(0.2) + math.exp(-0.1) + math.exp(0.05) + 2 * math.exp(0.1)
    assert loss.item() == pytest.approx(-expected)


def test_the_kl_term_by_hand():
    """Log-ratios reference / trainer of ln 2 and 0: k3 is 2 - 1 - ln 2 and 0; its slope is 1 - ratio."""
    reference = torch.tensor([0.0, 0.0, -1.0 + math.log(2), -1.0], dtype=torch.float64)
    mgpo = MgpoConfig(kl_coef=0.5)
    loss, slopes, metrics = one_sequence([0.0, 0.0], 0.0, mgpo, reference_logprobs=reference)
    assert loss == pytest.approx(0.5 * (1 - math.log(2)) / 2)
    assert slopes == pytest.approx([0.5 * (1 - 2) / 2, 0.0])
    assert metrics["reference_kl"] == pytest.approx(1 - math.log(2))


def test_a_ratio_that_explodes_does_not_make_the_loss_infinite():
    loss, slopes, _ = one_sequence([500.0, 0.0], -1.0, MgpoConfig())
    assert math.isfinite(loss) and all(map(math.isfinite, slopes))


@pytest.mark.parametrize("mgpo", [CLIPS, MgpoConfig(importance=truncated(1.5)), MgpoConfig(ratio="sequence")])
def test_the_loss_of_a_batch_is_the_sum_of_its_parts(mgpo):
    groups = groups_of_sequences(7)
    columns = flat(groups)
    starts = [i for i, w in enumerate(columns[3]) if w == 0]
    ids = torch.cumsum(columns[3] == 0, 0) - 1
    whole, metrics = mgpo_loss(*columns, mgpo, sequence_ids=ids)
    cut = starts[4]
    parts = [
        mgpo_loss(*(c[part] for c in columns), mgpo, sequence_ids=ids[part] - ids[part].min())
        for part in (slice(None, cut), slice(cut, None))
    ]
    assert sum(loss.item() for loss, _ in parts) == pytest.approx(whole.item())
    assert sum(m["clipped_tokens"] for _, m in parts) == metrics["clipped_tokens"]


def mean_loss(trainer, rollout, advantages, weights, mgpo, sequence_ids, reference):
    return -(weights * trainer).sum(), {}


def test_the_loss_is_named_in_the_table_or_by_import_path():
    assert named_loss("mgpo") is mgpo_loss
    assert named_loss("test_losses:mean_loss").__name__ == "mean_loss"
    for name, fault in (
        ("ppo", "signal.mgpo.loss='ppo' must be one of mgpo, cispo, or 'ppo' is not of the form package.module:name"),
        ("no_such:loss", "importing no_such failed"),
        ("test_losses:no_such", "has no no_such"),
        ("test_losses:LOW", "is a float, which cannot be called"),
        ("test_losses:reference", r"has the parameters \(groups\), but is called with \(trainer_logprobs, rollout"),
    ):
        with pytest.raises(ConfigError, match=fault):
            named_loss(name)


def test_the_metrics_of_every_loss_are_those_of_mgpo():
    columns = flat(groups_of_sequences(5), padding=2)
    trainer, rollout, _, weights = columns
    _, metrics = mgpo_loss(*columns, CLIPS)
    found = rollout_metrics(trainer, rollout, weights)
    assert found == {name: metrics[name] for name in ("tokens", "rollout_kl", "logprob_gap_max")}
