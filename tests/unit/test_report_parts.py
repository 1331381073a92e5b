import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vt_ray.records import AdvantageConfig
from vt_ray.report import milestones, question_scores
from vt_ray.report.metrics import Metric
from vt_ray.report.run_page import charts, curves, difficulty, samples, step_time
from vt_ray.report.run_page.training_sections import difficulty_section
from vt_ray.report.run_record import RunRecord


def score(mean):
    return {"mean": mean, "low": mean - 0.04, "high": mean + 0.04}


def test_weight_curve_has_the_paper_s_check_values():
    assert [round(difficulty.difficulty_weight(c / 8, AdvantageConfig(1.0)), 3) for c in range(5)] == [
        0.5,
        0.729,
        0.877,
        0.969,
        1.0,
    ]
    assert [round(difficulty.difficulty_weight(c / 8, AdvantageConfig(4.0)), 3) for c in (0, 1, 7, 8)] == [
        0.062,
        0.282,
        0.282,
        0.062,
    ]
    assert difficulty.difficulty_weight(0.3, AdvantageConfig(0.0)) == 1.0


def test_weight_is_the_trainers_own():
    from vt_ray.algorithms import mgpo

    for c in range(17):
        assert difficulty.difficulty_weight(c / 16, AdvantageConfig(1.5)) == pytest.approx(mgpo.weight(c / 16, 1.5))


def of_eighths(accuracy):
    """A user's weight that knows the accuracies of groups of 8 only."""
    return [{c / 8: 1.0 for c in range(1, 8)}[p] for p in accuracy]


def test_a_weight_that_refuses_a_p_c_of_the_chart_is_not_drawn(tmp_path):
    identity = {"lambda": 1.0, "weight": f"{__name__}:of_eighths"}
    lines = [{"stage": "short", "p_c_histogram": [1, 2, 1, 0, 0, 0, 0, 0, 0]}]
    planned = {"short": {"group_size": 8}}
    record = RunRecord(tmp_path, identity, "", {}, {}, (), lines, planned=planned)
    section = difficulty_section(record)
    assert len(section.figures) == 1 and len(section.text) == 1


def test_p_c_heat_holds_shares_by_stage_and_group_size():
    lines = [
        {"stage": "short", "p_c_histogram": [1, 2, 1]},
        {"stage": "short", "p_c_histogram": None},
        {"stage": "long", "p_c_histogram": [0, 0, 0, 0, 5]},
    ]
    figure = difficulty.p_c_heat(lines, AdvantageConfig(1.0))
    short, long, _, curve, rings = figure.data
    assert (short.x, short.y) == ((1, 2), (0.0, 0.5, 1.0))
    assert [list(row) for row in short.z] == [[0.25, None], [0.5, None], [0.25, None]]
    assert (long.x, long.y) == ((3,), (0.0, 0.25, 0.5, 0.75, 1.0))
    # The weight is drawn over the histogram on the same axis of p_c, with its own axis for its value.
    assert (curve.x[50], curve.y[50]) == (1.0, 0.5)
    assert (curve.xaxis, curve.yaxis, figure.layout.xaxis2.overlaying) == ("x2", None, "x")
    assert (rings.x, rings.y) == ((0.5, 0.5), (0, 1))
    assert len(difficulty.p_c_heat(lines, None).data) == 2


def test_p_c_heat_draws_the_weight_of_the_run():
    lines = [{"stage": "short", "p_c_histogram": [1, 2, 1, 0, 1]}]
    figure = difficulty.p_c_heat(lines, AdvantageConfig(1.0, weight="maxrl", group_size=4))
    *_, curve, rings = figure.data
    # 1/p, and at 0 and 1 the values of the nearest groups with a signal, 1/4 and 3/4.
    assert (curve.x[50], rings.x) == (2.0, (4.0, 4 / 3))
    assert (figure.layout.xaxis2.title.text, figure.layout.xaxis2.range) == ("weight maxrl", (0, 4.2))


