from vt_ray.report import curves, milestones, samples


def score(mean):
    return {"mean": mean, "low": mean - 0.04, "high": mean + 0.04}


def test_weight_curve_has_the_paper_s_check_values():
    assert [round(curves.weight(c / 8, 1.0), 3) for c in range(5)] == [0.5, 0.729, 0.877, 0.969, 1.0]
    assert [round(curves.weight(c / 8, 4.0), 3) for c in (0, 1, 7, 8)] == [0.062, 0.282, 0.282, 0.062]
    assert curves.weight(0.3, 0.0) == 1.0


def test_p_c_heat_holds_shares_by_stage_and_group_size():
    lines = [
        {"stage": "short", "p_c_histogram": [1, 2, 1]},
        {"stage": "short", "p_c_histogram": None},
        {"stage": "long", "p_c_histogram": [0, 0, 0, 0, 5]},
    ]
    short, long, curve = curves.p_c_heat(lines, 1.0).data
    assert (short.x, short.y) == ((1, 2), (0.0, 0.5, 1.0))
    assert [list(row) for row in short.z] == [[0.25, None], [0.5, None], [0.25, None]]
    assert (long.x, long.y) == ((3,), (0.0, 0.25, 0.5, 0.75, 1.0))
    assert curve.x[50] == 1.0


def test_smoothing_stays_inside_its_stage_and_skips_gaps():
    assert curves.smoothed([8.0, 1.0, 0.0]) == [8.0, 3.0, 0.0]
    assert curves.smoothed([0.0] * 50 + [11.0] + [0.0] * 49)[44:57] == [0.0, *[1.0] * 11, 0.0]
    assert curves.smoothed([None, None, None, 4.0, float("nan")]) == [None, None, 4.0, 4.0, None]
    lines = [{"stage": s, "x": v} for s, v in (("a", 0.0), ("a", 0.0), ("b", 9.0), ("b", 9.0))]
    drawn = curves.rl_curve(lines, "x", "X", "").data
    assert [list(t.y) for t in drawn[1::2]] == [[0.0, 0.0], [9.0, 9.0]]
    assert [list(t.x) for t in drawn[1::2]] == [[1, 2], [3, 4]]


def test_choice_of_rollouts():
    rows = [
        {"verdict": "correct", "advantage": 0.5},
        {"verdict": "correct", "advantage": 2.0},
        {"verdict": "wrong", "advantage": -2.0},
        {"verdict": "unverified", "advantage": None},
    ]
    assert samples.choose(rows, [1, 9, 3, 2]) == {1: "best, longest", 2: "worst", 3: "unverified"}
    assert samples.choose([], []) == {}


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
