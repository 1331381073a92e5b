import pytest

from vt_ray.report.diagnosis import Finding, diagnose, trends


def score(mean, half=0.05):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def milestone(name, one, many, difference=None, **by_subdomain):
    return {
        "name": name,
        "pass_at_1": score(one),
        "pass_at_8": score(many),
        "by_subdomain": {d: {"pass_at_1": score(s)} for d, s in by_subdomain.items()},
        "difference": difference,
    }


def healthy():
    gain = {"from": "fused", "mean": 0.1, "low": 0.06, "high": 0.14}
    return {
        "milestones": [
            milestone("base", 0.1, 0.3),
            milestone("sft_last", 0.4, 0.7),
            milestone("sft_best", 0.42, 0.68),
            milestone("fused", 0.41, 0.75),
            milestone("math", 0.51, 0.78, gain, algebra=0.6, code=0.5),
        ]
    }


def rl_lines(**metrics):
    """Lines of one stage; each metric is the list of its values step by step."""
    steps = max(map(len, metrics.values()))
    return [
        {"phase": "rl", "stage": "math", "step": i + 1, **{key: values[i] for key, values in metrics.items()}}
        for i in range(steps)
    ]


def wavering(first, last):
    """Nine steps: three around `first`, three between, three around `last`."""
    middle = (first + last) / 2
    return [centre * wave for centre in (first, middle, last) for wave in (0.99, 1.0, 1.01)]


def steady():
    return rl_lines(
        reward_mean=wavering(0.4, 0.5),
        rollout_kl=wavering(0.001, 0.001),
        truncated_share=wavering(0.10, 0.11),
        no_signal_share=wavering(0.30, 0.32),
    )


SFT_LINES = [{"phase": "sft", "step": i, "loss": loss} for i, loss in enumerate(wavering(2.0, 0.5))]


def finding(name, summary, rl=(), sft=()) -> Finding:
    return next(f for f in diagnose(summary, rl, sft) if f.name == name)


def test_a_healthy_run_shows_no_signature():
    found = diagnose(healthy(), steady(), SFT_LINES)
    assert [f.seen for f in found] == [False] * 8
    assert all(f.sentence.startswith("Not seen: ") for f in found)


@pytest.mark.parametrize("summary", [{}, {"milestones": []}, {"milestones": None}])
def test_nothing_recorded_is_not_checked(summary):
    found = diagnose(summary, [])
    assert [f.seen for f in found] == [None] * 8
    assert all(f.sentence.startswith("Not checked: ") for f in found)


def test_pass_at_k_up_and_pass_at_1_not():
    summary = healthy()
    summary["milestones"][-1] = milestone("math", 0.41, 0.9)
    found = finding("RL does not amplify the spectrum", summary)
    assert found.seen
    assert found.sentence == (
        "Pass@8 rose but Pass@1 did not: from fused to math, Pass@8 went from 75.0% [70.0, 80.0] to "
        "90.0% [85.0, 95.0], Pass@1 from 41.0% [36.0, 46.0] to 41.0% [36.0, 46.0]."
    )


def test_rl_is_compared_with_its_start_whatever_the_start_was():
    summary = {"milestones": [milestone("sft_last", 0.4, 0.7), milestone("math", 0.3, 0.71)]}
    found = finding("RL does not amplify the spectrum", summary)
    assert found.seen
    assert "from sft_last to math" in found.sentence
    assert "intervals overlap" in found.sentence


def test_fused_model_below_the_best_sft_checkpoint():
    summary = healthy()
    summary["milestones"][3] = milestone("fused", 0.41, 0.55)
    found = finding("Fusion lost breadth", summary)
    assert found.seen
    assert "fused 55.0% [50.0, 60.0], sft_last 70.0% [65.0, 75.0]." in found.sentence
    assert "noise" not in found.sentence


def test_code_far_from_the_rest():
    summary = healthy()
    summary["milestones"][-1] = milestone("math", 0.5, 0.8, None, algebra=0.7, geometry=0.5, code=0.2)
    found = finding("Code and mathematics far apart", summary)
    assert found.seen
    assert "A gap of 40 points" in found.sentence
    assert "20.0% in code and 60.0%" in found.sentence


def test_code_alone_cannot_be_compared():
    summary = {"milestones": [milestone("base", 0.5, 0.8, None, code=0.2)]}
    assert finding("Code and mathematics far apart", summary).seen is None


def test_sft_loss_falls_and_held_out_scores_do_not_move():
    summary = {"milestones": [milestone("base", 0.4, 0.7), milestone("sft_last", 0.39, 0.7)]}
    found = finding("SFT fits its training data only", summary, sft=SFT_LINES)
    assert found.seen
    assert "from 2.000 to 0.500" in found.sentence


@pytest.mark.parametrize(("low", "seen"), [(-0.01, True), (0.01, False)])
def test_reward_rises_without_a_sure_held_out_gain(low, seen):
    summary = healthy()
    summary["milestones"][-1]["difference"] = {"from": "fused", "mean": 0.02, "low": low, "high": 0.05}
    assert finding("RL fits its training prompts only", summary, steady()).seen is seen


@pytest.mark.parametrize(
    ("name", "key", "first", "last"),
    [
        ("Rollout and trainer drift apart", "rollout_kl", 0.001, 0.02),
        ("Truncation climbs", "truncated_share", 0.10, 0.20),
        ("Groups without a signal climb", "no_signal_share", 0.30, 0.50),
    ],
)
def test_a_climb_within_a_stage(name, key, first, last):
    assert finding(name, {}, rl_lines(**{key: wavering(first, last)})).seen is True
    assert finding(name, {}, rl_lines(**{key: wavering(last, first)})).seen is False
    assert finding(name, {}, rl_lines(**{key: wavering(first, last)[:5]})).seen is None


def test_noise_is_no_climb():
    jumping = [0.0, 0.4, 0.1, 0.3, 0.2, 0.3, 0.5, 0.0, 0.3]
    assert finding("Truncation climbs", {}, rl_lines(truncated_share=jumping)).seen is False


def test_stages_are_not_compared_with_each_other():
    short, long = (
        [{"stage": stage, "truncated_share": level} for _ in range(6)]
        for stage, level in (("short", 0.1), ("long", 0.6))
    )
    assert finding("Truncation climbs", {}, short + long).seen is False


def test_a_trend_leaves_out_what_is_no_number():
    values = [None, float("nan"), 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    (trend,) = trends([{"stage": "math", "x": v} for v in values], "x")
    assert (trend.first, trend.last, trend.clear) == (1.0, 3.0, True)
