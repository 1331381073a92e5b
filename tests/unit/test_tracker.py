"""The accuracy tracker: p_c from the current group, history over the run."""

import json

import pytest

from vt_ray.algorithms.tracker import AccuracyTracker
from vt_ray.config import TrackerConfig
from vt_ray.records import GradedGroup, Verdict, Weighing

STATUS = {"+": "correct", "-": "wrong", "?": "unverified"}


def tracker_of_groups():
    return AccuracyTracker(TrackerConfig())


def group(question_id, marks):
    verdicts = tuple(Verdict(STATUS[m]) for m in marks)
    n = len(marks)
    return GradedGroup(question_id, "algebra", verdicts, 5, (4,) * n, (False,) * n, None)


def test_p_c_weight_and_advantages_by_hand():
    # p_c = 1/4: D = 0.1308, w = 0.877; A = sqrt(3) and -1/sqrt(3).
    [got] = tracker_of_groups().weigh([group("q", "+---")], 0, Weighing(1.0))
    assert got.accuracy == 0.25
    assert got.weight == pytest.approx(0.877, abs=5e-4)
    assert got.advantages == pytest.approx((1.5197, -0.5066, -0.5066, -0.5066), abs=1e-4)


def test_unverified_completions_enter_neither_p_c_nor_the_advantages():
    [got] = tracker_of_groups().weigh([group("q", "+?-?")], 0, Weighing(1.0))
    assert got.accuracy == 0.5
    assert got.weight == 1.0
    assert got.advantages == pytest.approx((1, 0, -1, 0), abs=1e-5)


@pytest.mark.parametrize("marks", ["????", "+???", "++++", "----", "+?+?"])
def test_a_group_without_a_signal_gets_zeros(marks):
    [got] = tracker_of_groups().weigh([group("q", marks)], 0, Weighing(1.0))
    assert got.advantages == (0.0,) * 4


def test_p_c_is_of_the_current_group_whatever_was_seen_before():
    tracker = tracker_of_groups()
    tracker.weigh([group("q", "++++")] * 5, 0, Weighing(1.0))
    assert tracker.weigh([group("q", "+---")], 1, Weighing(1.0)) == tracker_of_groups().weigh(
        [group("q", "+---")], 1, Weighing(1.0)
    )


def test_groups_are_weighed_in_order():
    weights = tracker_of_groups().weigh([group("a", "+---"), group("b", "+++-"), group("a", "++--")], 0, Weighing(1.0))
    assert [w.accuracy for w in weights] == [0.25, 0.75, 0.5]


def test_history_counts_verdicts_by_question():
    tracker = tracker_of_groups()
    tracker.weigh([group("a", "++-?"), group("b", "----")], 3, Weighing(1.0))
    tracker.weigh([group("a", "+???")], 4, Weighing(1.0))
    a, b = tracker.history["a"], tracker.history["b"]
    assert (a.correct, a.valid, a.unverified, a.last_version) == (3, 4, 4, 4)
    assert (b.correct, b.valid, b.unverified, b.last_version) == (0, 4, 0, 3)


def test_saved_and_loaded_history_goes_on_as_if_never_interrupted(tmp_path):
    whole, first = tracker_of_groups(), tracker_of_groups()
    whole.weigh([group("a", "+-?-"), group("b/é", "++--")], 0, Weighing(1.0))
    first.weigh([group("a", "+-?-"), group("b/é", "++--")], 0, Weighing(1.0))
    first.save(tmp_path / "tracker.json")
    json.loads((tmp_path / "tracker.json").read_text())
    second = tracker_of_groups()
    second.weigh([group("forgotten", "++--")], 0, Weighing(1.0))
    second.load(tmp_path / "tracker.json")
    assert second.weigh([group("a", "++--")], 1, Weighing(1.0)) == whole.weigh([group("a", "++--")], 1, Weighing(1.0))
    assert second.history == whole.history


def test_a_group_without_any_verdict_has_no_accuracy_and_counts_nowhere():
    lost = group("q", "???")
    (found,) = tracker_of_groups().weigh([lost], 0, Weighing(1.0))
    assert found.accuracy is None
    assert found.weight == 0.0
    assert found.advantages == (0.0, 0.0, 0.0)
