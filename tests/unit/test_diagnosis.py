import pytest

from vt_ray.report.diagnosis.signatures import Finding, diagnose
from vt_ray.report.diagnosis.trends import student_t_95, trends
from vt_ray.report.question_scores import QuestionScore


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
    """Lines of one stage; each metric is the list of its values by step."""
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
        staleness_mean=[0.0] * 9,
        clip_share=[0.001] * 9,
        sync=[{"retried": False}] * 9,
    )


SFT_LINES = [{"phase": "sft", "step": i, "loss": loss} for i, loss in enumerate(wavering(2.0, 0.5))]


def finding(name, summary, rl=(), sft=(), **scores) -> Finding:
    return next(f for f in diagnose(summary, rl, sft, **scores) if f.name == name)


def answers(*correct, subdomain="algebra"):
    """Scores by question; each number is the count of correct answers of eight."""
    return {f"{subdomain}/{i}": QuestionScore(subdomain, c, 8) for i, c in enumerate(correct)}


def test_a_healthy_run_shows_no_signature():
    found = diagnose(healthy(), steady(), SFT_LINES)
    assert [f.seen for f in found] == [False] * 12
    assert all(f.sentence.startswith("Not seen: ") for f in found)


@pytest.mark.parametrize("summary", [{}, {"milestones": []}, {"milestones": None}])
def test_nothing_recorded_is_not_checked(summary):
    found = diagnose(summary, [])
    assert [f.seen for f in found] == [None] * 12
    assert all(f.sentence.startswith("Not checked: ") for f in found)


def test_pass_at_k_up_and_pass_at_1_not():
    summary = healthy()
    summary["milestones"][-1] = milestone("math", 0.41, 0.9)
    found = finding("RL does not amplify the spectrum", summary)
    assert found.seen
    # Two intervals of 5 points to each side: 5 x sqrt(2) = 7.1 for their difference.
    assert found.sentence == (
        "Pass@8 rose but Pass@1 did not: from fused to math, Pass@8 changed by +15.0 [+7.9, +22.1] points and "
        "Pass@1 by +0.0 [-7.1, +7.1]."
    )


def test_a_rise_of_pass_at_k_within_noise_is_no_sign():
    summary = healthy()
    summary["milestones"][-1] = milestone("math", 0.40, 0.80)
    assert finding("RL does not amplify the spectrum", summary).seen is False


def test_scores_by_question_are_compared_in_pairs():
    """Each of twelve questions gains the same amount, a gain that two unpaired intervals would not show."""
    summary = healthy()
    summary["milestones"][-1] = milestone("math", 0.43, 0.78)
    before = answers(*[0] * 6, *[8] * 6)
    after = answers(*[1] * 6, *[7] * 6)
    found = finding("RL does not amplify the spectrum", summary, held_out={"fused": before, "math": after})
    assert found.seen
    assert "Pass@8 changed by +50.0" in found.sentence
    assert "Pass@1 by +0.0" in found.sentence


def test_rl_is_compared_with_its_start_whatever_the_start_was():
    summary = {"milestones": [milestone("sft_last", 0.4, 0.7), milestone("math", 0.3, 0.71)]}
    found = finding("RL does not amplify the spectrum", summary)
    assert found.seen
    assert found.sentence.startswith("Pass@1 fell: from sft_last to math")


def test_fused_model_below_the_best_sft_checkpoint():
    summary = healthy()
    summary["milestones"][3] = milestone("fused", 0.41, 0.55)
    found = finding("Fusion lost breadth", summary)
    assert found.seen
    assert "Pass@8 is 55.0% [50.0, 60.0] for the fused model and 70.0% [65.0, 75.0] for sft_last." in found.sentence
    summary["milestones"][3] = milestone("fused", 0.41, 0.66)
    found = finding("Fusion lost breadth", summary)
    assert found.seen is False
    assert found.sentence.endswith(", which is within noise.")


@pytest.mark.parametrize(("fused", "seen"), [((0,) * 20, True), ((4,) * 20, False), ((4,) * 18 + (0,) * 2, False)])
def test_fused_model_against_the_best_specialist_on_its_own_problems(fused, seen):
    """The best specialist solves more problems than the other, and solves each problem once in eight samples."""
    probe = {"k": 8, "specialists": {"algebra": "step_000010", "code": "step_000020"}}
    probed = {
        "step_000010": answers(*[8] * 10, *[0] * 10),
        "step_000020": answers(*[1] * 20),
        "step_000030": answers(*[8] * 20),
        "fused": answers(*fused),
    }
    found = finding("Fusion lost breadth", healthy(), probe=probe, probed=probed)
    assert found.seen is seen
    assert "100.0% for the best specialist (step_000020)" in found.sentence


