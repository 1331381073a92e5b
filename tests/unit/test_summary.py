import io

import pytest
from rich.console import Console

from vt_ray.report import formats
from vt_ray.report.tables import phase_rows, print_table, score_rows, subdomain_rows


def score(mean):
    return {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}


def milestone(name, one, difference=None):
    subdomains = ["algebra", "code", "geometry", "statistics"]
    return {
        "name": name,
        "pass_at_1": score(one),
        "pass_at_8": score(one + 0.2),
        "by_subdomain": {d: {"pass_at_1": score(one), "pass_at_8": score(one)} for d in subdomains},
        "difference": difference,
    }


@pytest.fixture
def summary():
    gain = {"from": "base", "mean": 0.3, "low": 0.25, "high": 0.35}
    return {
        "milestones": [milestone("base", 0.1), milestone("fused", 0.4, gain)],
        "phases": {"sft": {"seconds": 200.0, "tokens": 1_000_000}, "fusion": {"seconds": 2.5, "tokens": 0}},
        "wall_seconds": 7384.0,
    }


def printed(summary, width):
    console = Console(file=io.StringIO(), width=width)
    print_table(summary, console)
    return console.file.getvalue()


def test_rows(summary):
    assert score_rows(summary["milestones"]) == [
        ["milestone", "Pass@1, %", "Pass@8, %", "change, points"],
        ["base", "10.0 [5.0, 15.0]", "30.0 [25.0, 35.0]", "–"],
        ["fused", "40.0 [35.0, 45.0]", "60.0 [55.0, 65.0]", "+30.0 [+25.0, +35.0]"],
    ]
    assert subdomain_rows(summary["milestones"])[2] == ["fused", "40.0", "40.0", "40.0", "40.0"]
    assert phase_rows(summary)[1:] == [
        ["sft", "3 min 20 s", "1,000,000", "5,000"],
        ["fusion", "2.5 s", "–", "–"],
        ["total", "3 min 22 s", "1,000,000", "4,938"],
        ["whole run", "2 h 03 min", "–", "–"],
    ]


def test_stages_that_ended_early_are_told_and_others_not(summary):
    plateau = "plateau: probe accuracy has not risen by 0.01 in 3 evaluations"
    summary["stages"] = [
        {"name": "short", "steps": 7, "planned_steps": 12, "ended": plateau},
        {"name": "long", "steps": 12, "planned_steps": 12, "ended": "steps"},
    ]
    told = " ".join(printed(summary, 120).split())
    assert f"short ended after 7 of 12 steps ({plateau})." in told
    assert "long ended" not in told


def test_costs_follow_from_the_wall_time_and_what_is_held(summary):
    summary["hardware"] = {"cpu_cores": 36, "gpus": 9}
    summary["prices"] = {"cpu_hour": 0, "gpu_hour": 0, "currency": "EUR"}
    header, sft, *_ = phase_rows(summary)
    assert header == ["phase", "wall time", "CPU-h", "GPU-h", "tokens", "tokens/s"]
    # 200 s of 36 cores and 9 GPUs: 7,200 and 1,800 seconds.
    assert sft == ["sft", "3 min 20 s", "2.00", "0.500", "1,000,000", "5,000"]


def test_money_is_there_where_a_price_is(summary):
    summary["hardware"] = {"cpu_cores": 36, "gpus": 9}
    summary["prices"] = {"cpu_hour": 0.25, "gpu_hour": 4.0, "currency": "EUR"}
    header, *rows = phase_rows(summary)
    assert header[4] == "EUR"
    # 7,384 s at 36 x 0.25 + 9 x 4 = 45 per hour.
    assert [row[4] for row in rows] == ["2.50", "0.03", "2.53", "92.30"]
    summary["prices"]["gpu_hour"] = 0
    assert phase_rows(summary)[1][4] == "0.50"


def test_a_wide_cost_table_gives_up_its_last_column(summary):
    summary["hardware"] = {"cpu_cores": 4096, "gpus": 512}
    summary["prices"] = {"cpu_hour": 0.25, "gpu_hour": 4.0, "currency": "USD"}
    summary["phases"]["rl math_long_32k"] = {"seconds": 1e6, "tokens": 171_217_400_000}
    assert "tokens/s" in printed(summary, 120)
    costs = printed(summary, 80).partition("Cost by phase")[2]
    assert "rl math_long_32k" in costs and "171,217.4 M" in costs
    assert "tokens/s" not in costs
    assert max(map(len, costs.splitlines())) <= 80


def test_wide_terminal_has_one_table_of_scores(summary):
    text = printed(summary, 160)
    assert "Pass@1 by subdomain" not in text
    header = next(line for line in text.splitlines() if "milestone " in line)
    assert header.split()[-4:] == ["algebra", "code", "geometry", "statistics"]


def test_eighty_columns_are_enough(summary):
    text = printed(summary, 80)
    assert "Pass@1 by subdomain" in text
    assert "+30.0 [+25.0, +35.0]" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_names_are_not_markup(summary):
    summary["milestones"][1]["name"] = "[red]fused[/red]"
    assert "[red]fused[/red]" in printed(summary, 160)


@pytest.mark.parametrize("empty", [{}, {"milestones": [], "phases": {}}])
def test_an_empty_summary_says_so(empty):
    assert printed(empty, 80) == "No milestone has been evaluated yet.\n"


def test_pass_at_1_alone(summary):
    for m in summary["milestones"]:
        del m["pass_at_8"]
    assert score_rows(summary["milestones"])[0] == ["milestone", "Pass@1, %", "change, points"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (7200, "2 h 00 min"),
        (None, "–"),
    ],
)
def test_durations(seconds, text):
    assert formats.duration(seconds) == text


def test_unknown_numbers():
    assert (
        formats.percent(None) == formats.percent(float("nan")) == formats.interval(None) == formats.points(None) == "–"
    )
    assert formats.rate(10, 0) == formats.thousands(None) == "–"