def test_smoothing_stays_inside_its_stage_and_skips_gaps():
    assert curves.smoothed([8.0, 1.0, 0.0]) == [8.0, 3.0, 0.0]
    assert curves.smoothed([0.0] * 50 + [11.0] + [0.0] * 49)[44:57] == [0.0, *[1.0] * 11, 0.0]
    assert curves.smoothed([None, None, None, 4.0, float("nan")]) == [None, None, 4.0, 4.0, None]
    lines = [{"stage": s, "x": v} for s, v in (("a", 0.0), ("a", 0.0), ("b", 9.0), ("b", 9.0))]
    # For each stage: band, single steps, moving mean.
    drawn = curves.rl_curve(lines, Metric("x", "X", "x", ".1f")).data
    assert [list(t.y) for t in drawn[2::3]] == [[0.0, 0.0], [9.0, 9.0]]
    assert [list(t.x) for t in drawn[2::3]] == [[1, 2], [3, 4]]


def test_band_is_the_interval_of_the_moving_mean():
    # Windows of 1, 3 and 1; the middle one has mean 2 and differs from its step, 6, by 4: s^2 = 16 / (1 - 1/3) = 24.
    low, high = curves.interval_band([0.0, 6.0, 0.0])
    half = 1.959964 * math.sqrt(24)
    assert high == pytest.approx([half, 2 + half / math.sqrt(3), half], abs=1e-4)
    # No value is negative, so the band ends at 0.
    assert low == [0.0, 0.0, 0.0]
    assert curves.interval_band([-1.0, 6.0, -1.0])[0][0] < -1
    assert curves.interval_band([5.0]) == ([None], [None])
    assert curves.interval_band([None, 4.0, None]) == ([None] * 3, [None] * 3)


def test_length_band_is_that_of_the_rollouts_where_it_was_recorded():
    lines = [{"stage": "a", "n": 9.0, "n10": 2.0, "n90": 30.0}] * 3
    metric = Metric("n", "N", "n", ".1f", low="n10", high="n90")
    assert list(curves.rl_curve(lines, metric).data[0].y) == [30.0] * 3 + [2.0] * 3
    old = [{"stage": "a", "n": 9.0}] * 3
    assert list(curves.rl_curve(old, metric).data[0].y) == [9.0] * 6


def test_milestones_carry_their_intervals():
    reached = [{"name": n, "pass_at_1": score(m), "pass_at_8": score(0.9)} for n, m in (("base", 0.1), ("fused", 0.5))]
    band_1, line_1, _, line_8 = charts.milestone_curves(reached).data
    assert (line_1.name, line_1.x, line_1.y) == ("Pass@1", ("base", "fused"), (0.1, 0.5))
    assert band_1.x == ("base", "fused", "fused", "base")
    assert band_1.y == pytest.approx((0.14, 0.54, 0.46, 0.06))
    assert line_8.error_y.array == pytest.approx((0.04, 0.04))


def test_utilisation_has_a_row_for_each_actor_and_a_gap_where_it_was_not_recorded():
    lines = [{"busy": {"generator_0": 0.5, "learner_0": 0.1}}, {}, {"busy": {"generator_0": 0.7}}]
    heat = step_time.utilisation(lines).data[0]
    assert heat.y == ("generator_0  60%", "learner_0  10%")
    assert [list(row) for row in heat.z] == [[0.5, None, 0.7], [0.1, None, None]]
    assert step_time.utilisation([{}]) is None


def scores_of(**correct):
    """{"algebra": [1, 8]}: one question with 1 and one with 8 correct answers of 8."""
    return {
        f"{d}/{i}": question_scores.QuestionScore(d, c, 8)
        for d, counts in correct.items()
        for i, c in enumerate(counts)
    }


def test_change_is_over_the_shared_questions_of_the_subdomains():
    before = scores_of(algebra=[0] * 10, code=[4] * 10, geometry=[1] * 3)
    after = scores_of(algebra=[2] * 10, code=[4] * 9 + [8])
    # Ten questions with the same change: by the rule of three, 3/10 may change differently.
    assert question_scores.change(before, after, 1, ["algebra"]) == pytest.approx(
        {"mean": 0.25, "low": -0.05, "high": 0.55}
    )
    assert question_scores.change(before, after, 1)["mean"] == pytest.approx((10 * 0.25 + 0.5) / 20)
    # Pass@8 of 2 right in 8 is 1, of none 0.
    assert question_scores.change(before, after, 8, ["algebra"])["mean"] == 1.0


