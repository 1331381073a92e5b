"""The figures of a benchmark, computed by hand from the results of a few problems."""

import json
from contextlib import closing
from itertools import combinations
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.evaluation import answers
from vt_ray.evaluation.repetition import ends_in_loop
from vt_ray.evaluation.results import ProblemResult
from vt_ray.evaluation.summary import benchmark_summary, paired_change
from vt_ray.evaluation.voting import answer_classes, majority_score
from vt_ray.records import Verdict
from vt_ray.verify.limits import Limits
from vt_ray.verify.mathematics.grader import MathGrader

LETTERS = {"c": "correct", "w": "wrong", "u": "unverified"}


def result(name, verdicts, **values):
    """The result of a problem with the verdicts "ccwu": correct, correct, wrong, unverified."""
    count = len(verdicts)
    values = {"tokens": [100] * count, "truncated": [False] * count, "subdomain": "algebra"} | values
    return ProblemResult(name, verdicts=[LETTERS[v] for v in verdicts], **values)


def test_figures_of_three_problems_by_hand():
    results = [
        result("a", "ccww", tokens=[10, 20, 30, 40], classes=[0, 0, 1, 2], loops=[False] * 4),
        result("b", "wwww", tokens=[50, 60, 70, 80], truncated=[True, False, False, False], classes=[1, 1, None, 2]),
        result("c", "cwuu", subdomain="geometry", classes=[0, 1, 1, 1], loops=[True, False, False, False]),
    ]
    found = benchmark_summary(results, k_values=[1, 2, 4, 8])
    assert (found["problems"], found["samples"], found["without_verdict"], found["unverified"]) == (3, 4, 0, 2)
    # Means of 2/4, 0 and 1/2.
    assert found["pass_at_1"]["mean"] == pytest.approx(1 / 3)
    # Pass@2: 1 - C(2,2)/C(4,2) = 5/6; 0; of two samples with a verdict one is correct: 1.
    assert found["pass_at_k"]["2"]["mean"] == pytest.approx((5 / 6 + 0 + 1) / 3)
    assert set(found["pass_at_k"]) == {"2", "4"}, "K above the number of samples has no estimate"
    # Votes: class 0 with two of four; a wrong class; a tie of a correct and a wrong answer.
    assert found["cons_at_n"]["mean"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert found["truncated_share"] == pytest.approx(1 / 12)
    assert found["loop_share"] == pytest.approx(1 / 8)
    assert (found["tokens_mean"], found["tokens_median"]) == (pytest.approx(760 / 12), 65)
    assert {name: (part["problems"], part["pass_at_1"]["mean"]) for name, part in found["by_subdomain"].items()} == {
        "algebra": (2, 0.25),
        "geometry": (1, 0.5),
    }
    assert found["by_level"] == found["by_month"] == found["by_token_budget"] == {}
    json.dumps(found, allow_nan=False)


def test_a_problem_without_a_verdict_is_counted_and_in_no_accuracy():
    found = benchmark_summary([result("a", "cc"), result("b", "uu")], [2])
    assert (found["pass_at_1"]["mean"], found["without_verdict"], found["unverified"]) == (1.0, 1, 2)
    none = benchmark_summary([result("b", "uu", classes=[1, 1])], [2])
    assert none["pass_at_1"] is none["pass_at_k"]["2"] is none["cons_at_n"] is None
    assert none["without_verdict"] == 1


@pytest.mark.parametrize(("verdicts", "mean"), [("cccc", 1.0), ("wwww", 0.0)])
def test_all_right_and_all_wrong_have_intervals_with_a_width(verdicts, mean):
    found = benchmark_summary([result(str(i), verdicts, classes=[0] * 4) for i in range(30)], [4])
    for figure in (found["pass_at_1"], found["pass_at_k"]["4"], found["cons_at_n"]):
        assert figure["mean"] == mean
        assert 0 <= figure["low"] <= mean <= figure["high"] <= 1
        assert figure["high"] - figure["low"] > 0.1


def test_groups_by_level_and_month_are_in_order():
    results = [
        result("a", "c", level=10, date="2025-02-28"),
        result("b", "w", level=9, date="2025-02-01"),
        result("c", "c", level="hard", date="2024-11-30"),
        result("d", "c", level="medium"),
        result("e", "c", level="Master"),
        result("f", "c", level="easy"),
        result("g", "c"),
    ]
    found = benchmark_summary(results)
    assert list(found["by_level"]) == ["9", "10", "easy", "medium", "hard", "Master"]
    assert [(m, p["problems"], p["pass_at_1"]["mean"]) for m, p in found["by_month"].items()] == [
        ("2024-11", 1, 1.0),
        ("2025-02", 2, 0.5),
    ]


def test_accuracy_by_token_budget_is_read_from_the_lengths():
    results = [result("a", "ccww", tokens=[4096, 4097, 100, 20_000]), result("b", "cccu", tokens=[9000, 1, 40, 50])]
    found = benchmark_summary(results)["by_token_budget"]
    assert {budget: score["mean"] for budget, score in found.items()} == {
        "4096": pytest.approx((1 / 4 + 2 / 3) / 2),
        "8192": pytest.approx((2 / 4 + 2 / 3) / 2),
        "16384": pytest.approx((2 / 4 + 1) / 2),
    }


def test_changes_are_paired_by_question():
    before = [result("a", "cw"), result("b", "ww"), result("c", "cc"), result("lost", "uu")]
    after = [result("c", "cc"), result("b", "cc"), result("a", "cc"), result("lost", "cc"), result("new", "ww")]
    assert paired_change(before, after)["mean"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert paired_change(before, [result("other", "cc")]) is None


def test_results_survive_json_and_ignore_other_keys():
    one = result("a", "cu", classes=[0, None], answers=["4", None], loops=[False, True], level="5", date="2025-02")
    line = json.loads(json.dumps(one.as_dict() | {"text": ["...", "..."]}))
    assert ProblemResult.from_dict(line) == one


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"verdicts": ""}, "verdicts is empty"),
        ({"tokens": []}, "tokens has 0 entries for 2 verdicts"),
        ({"truncated": [True]}, "truncated has 1 entries for 2"),
        ({"classes": [0]}, "classes has 1 entries for 2"),
    ],
)
def test_results_of_unequal_lengths_are_refused(values, says):
    with pytest.raises(ValueError, match=says):
        result("a", **{"verdicts": "cw"} | values)


