"""The difficulty weights, Pass@K advantages and the overlong penalty: values by hand, definitions, hostile input."""

import itertools
import math
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.algorithms import mgpo
from vt_ray.algorithms.length_reward import overlong_penalty, shaped_rewards
from vt_ray.algorithms.pass_at_k import pass_at_k
from vt_ray.algorithms.pass_at_k_advantages import pass_at_k_advantages
from vt_ray.algorithms.tracker import AccuracyTracker, expected_weight
from vt_ray.algorithms.weights import WEIGHTS, difficulty_weight, refuse_bad_weight
from vt_ray.config import ConfigError, TrackerConfig
from vt_ray.records import AdvantageConfig, GradedGroup, Verdict

OTHERS = sorted(WEIGHTS)


def config(weight, **changes):
    return AdvantageConfig(1.0, weight=weight, **changes)


def advantages(rewards, weight, tokens=None, valid=None, **changes):
    """A' of a group, as the run computes it."""
    valid = valid or [True] * len(rewards)
    verdicts = tuple(
        Verdict("unverified" if not ok else "correct" if r else "wrong") for r, ok in zip(rewards, valid, strict=True)
    )
    n = len(rewards)
    group = GradedGroup("q", "algebra", verdicts, 5, tuple(tokens or [4] * n), (False,) * n, None)
    changed = config(weight, **{"group_size": n, **changes})
    [found] = AccuracyTracker(TrackerConfig()).compute_advantages([group], 0, changed)
    return found


# Two right of eight: mean 1/4, std sqrt(3)/4, mean absolute deviation 3/8. Six right of eight: mean 3/4.
@pytest.mark.parametrize(
    ("weight", "right", "w", "first", "last"),
    [
        # GRPO: 3/4 over sqrt(3)/4, and -1/4 over it.
        ("none", 2, 1.0, 3**0.5, -(3**-0.5)),
        # MaxRL: (r - 1/4) / (1/4).
        ("maxrl", 2, 4.0, 3.0, -1.0),
        ("maxrl", 6, 4 / 3, 1 / 3, -1.0),
        # DGPO: (r - 1/4) / (3/8), times exp(1/8); and (r - 3/4) / (3/8), times exp(-1/8).
        ("dgpo", 2, 8 / 3 * math.exp(1 / 8), 2 * math.exp(1 / 8), -2 / 3 * math.exp(1 / 8)),
        ("dgpo", 6, 8 / 3 * math.exp(-1 / 8), 2 / 3 * math.exp(-1 / 8), -2 * math.exp(-1 / 8)),
        # MCPO: GRPO up to 1/2; above, GRPO over 2 sqrt(3/16) = sqrt(3)/2.
        ("mcpo", 2, 1.0, 3**0.5, -(3**-0.5)),
        ("mcpo", 6, 2 / 3**0.5, 2 / 3, -2.0),
    ],
)
def test_weights_and_advantages_by_hand(weight, right, w, first, last):
    found = advantages([1.0] * right + [0.0] * (8 - right), weight)
    assert found.accuracy == right / 8
    assert found.weight == pytest.approx(w, rel=1e-12)
    assert found.advantages[0] == pytest.approx(first, rel=1e-5)
    assert found.advantages[-1] == pytest.approx(last, rel=1e-5)


@pytest.mark.parametrize("norm", ["std", "none"])
@given(rewards=st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=16))
def test_weight_none_is_lambda_zero_bit_for_bit(norm, rewards):
    tokens = [4] * len(rewards)
    grpo = advantages(rewards, "none", tokens, advantage_norm=norm)
    verdicts = tuple(Verdict("correct" if r else "wrong") for r in rewards)
    group = GradedGroup("q", "algebra", verdicts, 5, tuple(tokens), (False,) * len(rewards), None)
    zero = AccuracyTracker(TrackerConfig()).compute_advantages([group], 0, AdvantageConfig(0.0, norm))
    assert [grpo] == zero


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
def test_maxrl_gives_the_gradient_of_the_sum_of_pass_at_k_over_k_below_the_group_size(size, p):
    """All groups with their probabilities, for the policy p = sigmoid(x): d Pass@K / dx = K (1-p)^K p."""
    gradient = 0.0
    for rewards in itertools.product([0.0, 1.0], repeat=size):
        probability = math.prod(p if r else 1 - p for r in rewards)
        scores = [1 - p if r else -p for r in rewards]
        pulls = [a * s for a, s in zip(advantages(list(rewards), "maxrl").advantages, scores, strict=True)]
        gradient += probability * fmean(pulls)
    assert gradient == pytest.approx(sum((1 - p) ** k * p for k in range(1, size)))


