"""The section of report.html about benchmarks, from figures that benchmark_summary computed."""

import json
import random

import pytest
from synthetic_run import synthetic_run

from vt_ray.evaluation.results import ProblemResult
from vt_ray.evaluation.summary import benchmark_summary
from vt_ray.report.run_page.benchmarks import benchmark_section
from vt_ray.report.run_page.report import write_report

PUBLISHED = [
    {"model": "VibeThinker-1.5B", "value": 80.3, "source": "arXiv 2511.06221"},
    {"model": "DeepSeek R1 <0120>", "value": 79.8, "source": "arXiv 2511.06221"},
]
# What the results of a run add to the figures.
OF_A_RUN = {"pass_at_1_vibethinker": None, "fingerprint": "0123abcd", "notes": [], "published": [], "seconds": 9.0}


def figures(accuracy, title, levels=(None,), samples=16, published=(), longest=40_000):
    """The figures of 30 problems whose samples are correct with a chance around `accuracy`."""
    rng = random.Random(title + str(accuracy))
    results = []
    for i in range(30):
        rate = rng.betavariate(accuracy, 1 - accuracy)
        verdicts = ["correct" if rng.random() < rate else "wrong" for _ in range(samples)]
        tokens = [rng.randint(500, longest) for _ in verdicts]
        results.append(
            ProblemResult(str(i), "algebra", verdicts, tokens, [False] * samples, level=levels[i % len(levels)])
        )
    return {**benchmark_summary(results, [4, 16]), **OF_A_RUN, "title": title, "published": list(published)}


def milestone(name, accuracy):
    return {
        "name": name,
        "benchmarks": {
            "aime24": figures(accuracy, "AIME 2024", published=PUBLISHED),
            "math500": figures(accuracy, "MATH-500", levels=[1, 2, 10], samples=1, longest=900),
        },
    }


def titles(section):
    return [figure.layout.title.text for figure in section.figures]


@pytest.fixture(scope="module")
def reached():
    return [milestone(name, accuracy) for name, accuracy in [("base", 0.1), ("fused", 0.4), ("math <b>", 0.6)]]


def test_each_benchmark_has_the_charts_that_its_figures_allow(reached):
    section = benchmark_section(reached)
    assert titles(section) == [
        "Pass@1",
        "AIME 2024: Pass@K",
        "AIME 2024: Pass@1 by token budget",
        # One sample a problem has no Pass@K, and no completion is longer than a budget.
        "MATH-500: Pass@1 by level",
    ]
    assert [table.title for table in section.tables] == ["", "", "MATH-500: Pass@1 by level, in percent"]
    assert [row[:2] for row in section.tables[2].rows] == [
        ["level", "problems"],
        ["1", "10"],
        ["2", "10"],
        ["10", "10"],
    ]


def test_published_figures_stand_beside_the_results(reached):
    section = benchmark_section(reached)
    dots = section.figures[0]
    assert [trace.name for trace in dots.data] == ["base", "fused", "math &lt;b>", "published"]
    published = dots.data[3]
    assert list(published.x) == pytest.approx([0.803, 0.798])
    assert list(published.y) == [0, 0], "both are in the row of AIME 2024"
    assert [text for (text,) in published.customdata] == ["VibeThinker-1.5B", "DeepSeek R1 &lt;0120>"]
    table = section.tables[0].rows
    assert [row[0] for row in table] == [
        "Pass@1, %",
        "base",
        "fused",
        "math <b>",
        "VibeThinker-1.5B *",
        "DeepSeek R1 <0120> *",
    ]
    assert table[-2][1:] == ["80.3", "–"]
    assert "* published: arXiv 2511.06221" in section.text


def test_curves_have_their_points_in_order(reached):
    curves, budgets = benchmark_section(reached).figures[1:3]
    assert list(curves.layout.xaxis.categoryarray) == ["1", "4", "16"]
    assert list(budgets.layout.xaxis.categoryarray) == ["4K", "8K", "16K", "32K", "no cut"]
    for trace in [*curves.data, *budgets.data]:
        assert list(trace.y) == sorted(trace.y)
        assert all(low <= mean <= high for mean, (low, high) in zip(trace.y, trace.customdata, strict=True))


def test_a_benchmark_of_one_milestone_and_one_without_verdicts_are_shown(reached):
    empty = {**benchmark_summary([ProblemResult("a", "x", ["unverified"], [5], [False])]), **OF_A_RUN}
    section = benchmark_section(
        [{"name": "base", "benchmarks": {"none": empty}}, reached[0], {"name": "no benchmarks"}]
    )
    assert titles(section)[0] == "Pass@1"
    assert list(section.figures[0].data[0].x) == []
    assert section.figures[0].layout.yaxis.ticktext == ("none", "AIME 2024", "MATH-500")


def test_at_most_five_milestones_are_drawn(reached):
    many = [{**reached[0], "name": name} for name in ["base", "sft_last", "fused", *(f"stage {i}" for i in range(9))]]
    traces = benchmark_section(many).figures[1].data
    assert [trace.name for trace in traces] == ["base", "fused", "stage 6", "stage 7", "stage 8"]


def test_a_run_without_benchmarks_has_no_section(reached):
    assert benchmark_section([]) is None
    assert benchmark_section([{"name": "base"}, {"name": "fused", "benchmarks": {}}]) is None


def test_the_page_has_the_section_after_the_milestones(tmp_path, reached):
    run = synthetic_run(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    summary["milestones"][0] |= {"benchmarks": reached[0]["benchmarks"]}
    (run / "summary.json").write_text(json.dumps(summary))
    page = write_report(run).read_text()
    assert page.index('id="milestones"') < page.index('id="benchmarks"') < page.index('id="findings"')
    assert 'id="chart-benchmarks-3"' in page
