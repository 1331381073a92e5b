"""Racing: the evidence against a checkpoint, and the choice of a race beside that of a probe without racing."""

import random
from math import inf

import pytest

from vt_ray.spectrum_phase.racing import FRACTIONS, ROUNDS, Race, evidence


def race(table, error, seed=0):
    """Runs a race over {checkpoint: {question: score}}. Returns it, and the scores that were drawn."""
    ids = list(next(iter(table.values())))
    contest = Race({"algebra": ids}, list(table), error, seed)
    drawn = {name: {} for name in table}
    for asked in contest.rounds():
        for name in contest.active["algebra"]:
            drawn[name] |= {q: table[name][q] for q in asked}
        contest.stop_losers(drawn)
    return contest, drawn


def scores(accuracies, problems, seed):
    """Right or wrong on each problem: an easy problem is easy for all checkpoints."""
    dice = random.Random(seed)
    hardness = [dice.random() for _ in range(problems)]
    return {
        f"step_{i}": {f"q{j}": float(dice.random() < (accuracy + h) / 2) for j, h in enumerate(hardness)}
        for i, accuracy in enumerate(accuracies)
    }


def test_evidence_by_hand():
    # One problem of four, won by b: X = 1, and the largest mean under "a wins" is 1/2. Each bet f pays 1 + f.
    expected = sum(1 + f for f in FRACTIONS) / len(FRACTIONS)
    assert evidence({"a": [0.0], "b": [1.0]}, "a", 4) == pytest.approx(expected)
    # The bets against b lose their stakes.
    assert evidence({"a": [0.0], "b": [1.0]}, "b", 4) == pytest.approx(sum(1 - f for f in FRACTIONS) / len(FRACTIONS))
    # After the first win, 3 problems are left with a sum of X of at most 1 under "a wins": m = 1/3.
    expected = sum((1 + f) * (1 + f * (3 - 1)) for f in FRACTIONS) / len(FRACTIONS)
    assert evidence({"a": [0.0, 0.0], "b": [1.0, 1.0]}, "a", 4) == pytest.approx(expected)


def test_more_than_half_of_all_problems_lost_is_proof():
    assert evidence({"a": [0.0] * 3, "b": [1.0] * 3}, "a", 4) == inf
    # Two of four: a can still be equal, and an equal checkpoint may win by Pass@1.
    assert evidence({"a": [0.0] * 2, "b": [1.0] * 2}, "a", 4) < inf
    assert evidence({"a": [0.0, 0.0, 1.0, 1.0], "b": [1.0, 1.0, 0.0, 0.0]}, "a", 4) < inf


def test_thirds_that_add_up_to_a_draw_are_no_proof():
    a, b = [1 / 3, 2 / 3, 0.0] * 20, [2 / 3, 0.0, 1 / 3] * 20
    assert evidence({"a": a, "b": b}, "a", 60) < inf and evidence({"a": a, "b": b}, "b", 60) < inf


def test_no_opponent_no_evidence():
    assert evidence({"a": [0.0, 0.0]}, "a", 2) == 1.0
    contest, drawn = race({"a": {"q": 0.0}}, 0.05)
    assert contest.active["algebra"] == ["a"] and drawn["a"] == {"q": 0.0}


def test_a_problem_without_a_verdict_adds_no_evidence():
    assert evidence({"a": [None] * 3, "b": [1.0] * 3}, "a", 20) <= 1.0
    assert evidence({"a": [1.0] * 3, "b": [None] * 3}, "a", 20) <= 1.0


def test_without_an_error_rate_there_is_one_round_and_nobody_stops():
    table = scores([0.0, 1.0], 10, 0)
    contest = Race({"algebra": list(table["step_0"])}, list(table), 0, 0)
    assert list(contest.rounds()) == [set(table["step_0"])]
    contest.stop_losers(table)
    assert contest.active["algebra"] == ["step_0", "step_1"] and contest.stopped["algebra"] == {}


@pytest.mark.parametrize("problems", [1, 3, ROUNDS, 50])
def test_every_problem_is_in_one_round(problems):
    ids = [f"q{i}" for i in range(problems)]
    found = [q for asked in Race({"a": ids, "b": ["x"]}, ["s"], 0.1, 0).rounds() for q in asked]
    assert sorted(found) == sorted([*ids, "x"])


def test_the_order_depends_on_the_seed_alone():
    ids = [f"q{i}" for i in range(40)]
    first, again, other = (list(Race({"a": given}, ["s"], 0.1, s).rounds()) for given, s in
                           ((ids, 0), (ids[::-1], 0), (ids, 1)))  # fmt: skip
    assert first == again != other


def test_a_clear_winner_stops_the_others_early():
    contest, drawn = race(scores([0.0, 0.1, 1.0], 200, 0), 0.05)
    assert contest.active["algebra"] == ["step_2"] and len(drawn["step_2"]) == 200
    assert max(len(drawn["step_0"]), len(drawn["step_1"])) <= 75
    assert contest.stopped["algebra"] == {"step_0": len(drawn["step_0"]), "step_1": len(drawn["step_1"])}


def test_equal_checkpoints_run_to_the_end():
    same = {f"q{i}": float(i % 2) for i in range(60)}
    contest, _ = race({"a": same, "b": dict(same)}, 0.05)
    assert contest.active["algebra"] == ["a", "b"]


def test_the_winner_is_lost_less_often_than_the_error_rate():
    lost = 0
    for seed in range(300):
        table = scores([0.3, 0.4, 0.5, 0.5], 40, seed)
        means = {name: sum(found.values()) for name, found in table.items()}
        contest, _ = race(table, 0.2, seed)
        lost += all(means[name] < max(means.values()) for name in contest.active["algebra"])
    assert lost / 300 <= 0.2


def test_an_interrupted_race_makes_the_same_decisions():
    table = scores([0.0, 0.5, 0.6, 1.0], 120, 3)
    whole, drawn = race(table, 0.05)
    again = Race({"algebra": list(table["step_0"])}, list(table), 0.05, 0)
    for _ in again.rounds():
        again.stop_losers(drawn)  # with the scores of later rounds, from the interrupted attempt
    assert again.stopped == whole.stopped and again.active == whole.active