def test_mcpo_makes_the_query_weight_of_grpo_constant_above_one_half():
    for p in np.arange(9, 16) / 16:
        assert difficulty_weight(p, config("mcpo", group_size=16)) * math.sqrt(p * (1 - p)) == pytest.approx(0.5)


def test_the_ratios_of_dgpo_s_weights_are_those_of_its_softmax_over_the_batch():
    accuracies = np.array([0.125, 0.25, 0.5, 0.875])
    softmax = len(accuracies) * np.exp(-accuracies / 2) / np.exp(-accuracies / 2).sum()
    published = softmax / (2 * accuracies * (1 - accuracies))
    ratio = difficulty_weight(accuracies, config("dgpo")) / published
    assert ratio == pytest.approx([ratio[0]] * 4, rel=1e-12)
    assert 1 / math.exp(0.25) < ratio[0] < math.exp(0.25)


@pytest.mark.parametrize("weight", OTHERS)
@pytest.mark.parametrize("size", [2, 3, 8, 64])
def test_weights_are_finite_at_all_accuracies_and_those_of_the_nearest_group_with_a_signal(weight, size):
    accuracies = np.linspace(0, 1, 101)
    found = difficulty_weight(accuracies, config(weight, group_size=size))
    assert found.shape == (101,) and np.isfinite(found).all() and (found >= 0).all()
    ends = difficulty_weight(np.array([1 / size, 1 - 1 / size]), config(weight, group_size=size))
    assert [found[0], found[-1]] == ends.tolist()
    assert isinstance(difficulty_weight(0.0, config(weight, group_size=size)), float)


@pytest.mark.parametrize("weight", ["mgpo", *OTHERS])
@pytest.mark.parametrize("rewards", [[1.0] * 4, [0.0] * 4])
def test_a_group_without_a_signal_has_no_advantage_under_any_weight(weight, rewards):
    assert advantages(rewards, weight).advantages == (0.0,) * 4


@pytest.mark.parametrize("weight", OTHERS)
@pytest.mark.parametrize(("right", "wrong"), [(1.0, 1.0), (0.3, 5.0), (4.5, 1.2), (200.0, 40.0)])
def test_the_expected_weight_is_the_integral_over_the_posterior(weight, right, wrong):
    x = np.linspace(-60, 60, 400_001)
    log_p, log_q = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    density = np.exp(right * log_p + wrong * log_q)
    expected = (density * difficulty_weight(np.exp(log_p), config(weight))).sum() / density.sum()
    assert expected_weight(right, wrong, config(weight)) == pytest.approx(expected, rel=1e-3)


def test_the_history_estimator_and_the_order_of_questions_take_the_weight():
    tracker = AccuracyTracker(TrackerConfig(estimator="history"))
    graded = [
        GradedGroup(name, "algebra", tuple(map(Verdict, verdicts)), 5, (4,) * 4, (False,) * 4, None)
        for name, verdicts in (("hard", ("correct", *["wrong"] * 3)), ("easy", (*["correct"] * 3, "wrong")))
    ]
    hard, easy = tracker.compute_advantages(graded, 0, config("maxrl", group_size=4))
    assert hard.weight == expected_weight(2, 4, config("maxrl", group_size=4)) > easy.weight > 1
    assert hard.advantages == pytest.approx([hard.weight * (r - 0.25) for r in (1, 0, 0, 0)])
    ids = ["hard", "easy", "new"]
    low, high, new = tracker.expected_weights(ids, 0, config("mcpo", group_size=4))
    assert low < new < high
    assert tracker.expected_weights(ids, 0, config("none")) == [1.0] * 3


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The import path of a user's weight with this body."""
    monkeypatch.syspath_prepend(tmp_path)
    names = (f"own_weight_{i}" for i in itertools.count())

    def make(body, arguments="accuracy"):
        name = f"{next(names)}_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(f"import numpy as np\ndef weight({arguments}):\n    {body}\n")
        return f"{name}:weight"

    return make


