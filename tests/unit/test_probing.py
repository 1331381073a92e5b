"""The table of the probe: the specialist of each subdomain, and the best checkpoint by Pass@1."""

import pytest

from vt_ray.config import ProbeConfig
from vt_ray.spectrum_phase.probe_scores import ProbeScore
from vt_ray.spectrum_phase.probe_table import probe_table as table_of


def probe_table(measured, k, losses=None, stopped=None, **settings):
    return table_of(measured, ProbeConfig(samples=k, k=k, **settings), losses, stopped)


def scores(k=4, **correct):
    """{"algebra": [1, 4]}: one question with 1 and one with 4 correct of `k` samples."""
    return [
        ProbeScore(f"{subdomain}/{i}", subdomain, c, k, k, 0, 10)
        for subdomain, counts in correct.items()
        for i, c in enumerate(counts)
    ]


def test_pass_at_k_and_pass_at_1_by_hand():
    table = probe_table({"step_1": scores(algebra=[1, 0, 4, 2]), "step_2": scores(algebra=[1, 1, 1, 0])}, k=4)
    assert table["checkpoints"] == ["step_1", "step_2"]
    assert table["pass_at_k"] == {"algebra": [0.75, 0.75]}
    assert table["pass_at_1"]["algebra"] == pytest.approx([7 / 16, 3 / 16])
    assert table["k"] == 4


def test_pass_at_k_of_fewer_than_all_samples_is_unbiased():
    # 2 of 4 correct, k = 2: 1 - C(2,2)/C(4,2) = 5/6; 1 of 4: 1 - 3/6.
    table = probe_table({"s": scores(code=[2, 1])}, k=2)
    assert table["pass_at_k"]["code"] == pytest.approx([(5 / 6 + 1 / 2) / 2])


def test_each_subdomain_chooses_by_pass_at_k_not_by_pass_at_1():
    measured = {
        "step_1": scores(algebra=[1, 1, 1], geometry=[4, 0, 0]),
        "step_2": scores(algebra=[4, 4, 0], geometry=[1, 1, 0]),
        "step_3": scores(algebra=[1, 0, 0], geometry=[0, 0, 0]),
    }
    table = probe_table(measured, k=4)
    assert table["specialists"] == {"algebra": "step_1", "geometry": "step_2"}
    # Pass@1 over subdomains: (3/12 + 4/12)/2, (8/12 + 2/12)/2 and (1/12 + 0)/2.
    assert table["best_pass_at_1"] == "step_2"


def test_at_equal_pass_at_k_pass_at_1_decides_then_the_later_checkpoint():
    measured = {
        "step_1": scores(algebra=[3, 0], code=[1, 1]),
        "step_2": scores(algebra=[1, 0], code=[1, 1]),
        "step_3": scores(algebra=[2, 0], code=[0, 0]),
    }
    assert probe_table(measured, k=4)["specialists"] == {"algebra": "step_1", "code": "step_2"}


def test_best_by_pass_at_1_averages_subdomains_and_prefers_the_later_checkpoint():
    # step_1 has the higher mean over questions, step_2 the higher mean over subdomains.
    measured = {"step_1": scores(algebra=[4, 4, 4], code=[0]), "step_2": scores(algebra=[2, 2, 2], code=[3])}
    assert probe_table(measured, k=4)["best_pass_at_1"] == "step_2"
    equal = {name: scores(algebra=[1, 2]) for name in ("step_1", "step_2", "step_3")}
    assert probe_table(equal, k=4)["best_pass_at_1"] == "step_3"


def test_missing_verdicts_lower_k_for_that_question_alone():
    # 2 verdicts for 4 samples, 1 of them correct: Pass@min(4, 2) = 1. The second question has no verdict.
    measured = {"s": [ProbeScore("a/0", "algebra", 1, 2, 4, 0, 10), ProbeScore("a/1", "algebra", 0, 4, 4, 0, 10)]}
    table = probe_table(measured, k=4)
    assert table["pass_at_k"]["algebra"] == [0.5]
    assert table["pass_at_1"]["algebra"] == [0.25]


def test_pass_at_several_k_in_one_table():
    table = probe_table({"s": scores(k=4, code=[2, 1])}, k=4, ks=[2])
    assert table["ks"] == [1, 2, 4] and list(table["pass_at"]) == ["1", "2", "4"]
    assert table["pass_at"]["2"]["code"] == pytest.approx([(5 / 6 + 1 / 2) / 2])
    assert table["pass_at"]["4"] == table["pass_at_k"] and table["pass_at"]["1"] == table["pass_at_1"]