def test_a_fused_model_that_was_replaced_is_said_to_be_replaced():
    summary = healthy()
    summary["milestones"][3] = milestone("fused", 0.41, 0.55)
    summary["fusion_gates"] = {"fused": {"specialist": "step_000020", "fallback": True}}
    probe, probed = {"k": 8, "specialists": {"algebra": "s"}}, {"s": answers(*[1] * 20), "fused": answers(*[0] * 20)}
    found = finding("Fusion lost breadth", summary, probe=probe, probed=probed)
    assert found.seen and "The run goes on with step_000020, and its milestone `fused`" in found.sentence
    # The held-out scores of the milestone are those of the specialist.
    assert "Not checked" in finding("Fusion lost breadth", summary).sentence


def test_code_far_from_the_rest():
    summary = healthy()
    summary["milestones"][-1] = milestone("math", 0.5, 0.8, None, algebra=0.7, geometry=0.5, code=0.2)
    found = finding("Code and mathematics far apart", summary)
    assert found.seen
    assert "A gap of 40 points" in found.sentence
    assert "20.0% in code and 60.0%" in found.sentence


def test_a_gap_that_few_problems_could_make_by_chance_is_no_sign():
    summary = healthy()
    summary["milestones"][-1] = milestone("math", 0.5, 0.8, None, algebra=0.6, code=0.3)
    assert finding("Code and mathematics far apart", summary).seen
    summary["milestones"][-1]["by_subdomain"] = {
        d: {"pass_at_1": score(s, 0.3)} for d, s in (("algebra", 0.6), ("code", 0.3))
    }
    assert finding("Code and mathematics far apart", summary).seen is False


def test_the_gap_at_the_first_milestone_is_said_too():
    summary = healthy()
    summary["milestones"][0] = milestone("base", 0.1, 0.3, None, algebra=0.15, code=0.05)
    assert finding("Code and mathematics far apart", summary).sentence.endswith("at base the gap was 10 points.")


def test_code_alone_cannot_be_compared():
    summary = {"milestones": [milestone("base", 0.5, 0.8, None, code=0.2)]}
    assert finding("Code and mathematics far apart", summary).seen is None


def test_sft_loss_falls_and_held_out_scores_do_not_move():
    summary = {"milestones": [milestone("base", 0.4, 0.7), milestone("sft_last", 0.37, 0.7)]}
    found = finding("SFT fits its training data only", summary, sft=SFT_LINES)
    assert found.seen
    assert "from 2.000 to 0.500" in found.sentence


@pytest.mark.parametrize(("last", "seen"), [(0.41, None), (0.60, False)])
def test_a_small_gain_after_sft_cannot_be_told_from_chance(last, seen):
    summary = {"milestones": [milestone("base", 0.4, 0.7), milestone("sft_last", last, 0.7)]}
    assert finding("SFT fits its training data only", summary, sft=SFT_LINES).seen is seen


@pytest.mark.parametrize(("low", "high", "seen"), [(-0.01, 0.05, True), (0.01, 0.05, False), (-0.01, 0.15, None)])
def test_reward_rises_and_held_out_scores_do_not_follow(low, high, seen):
    """Reward rises by 10 points: an interval that contains 0 and 10 is undecided."""
    summary = healthy()
    summary["milestones"][-1]["difference"] = {"from": "fused", "mean": 0.02, "low": low, "high": high}
    assert finding("RL fits its training prompts only", summary, steady()).seen is seen


def test_a_stage_is_held_against_the_subdomains_that_it_trains_on():
    before = answers(*[2] * 40) | answers(*[4] * 10, subdomain="code")
    after = answers(*[2] * 40) | answers(*[8] * 10, subdomain="code")
    scores = {"held_out": {"fused": before, "math": after}}
    name = "RL fits its training prompts only"
    assert finding(name, healthy(), steady(), **scores, stage_subdomains={"math": ["algebra"]}).seen is True
    assert finding(name, healthy(), steady(), **scores, stage_subdomains={"math": ["code"]}).seen is False


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


OLD = "Rollouts are too old for the update"