def test_an_unknown_verdict_is_refused():
    with pytest.raises(ValueError, match="result of a: verdict 'timeout' is none of correct, unverified, wrong"):
        ProblemResult("a", "algebra", ["correct", "timeout"], [1, 2], [False, False])


def test_no_results_and_two_results_of_one_problem_are_refused():
    with pytest.raises(ValueError, match="no results"):
        benchmark_summary([])
    with pytest.raises(ValueError, match="question a has 2 results"):
        benchmark_summary([result("a", "c"), result("b", "c"), result("a", "w")])


def test_equal_answers_share_a_class():
    with closing(MathGrader(Limits())) as grader:
        found = [r"\frac12", "7", "7.0", None, r"\sqrt{2}", r"2^{1/2}", " 7 ", "(1, 2)"]
        verdicts = ["correct", "wrong", "wrong", "wrong", "wrong", "wrong", "wrong", "unverified"]
        classes = answer_classes(found, verdicts, lambda a, b: grader.verdict(a, b).status == "correct")
    assert classes == [0, 1, 1, None, 2, 2, 1, 3]


def test_each_text_is_compared_once_with_each_class():
    asked = []

    def equal(first, second):
        asked.append((first, second))
        return False

    found = ["1", "2", "3"] * 20
    assert answer_classes(found, ["wrong"] * 60, equal) == [1, 2, 3] * 20
    assert sorted(asked) == list(combinations("123", 2))


@pytest.mark.parametrize(
    ("classes", "verdicts", "score"),
    [
        ([0, 0, 1], "ccw", 1.0),
        ([0, 1, 1], "cww", 0.0),
        ([0, 1], "cw", 0.5),
        ([0, 1, 2], "cww", 1 / 3),
        ([1, 2], "ww", 0.0),
        ([None, None, 0], "wwc", 1.0),
        ([None, None], "ww", 0.0),
        ([0, 3, 3], "cuu", 1.0),
    ],
)
def test_majority_votes(classes, verdicts, score):
    assert majority_score(classes, [LETTERS[v] for v in verdicts]) == pytest.approx(score)


@given(st.lists(st.sampled_from([("correct", 0), ("wrong", 1), ("wrong", 2), ("wrong", None)]), min_size=1))
def test_the_order_of_samples_does_not_change_a_vote(samples):
    verdicts, classes = zip(*samples, strict=True)
    assert majority_score(classes, verdicts) == majority_score(classes[::-1], verdicts[::-1])


def test_loops_at_the_end_are_found():
    story = list(range(10_000, 13_000))
    assert ends_in_loop(story + [7] * 256)
    assert ends_in_loop(story + [1, 2, 3] * 100)
    assert ends_in_loop(story + list(range(500)) * 4)
    assert ends_in_loop([5] * 256)


def test_text_without_a_loop_at_the_end_is_none():
    story = list(range(3_000))
    assert not ends_in_loop([])
    assert not ends_in_loop(story)
    assert not ends_in_loop([7] * 255)
    assert not ends_in_loop(story + list(range(500)) * 3)
    assert not ends_in_loop(story + [7] * 1000 + [1, 2, 3])


def test_the_answers_of_one_problem_are_compared_for_a_limited_time(monkeypatch):
    asked = []

    class TwoSeconds:
        def verdict(self, first, second):
            asked.append((first, second))
            return Verdict("correct")

    clock = SimpleNamespace(monotonic=lambda: 2.0 * len(asked))
    monkeypatch.setattr(answers, "time", clock)
    equal = answers.answer_equality(TwoSeconds(), seconds=5.0)
    assert [equal("x+1", f"{i}+x") for i in range(6)] == [True] * 3 + [False] * 3
    assert len(asked) == 3 and equal("x+1", "x+1")