def test_the_margin_names_the_runner_up_and_a_tie():
    measured = {
        "step_1": scores(algebra=[1] * 12, code=[1, 0] * 6),
        "step_2": scores(algebra=[0] * 12, code=[0, 1] * 6),
        "step_3": scores(algebra=[0] * 11 + [1], code=[0, 0] * 6),
    }
    margins = probe_table(measured, k=4)["margins"]
    assert margins["algebra"]["runner_up"] == "step_3" and margins["algebra"]["mean"] == pytest.approx(11 / 12)
    assert margins["algebra"]["low"] > 0 and not margins["algebra"]["tie"]
    assert margins["code"]["runner_up"] == "step_1" and margins["code"]["tie"]
    assert margins["code"]["low"] < 0 < margins["code"]["high"]


def test_an_equal_change_of_all_problems_still_has_an_interval():
    measured = {"step_1": scores(algebra=[1] * 6), "step_2": scores(algebra=[0] * 6)}
    assert probe_table(measured, k=4)["margins"]["algebra"]["low"] == pytest.approx(0.5)
    # With two problems, 3/n is more than the whole range.
    measured = {"step_1": scores(algebra=[1] * 2), "step_2": scores(algebra=[0] * 2)}
    assert probe_table(measured, k=4)["margins"]["algebra"]["tie"]


def test_the_differences_are_those_of_the_specialist_from_every_checkpoint():
    table = probe_table({"step_1": scores(algebra=[4, 0, 0]), "step_2": scores(algebra=[1, 1, 0])}, k=4)
    first, second = table["differences"]["algebra"]
    assert first["mean"] == pytest.approx(1 / 3) and second["mean"] == 0


def test_one_checkpoint_has_no_margin():
    assert probe_table({"s": scores(code=[1])}, k=4)["margins"] == {}


def with_paths(correct_paths, samples=4):
    """One problem with correct samples of these paths; the other samples are wrong."""
    c = len(correct_paths)
    verdicts = ["correct"] * c + ["wrong"] * (samples - c)
    return ProbeScore(
        "code/0", "code", c, samples, samples, 0, 9, verdicts, (), [*correct_paths, *["w"] * (samples - c)]
    )


@pytest.mark.parametrize(
    ("criterion", "specialist"),
    [("pass_at_k", "step_2"), ("pass_at_1", "step_2"), ("diversity", "step_1"), ("heldout_loss", "step_3")],
)
def test_each_criterion_chooses_its_checkpoint(criterion, specialist):
    measured = {
        "step_1": [with_paths(["a", "b", "c"])],
        "step_2": [with_paths(["a", "a", "a", "a"])],
        "step_3": [with_paths(["a"])],
    }
    losses = {"step_1": 0.9, "step_2": 0.8, "step_3": 0.7}
    table = probe_table(measured, 4, losses, criterion=criterion)
    assert table["specialists"] == {"code": specialist} and table["criterion"] == criterion
    assert table["distinct_paths"]["code"] == [3, 1, 1] and table["heldout_loss"] == [0.9, 0.8, 0.7]
    if criterion == "heldout_loss":
        assert table["margins"]["code"] == {"runner_up": "step_2", "mean": pytest.approx(0.1), "tie": False}


def test_a_checkpoint_without_a_loss_cannot_be_chosen_by_it():
    with pytest.raises(RuntimeError, match="no held-out loss of step_2"):
        probe_table(
            {"step_1": scores(code=[1]), "step_2": scores(code=[1])}, 4, {"step_1": 1.0}, criterion="heldout_loss"
        )


def test_without_stored_samples_the_figures_of_diversity_are_unknown():
    table = probe_table({"s": scores(algebra=[1])}, k=4)
    assert table["distinct_paths"] == table["distinct_answers"] == table["answer_entropy"] == {"algebra": [None]}


def test_a_checkpoint_that_the_race_stopped_is_no_specialist():
    measured = {"step_1": scores(algebra=[4, 4]), "step_2": scores(algebra=[1, 1, 0, 1])}
    table = probe_table(measured, 4, stopped={"algebra": {"step_1": 2}}, racing=0.05)
    assert table["specialists"] == {"algebra": "step_2"} and table["margins"]["algebra"]["runner_up"] == "step_1"
    assert table["problems"] == {"algebra": [2, 4]}
    assert table["racing"] == {
        "error": 0.05,
        "stopped": {"algebra": {"step_1": 2}},
        "samples": 24,
        "samples_without_racing": 32,
    }


def test_best_by_pass_at_1_compares_a_stopped_checkpoint_on_the_problems_that_all_have():
    # step_1 stopped after the two easy problems, on which step_2 is better.
    measured = {"step_1": scores(algebra=[3, 3]), "step_2": scores(algebra=[4, 4, 0, 0])}
    table = probe_table(measured, 4, stopped={"algebra": {"step_1": 2}}, racing=0.05)
    assert table["pass_at_1"] == {"algebra": [0.75, 0.5]} and table["best_pass_at_1"] == "step_2"