def test_a_weight_of_the_user(own):
    path = own("return 1 - accuracy")
    refuse_bad_weight(path, [8])
    found = advantages([1.0, 0.0, 0.0, 0.0], path)
    assert found.weight == 0.75
    assert found.advantages[0] == pytest.approx(0.75 * 3**0.5, rel=1e-5)
    # Without a norm of its own, it multiplies the advantages that the config asks for.
    assert advantages([1.0, 0.0, 0.0, 0.0], path, advantage_norm="none").advantages[0] == 0.75**2


def test_a_weight_of_the_user_cannot_change_the_accuracies_of_the_run(own):
    path = own("accuracy[:] = 0; return np.ones_like(accuracy)")
    assert expected_weight(3, 4, config(path)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return -accuracy", r"is -0\.5 at the accuracy 0\.5: it must be finite and at least 0"),
        ("return accuracy / 0", "is inf at the accuracy 0.5"),
        ("return 1 / (accuracy - 0.25)", "at the accuracy 0.125"),
        ("return np.where(accuracy > 0.8, np.nan, 1.0)", "is nan at the accuracy 0.875"),
        ("return 1.0", r"returned the shape \(\) for 1 accuracies: return one weight for each"),
        ("return accuracy[:, None]", r"returned the shape \(1, 1\)"),
        ("return 1 if accuracy > 0.5 else 2", r"returned the shape \(\)"),
        ("return None", r"returned the shape \(\)|failed"),
        ("return ['a'] * len(accuracy)", r"failed \(ValueError"),
        ("raise SystemError('no')", r"failed \(SystemError: no\)"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_bad_weight_of_the_user_is_refused(own, body, message):
    with pytest.raises(ConfigError, match=message):
        refuse_bad_weight(own(body), [8])


@pytest.mark.parametrize("name", ["gspo", "", "MGPO", "math:pi", "no_such_module:weight", "math:hypot", "json:"])
def test_a_name_without_a_weight_is_refused(name):
    with pytest.raises(ConfigError, match=r"signal\.mgpo\.weight='.*'"):
        refuse_bad_weight(name, [8])


def test_a_weight_with_other_parameters_is_refused(own):
    with pytest.raises(ConfigError, match=r"is called with \(accuracy\): give it these parameters"):
        refuse_bad_weight(own("return accuracy", "accuracy, group_size"), [8])


@pytest.mark.parametrize("sizes", [[], [0], [-3], [1], [10**9]])
def test_any_group_size_can_be_checked(sizes):
    refuse_bad_weight("maxrl", sizes)


def test_pass_at_k_advantages_by_hand():
    # n = 4, c = 1, K = 2: 2 * C(3, 1) / C(3, 1) = 2. With c = 2: 2 * 2/3. With c = 3: 2 * 1/3. With c = 4: 0.
    ok = [True] * 4
    assert pass_at_k_advantages([1, 0, 0, 0], ok, 2).tolist() == [2, 0, 0, 0]
    assert pass_at_k_advantages([1, 1, 0, 0], ok, 2).tolist() == pytest.approx([4 / 3, 4 / 3, 0, 0])
    assert pass_at_k_advantages([1, 1, 1, 0], ok, 2).tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 0])
    assert pass_at_k_advantages([1, 1, 1, 1], ok, 2).tolist() == [0] * 4
    # K = 4: only a single correct completion raises Pass@4. A completion without a verdict leaves three: too few.
    assert pass_at_k_advantages([1, 0, 0, 0], ok, 4).tolist() == [4, 0, 0, 0]
    assert pass_at_k_advantages([1, 1, 0, 0], ok, 4).tolist() == [0] * 4
    assert pass_at_k_advantages([1, 0, 0, 0], [True, True, True, False], 4).tolist() == [0] * 4
    assert pass_at_k_advantages([1, 0, 0, 1], [True, True, True, False], 2).tolist() == [2, 0, 0, 0]


