"""The accuracy tracker: p_c from the current group, history over the run."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.algorithms.mgpo import weight
from vt_ray.algorithms.tracker import AccuracyTracker, expected_weight
from vt_ray.config import TrackerConfig
from vt_ray.records import AdvantageConfig, GradedGroup, Verdict

LAMBDA_1 = AdvantageConfig(1.0)
STATUS = {"+": "correct", "-": "wrong", "?": "unverified"}


def group_tracker():
    return AccuracyTracker(TrackerConfig())


def group(question_id, marks):
    verdicts = tuple(Verdict(STATUS[m]) for m in marks)
    n = len(marks)
    return GradedGroup(question_id, "algebra", verdicts, 5, (4,) * n, (False,) * n, None)


def test_p_c_weight_and_advantages_by_hand():
    # p_c = 1/4: D = 0.1308, w = 0.877; A = sqrt(3) and -1/sqrt(3).
    [got] = group_tracker().compute_advantages([group("q", "+---")], 0, LAMBDA_1)
    assert got.accuracy == 0.25
    assert got.weight == pytest.approx(0.877, abs=5e-4)
    assert got.advantages == pytest.approx((1.5197, -0.5066, -0.5066, -0.5066), abs=1e-4)


def test_unverified_completions_enter_neither_p_c_nor_the_advantages():
    [got] = group_tracker().compute_advantages([group("q", "+?-?")], 0, LAMBDA_1)
    assert got.accuracy == 0.5
    assert got.weight == 1.0
    assert got.advantages == pytest.approx((1, 0, -1, 0), abs=1e-5)


@pytest.mark.parametrize("marks", ["????", "+???", "++++", "----", "+?+?"])
def test_a_group_without_a_signal_gets_zeros(marks):
    [got] = group_tracker().compute_advantages([group("q", marks)], 0, LAMBDA_1)
    assert got.advantages == (0.0,) * 4


def test_p_c_depends_on_the_current_group_only():
    tracker = group_tracker()
    tracker.compute_advantages([group("q", "++++")] * 5, 0, LAMBDA_1)
    assert tracker.compute_advantages([group("q", "+---")], 1, LAMBDA_1) == group_tracker().compute_advantages(
        [group("q", "+---")], 1, LAMBDA_1
    )


def test_results_are_in_the_order_of_the_groups():
    weights = group_tracker().compute_advantages(
        [group("a", "+---"), group("b", "+++-"), group("a", "++--")], 0, LAMBDA_1
    )
    assert [w.accuracy for w in weights] == [0.25, 0.75, 0.5]


def test_history_counts_verdicts_by_question():
    tracker = group_tracker()
    tracker.compute_advantages([group("a", "++-?"), group("b", "----")], 3, LAMBDA_1)
    tracker.compute_advantages([group("a", "+???")], 4, LAMBDA_1)
    a, b = tracker.history["a"], tracker.history["b"]
    assert (a.correct, a.valid, a.unverified, a.last_version) == (3, 4, 4, 4)
    assert (b.correct, b.valid, b.unverified, b.last_version) == (0, 4, 0, 3)


def test_a_loaded_history_continues_like_an_uninterrupted_one(tmp_path):
    whole, first = group_tracker(), group_tracker()
    whole.compute_advantages([group("a", "+-?-"), group("b/é", "++--")], 0, LAMBDA_1)
    first.compute_advantages([group("a", "+-?-"), group("b/é", "++--")], 0, LAMBDA_1)
    first.save(tmp_path / "tracker.parquet")
    assert pq.read_table(tmp_path / "tracker.parquet").column("question_id").to_pylist() == ["a", "b/é"]
    second = group_tracker()
    second.compute_advantages([group("forgotten", "++--")], 0, LAMBDA_1)
    second.load(tmp_path / "tracker.parquet")
    assert second.compute_advantages([group("a", "++--")], 1, LAMBDA_1) == whole.compute_advantages(
        [group("a", "++--")], 1, LAMBDA_1
    )
    assert second.history == whole.history


def test_a_group_without_a_verdict_has_no_accuracy_and_weight_zero():
    lost = group("q", "???")
    (found,) = group_tracker().compute_advantages([lost], 0, LAMBDA_1)
    assert found.accuracy is None
    assert found.weight == 0.0
    assert found.advantages == (0.0, 0.0, 0.0)


def remembering(decay=0.5):
    return AccuracyTracker(TrackerConfig(estimator="history", decay=decay))


def test_a_posterior_by_hand():
    """Version 3: 2 correct, 2 wrong; they decay to a quarter. Version 5: 1 correct, 3 wrong. Prior Beta(1, 1)."""
    tracker = remembering()
    tracker.compute_advantages([group("q", "++--")], 3, LAMBDA_1)
    [got] = tracker.compute_advantages([group("q", "+---")], 5, LAMBDA_1)
    # Beta(1 + 2/4 + 1, 1 + 2/4 + 3) = Beta(2.5, 4.5)
    assert got.accuracy == 0.25
    assert got.estimate == pytest.approx(2.5 / 7)
    assert got.weight == pytest.approx(expected_weight(2.5, 4.5, LAMBDA_1))
    # The advantages are the current group's own, (r - 1/4) / (sqrt 3 / 4).
    assert [a / got.weight for a in got.advantages] == pytest.approx([3**0.5, *[-(3**-0.5)] * 3], abs=1e-5)


def test_the_order_of_the_calls_does_not_change_the_decay():
    early, late = remembering(), remembering()
    early.note([group("q", "++--")], 1)
    early.note([group("q", "+---")], 3)
    late.note([group("q", "+---")], 3)
    late.note([group("q", "++--")], 1)
    assert early.history == late.history
    assert (late.history["q"].right, late.history["q"].wrong) == (1 + 2 / 4, 3 + 2 / 4)


def test_a_completion_decays_from_the_version_of_its_first_token():
    """First tokens at versions 6 and 8, update at version 10, decay 0.5: counts of 1/16 and 1/4."""
    tracker = remembering()
    begun = replace(group("q", "+-+?"), first_versions=(6, 8, 8, 6))
    [got] = tracker.compute_advantages([begun], 10, LAMBDA_1)
    seen = tracker.history["q"]
    assert (seen.right, seen.wrong, seen.last_version) == (1 / 16 + 1 / 4, 1 / 4, 10)
    assert (seen.correct, seen.valid, seen.unverified) == (2, 3, 1)
    assert got.estimate == pytest.approx((1 + 5 / 16) / (2 + 9 / 16))
    # p_c counts the completions of the group without decay.
    assert got.accuracy == pytest.approx(2 / 3)
    tracker.compute_advantages([replace(begun, first_versions=(11, 11, 11, 11))], 11, LAMBDA_1)
    assert tracker.history["q"].right == 5 / 32 + 2


def test_unverified_completions_change_no_posterior():
    tracker = remembering()
    tracker.note([group("q", "+-??")], 0)
    assert (tracker.history["q"].right, tracker.history["q"].wrong, tracker.history["q"].unverified) == (1, 1, 2)


@pytest.mark.parametrize(("right", "wrong"), [(1, 1), (2.5, 4.5), (1, 9), (40, 3), (0.5, 0.5), (900, 100)])
@pytest.mark.parametrize("lam", [0.5, 1.0, 4.0])
def test_the_expected_weight_is_the_integral(right, wrong, lam):
    """Compared with a sum over a million points of t, p = sin^2 t, which removes the poles of the density in p."""
    t = (np.arange(1_000_000) + 0.5) / 1_000_000 * np.pi / 2
    p, jacobian = np.sin(t) ** 2, np.sin(2 * t)
    density = p ** (right - 1) * (1 - p) ** (wrong - 1) * jacobian
    expected = (density * np.asarray(weight(p.tolist(), lam))).sum() / density.sum()
    assert expected_weight(right, wrong, AdvantageConfig(lam)) == pytest.approx(expected, abs=1e-6)


def test_the_expected_weight_of_a_weak_prior_is_the_integral():
    """A prior of 0.01 puts nearly all mass at p = 0 and p = 1, where the density in p has poles. The density in logit p
    is smooth, so the reference is a sum over logit p from -4000 to 4000."""
    x = np.arange(-4_000_000, 4_000_001) / 1000
    log_p, log_q = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    w = np.exp(-2.0 * (np.log(2) + np.exp(log_p) * log_p + np.exp(log_q) * log_q))
    for right, wrong in ((0.01, 0.01), (0.01, 8.01), (3.01, 0.01)):
        density = np.exp(right * log_p + wrong * log_q)
        assert expected_weight(right, wrong, AdvantageConfig(2.0)) == pytest.approx(
            (density * w).sum() / density.sum(), abs=1e-6
        )


def test_lambda_zero_gives_weight_one_for_every_posterior():
    for right, wrong in ((1, 1), (3, 900), (1e6, 1e6)):
        assert expected_weight(right, wrong, AdvantageConfig(0.0)) == 1.0


def test_with_much_data_the_expectation_is_the_weight_of_the_mean():
    assert expected_weight(1e6, 3e6, AdvantageConfig(2.0)) == pytest.approx(weight(0.25, 2.0), abs=1e-6)


def test_expected_weights_follow_the_decayed_history():
    tracker = remembering()
    tracker.note([group("hard", "--------"), group("even", "++++----")], 0)
    hard, even, new = tracker.expected_weights(["hard", "even", "new"], 0, AdvantageConfig(2.0))
    assert hard < new < even
    # After many versions the posterior is the prior.
    assert tracker.expected_weights(["hard", "new"], 100, AdvantageConfig(2.0)) == pytest.approx([new, new])


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.text("+-?", min_size=2, max_size=4), st.integers(0, 9)), max_size=8),
    st.integers(0, 8),
)
def test_save_and_load_between_calls_change_no_bit(tmp_path_factory, calls, cut):
    whole, broken = remembering(0.9), remembering(0.9)
    path = tmp_path_factory.getbasetemp() / "broken.parquet"
    for i, (question, marks, version) in enumerate(calls):
        if i == cut:
            broken.save(path)
            broken = remembering(0.9)
            broken.load(path)
        call = ([group(question, marks)], version, LAMBDA_1)
        assert whole.compute_advantages(*call) == broken.compute_advantages(*call)
    assert whole.history == broken.history


def test_long2short_changes_the_advantages_and_not_the_weight():
    lengths = (10, 20, 20, 5)
    graded = GradedGroup("q", "s", tuple(Verdict(STATUS[m]) for m in "+++-"), 1, lengths, (False,) * 4, None)
    [plain] = group_tracker().compute_advantages([graded], 0, LAMBDA_1)
    [shaped] = group_tracker().compute_advantages([graded], 0, AdvantageConfig(1.0, length_reward=0.2))
    assert (shaped.accuracy, shaped.weight) == (plain.accuracy, plain.weight) == (0.75, weight(0.75, 1.0))
    # s = .1, .05, .05: mean 1/15, deviations 1/30, -1/60, -1/60: r' = 1.2, .9, .9, 0.
    rewards = np.array([1.2, 0.9, 0.9, 0.0])
    expected = plain.weight * (rewards - rewards.mean()) / (rewards.std() + 1e-6)
    assert shaped.advantages == pytest.approx(expected.tolist())


def test_without_a_norm_the_advantage_is_the_weighted_difference_from_the_mean():
    [got] = group_tracker().compute_advantages([group("q", "+---")], 0, AdvantageConfig(1.0, "none"))
    assert got.advantages == pytest.approx([got.weight * a for a in (0.75, -0.25, -0.25, -0.25)])
