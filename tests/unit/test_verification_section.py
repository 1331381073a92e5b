"""The verification section of the report, for two steps with numbers computed by hand."""

from __future__ import annotations

from vt_ray.report.run_page.verification import kind_rows, reason_rows, sentence, stage_rows, verify_section


def step(stage, completions, correct, seconds, respawns=0, **reasons):
    return {
        "phase": "rl",
        "stage": stage,
        "verify": {
            "completions": completions,
            "seconds": seconds,
            "verdicts": {"correct": correct, "wrong": 1 - correct - 0.01, "unverified": 0.01},
            "reasons": reasons,
            "retries": 3 * respawns,
            "respawns": respawns,
            "backend": {"landlock": 2},
        },
    }


def spread(count, p50, p95, p99):
    return {"count": count, "p50": p50, "p95": p95, "p99": p99}


LINES = [
    step("short", 100, 0.5, {"math": spread(100, 0.002, 0.02, 0.09)}, wrong_answer=0.49),
    step("short", 300, 0.7, {"math": spread(290, 0.004, 0.04, 2.0)}, respawns=2, wrong_answer=0.2, timeout=0.1),
    step("code", 1600, 0.25, {"code": spread(1500, 0.5, 9.0, 70.0)}, timeout=0.5),
]


def test_seconds_are_medians_over_steps_and_the_highest_stands_last():
    assert kind_rows(LINES)[1:] == [
        ["code", "1,500", "0.50 s", "9.00 s", "1 min 10 s", "1 min 10 s"],
        ["math", "390", "3.00 ms", "30.00 ms", "1.04 s", "2.00 s"],
    ]


def test_shares_are_of_completions_not_of_steps():
    # (100 x 0.5 + 300 x 0.7) / 400 = 65%.
    assert stage_rows(LINES)[1:] == [
        ["short", "400", "65.0%", "34.0%", "1.0%", "6", "2"],
        ["code", "1,600", "25.0%", "74.0%", "1.0%", "0", "0"],
    ]
    # 49 + 60 wrong answers, 30 + 800 timeouts of 2,000.
    assert reason_rows(LINES)[1:] == [["timeout", "41.5%"], ["wrong_answer", "5.5%"]]


def test_the_whole_in_a_sentence():
    assert sentence(LINES) == (
        "2,000 completions were verified in RL: 33.0% correct, 66.0% wrong, 1.0% without a verdict; 6 verified again, "
        "2 lost workers replaced. Code verifier: landlock."
    )
    assert sentence([{"stage": "short"}]) == ""


def test_a_run_that_recorded_nothing_says_so():
    (text,) = verify_section([{"stage": "short"}]).text
    assert "has not recorded its verification" in text