@given(st.integers(2, 6).flatmap(lambda n: st.tuples(st.lists(st.sampled_from([0, 1]), min_size=n, max_size=n))))
def test_a_pass_at_k_advantage_is_the_mean_rise_of_the_best_reward(drawn):
    (rewards,) = drawn
    n = len(rewards)
    for k in range(2, n + 1):
        expected = [
            k
            * fmean(
                max(rewards[j] for j in (i, *rest)) - max(rewards[j] for j in rest)
                for rest in itertools.combinations([j for j in range(n) if j != i], k - 1)
            )
            for i in range(n)
        ]
        assert pass_at_k_advantages(rewards, [True] * n, k).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_pass_at_k_advantages_give_the_gradient_of_pass_at_k_without_bias(k, p):
    """All groups of four completions with their probabilities, for the policy p = sigmoid(x): d log p / dx = 1 - p for
    a correct completion and -p for a wrong one."""
    n, gradient = 4, 0.0
    for rewards in itertools.product([0, 1], repeat=n):
        probability = math.prod(p if r else 1 - p for r in rewards)
        scores = [1 - p if r else -p for r in rewards]
        gradient += probability * fmean(pass_at_k_advantages(rewards, [True] * n, k) * scores)
    # Pass@K = 1 - (1 - p)^K, and dp / dx = p (1 - p).
    assert gradient == pytest.approx(k * (1 - p) ** (k - 1) * p * (1 - p))


def test_pass_at_k_advantages_of_a_group_are_weighted_and_sum_to_a_difference_of_estimates():
    found = advantages([1, 1, 0, 0, 0, 0, 0, 0], "none", pass_k=4)
    assert found.weight == 1.0 and found.accuracy == 0.25
    # The sum over a group is K (Pass@K - Pass@(K-1) of the other completions) for the correct ones, by C(n-1, k-1).
    assert found.advantages[0] == pytest.approx(4 * (1 - pass_at_k(7, 1, 3)))
    weighted = advantages([1, 1, 0, 0, 0, 0, 0, 0], "mgpo", pass_k=4)
    assert weighted.advantages[0] == mgpo.weight(0.25, 1.0) * found.advantages[0]


def test_the_overlong_penalty_by_hand():
    # At most 100 tokens, the last 20 of them penalised: 0 up to 80, -1/2 at 90, -1 at 100 and above.
    found = [overlong_penalty(n, 100, 20) for n in (0, 80, 81, 90, 100, 130)]
    assert found == [0, 0, -0.05, -0.5, -1, -1]


def test_the_overlong_penalty_changes_the_advantages_and_not_p_c():
    found = advantages([1, 1, 0, 0], "mgpo", [50, 90, 50, 100], overlong_buffer=20, max_new_tokens=100)
    assert found.accuracy == 0.5 and found.weight == 1.0
    assert found.advantages == tuple(mgpo.normalised_advantages([1.0, 0.5, 0.0, -1.0]).tolist())
    # A group of wrong completions has a signal if their lengths differ.
    wrong = advantages([0, 0], "maxrl", [50, 100], overlong_buffer=20, max_new_tokens=100)
    assert wrong.advantages == (2 * 0.5, -2 * 0.5)


def test_both_length_terms_add_and_neither_changes_anything_by_default():
    both = config("mgpo", length_reward=0.2, overlong_buffer=10, max_new_tokens=20)
    assert shaped_rewards((1, 1, 1, 0), (10, 20, 20, 15), (True,) * 4, both) == pytest.approx((1.2, -0.1, -0.1, -0.5))
    assert shaped_rewards((1.0, 0.0), (10, 20), (True,) * 2, config("mgpo")) == (1.0, 0.0)