def test_old_rollouts_whose_ratios_are_cut_much():
    """Mean 8%, standard deviation 1%: the 95% interval over four steps starts at 6.4%."""
    shares = [0.07, 0.08, 0.08, 0.09]
    found = finding(OLD, {}, rl_lines(importance_capped_share=shares, staleness_mean=[1, 2, 2, 1]))
    assert found.seen
    assert "8.0% of the tokens in math, whose completions were 1.5 weight versions old" in found.sentence
    assert "signal.max_staleness" in found.sentence


@pytest.mark.parametrize(
    ("shares", "ages"),
    [([0.07, 0.08, 0.08, 0.09], [0, 0, 0, 0]), ([0.04, 0.05, 0.05, 0.06], [2] * 4), ([0.0, 0.2, 0.0, 0.2], [2] * 4)],
    ids=["fresh ones", "few", "more than few by chance"],
)
def test_ratios_that_are_cut_for_another_reason_or_little(shares, ages):
    assert finding(OLD, {}, rl_lines(importance_capped_share=shares, staleness_mean=ages)).seen is False


def test_without_a_cap_the_clipped_share_tells():
    ages = [1.0] * 4
    assert finding(OLD, {}, rl_lines(clip_share=[0.3, 0.31, 0.32, 0.31], staleness_mean=ages)).seen is True
    assert finding(OLD, {}, rl_lines(clip_share=[0.1, 0.11, 0.12, 0.11], staleness_mean=ages)).seen is False
    assert finding(OLD, {}, rl_lines(clip_share=[0.3, 0.31, 0.32, 0.31])).seen is None


DISAGREE = "Engine and trainer disagree on fresh rollouts"


def test_a_large_share_of_cut_ratios_in_two_steps_is_undecided():
    for name, age in ((OLD, 2), (DISAGREE, 0)):
        found = finding(name, {}, rl_lines(importance_masked_share=[0.3, 0.4], staleness_mean=[age] * 2))
        assert found.seen is None and found.sentence.startswith("Too few steps: ") and "35.0%" in found.sentence


@pytest.mark.parametrize("key", ["clip_share", "importance_capped_share", "importance_masked_share"])
def test_ratios_that_are_cut_on_policy_show_that_engine_and_trainer_disagree(key):
    shares = [0.012, 0.013, 0.012, 0.013]
    found = finding(DISAGREE, {}, rl_lines(**{key: shares}, staleness_mean=[0] * 4))
    assert found.seen
    assert "1.2% of the tokens in math" in found.sentence
    assert "signal.mgpo.importance.kind=truncate" in found.sentence
    assert finding(DISAGREE, {}, rl_lines(**{key: [0.001] * 4}, staleness_mean=[0] * 4)).seen is False
    # In stale rollouts the ratio is clipped for another reason.
    assert finding(DISAGREE, {}, rl_lines(**{key: shares}, staleness_mean=[1] * 4)).seen is None


def test_skipped_updates_are_named():
    found = finding("Updates were skipped", {}, rl_lines(skipped=[False, True, True, False]))
    assert found.seen
    assert found.sentence.startswith("2 of 4 steps made no update, first step 2 of math: ")


def test_a_sync_that_was_tried_again_is_named():
    retried = [{"retried": step in (2, 4)} for step in (1, 2, 3, 4)]
    found = finding("Weight syncs were retried", {}, rl_lines(sync=retried))
    assert found.seen
    assert found.sentence.startswith("In 2 of 4 steps, first in step 2 of math, ")
    assert finding("Weight syncs were retried", {}, rl_lines(sync=[{"logprob_gap": 0.0}])).seen is None


def test_noise_is_no_climb():
    jumping = [0.0, 0.4, 0.1, 0.3, 0.2, 0.3, 0.5, 0.0, 0.3]
    assert finding("Truncation climbs", {}, rl_lines(truncated_share=jumping)).seen is False


def test_two_steps_that_happen_to_agree_are_no_climb():
    """The thirds differ by 3.8 standard errors; with two steps in each third, chance does that once in sixteen."""
    values = [0.10, 0.14, 0.2, 0.2, 0.20, 0.23]
    assert finding("Truncation climbs", {}, rl_lines(truncated_share=values)).seen is False


def test_student_t():
    exact = {2: 4.303, 4: 2.776, 10: 2.228, 30: 2.042}
    assert [student_t_95(n) for n in exact] == pytest.approx(list(exact.values()), rel=0.032)
    assert student_t_95(10) == pytest.approx(2.228, abs=1e-3)


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