def test_too_few_questions_tell_nothing():
    assert question_scores.change(scores_of(code=[0] * 9), scores_of(code=[8] * 9), 1) is None
    assert question_scores.change(None, scores_of(code=[8] * 10), 1) is None


def test_questions_without_a_verdict_have_no_score():
    record = {"scores": [{"question_id": q, "subdomain": "code", "correct": 0, "valid": v} for q, v in ("a0", "b3")]}
    record["scores"] = [{**s, "valid": int(s["valid"])} for s in record["scores"]]
    assert list(question_scores.question_scores(record)) == ["b"]


def test_choice_of_rollouts():
    rows = [
        {"verdict": "correct", "advantage": 0.5},
        {"verdict": "correct", "advantage": 2.0},
        {"verdict": "wrong", "advantage": -2.0},
        {"verdict": "unverified", "advantage": None},
    ]
    chosen = samples.choose(rows, [1, 9, 3, 2], [-0.9, -0.1, -3.0, None])
    assert chosen == {1: "best, longest", 2: "worst", 0: "most surprising", 3: "unverified"}
    assert samples.choose([], [], []) == {}


def test_control_characters_are_shown_as_signs():
    assert samples.visible("a\x00\x1b[2J\r\n\tb\x7f\x9b") == "a\u2400\u241b[2J\u240d\n\tb[U+007F][U+009B]"
    assert samples.visible("\u202egnp.exe\u2066 \ud83d") == "[U+202E]gnp.exe[U+2066] [U+D83D]"
    assert samples.visible("é 数 \U0001f600 <b>&amp;") == "é 数 \U0001f600 <b>&amp;"


def write_step(root, step, rows):
    folder = root / "rollouts" / "math"
    folder.mkdir(parents=True, exist_ok=True)
    light = {"stage": "math", "step": step, "finish_reason": "stop", "reason": "", "p_c": 0.5, "advantage": 0.0}
    data = [
        {**light, "question_id": f"q{i}", "subdomain": "algebra", "verdict": "wrong", "question": "?", "text": text}
        | {"tokens": [1, 2], "rollout_logprobs": [-1.0, -2.0]}
        for i, text in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(data), folder / f"step_{step:06d}.parquet")


def test_the_search_takes_steps_and_rollouts_at_even_distances(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "SEARCH_ROLLOUTS", 9)
    monkeypatch.setattr(samples, "SEARCH_STEPS_PER_STAGE", 3)
    for step in range(1, 12):
        write_step(tmp_path, step, [f"answer {i}" for i in range(5)])
    found = [(r["step"], r["text"]) for r in samples.search_sample(tmp_path, ["math", "nowhere"])]
    assert found == [(step, f"answer {i}") for step in (1, 6, 11) for i in (0, 2, 4)]


def test_the_search_keeps_within_its_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "SEARCH_CHARACTERS", 2000)
    for step in (1, 2):
        write_step(tmp_path, step, ["a" * 400] * 5)
    found = samples.search_sample(tmp_path, ["math"])
    # 1,000 characters for each of two files: two answers of 400 with a question of one character.
    assert [r["step"] for r in found] == [1, 1, 2, 2]


def test_most_surprising_is_the_lowest_mean_logprob(tmp_path):
    write_step(tmp_path, 1, ["a", "b"])
    assert [s.logprob for s in samples.stage_samples(tmp_path, "math")] == [-1.5]


def test_long_answers_keep_both_ends():
    short = samples.shortened("a" * 2500 + "b" * 10_000 + "c" * 1500)
    assert short == "a" * 2500 + "\n[... 10,000 characters left out ...]\n" + "c" * 1500
    assert samples.shortened(None) == ""


def test_headline_says_what_is_within_noise():
    before, after = (
        {"name": "base", "pass_at_1": score(0.5), "pass_at_8": score(0.8)},
        {"name": "fused", "pass_at_1": score(0.5), "pass_at_8": score(0.7)},
    )
    after |= {"num_problems": 1234, "difference": {"from": "base", "mean": 0.0, "low": -0.01, "high": 0.01}}
    assert milestones.headline([before, after]) == (
        "From base to fused, Pass@1 on 1,234 held-out problems stayed at 50.0%, "
        "and Pass@8 fell from 80.0% to 70.0%. "
        "The last step, base to fused, changed Pass@1 by +0.0 [-1.0, +1.0] points, which is within noise."
    )
