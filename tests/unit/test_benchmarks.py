"""What the scripts in benchmarks/ compare is the same work, done rightly by every side."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from vt_ray.records import Completion, Problem, Rollouts
from vt_ray.verify.files.grading import Grading
from vt_ray.verify.limits import Limits
from vt_ray.verify.verifier import Verifier

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the public benchmarks are not at {DATA}")


@pytest.fixture(scope="module")
def throughput():
    return runpy.run_path(str(BENCHMARKS / "code_verifier.py"))


@pytest.mark.parametrize("way", ["verifier", "plain", "prelude"])
def test_every_way_to_run_code_tests_tells_right_from_wrong(throughput, way):
    with Verifier() as verifier:
        if way == "verifier":
            grade = throughput["by_verifier"](verifier)
        else:
            grade = throughput["by_fresh_python"](throughput["PRELUDE"] if way == "prelude" else "", Limits())
        for task in throughput["TASKS"]:
            assert grade(task)
            assert not grade(replace(task, program=task.program.replace("print(", "pass; str(").replace("return", "")))


def test_ratios_compare_rounds_that_were_neighbours(throughput):
    rates = {"verifier": [200.0, 100.0, 300.0], "plain": [100.0, 50.0, 50.0]}
    assert throughput["ratio"](rates, "plain") == 2.0


@pytest.fixture(scope="module")
def references():
    return runpy.run_path(str(BENCHMARKS / "verifier_references.py"))


@pytest.mark.parametrize(
    ("program", "change"),
    [
        ("def f(a):\n    return a <= 3", "return a <= 3  ->  return a > 3"),
        ("def f(a: 1) -> 2:\n    '3'\n    return a + a", "return a + a  ->  return a - a"),
        ("x = True", "x = True  ->  x = False"),
        ("x = 7", "x = 7  ->  x = 6"),
        ("x = 0", "x = 0  ->  x = 1"),
        ("x = range(n)", "x = range(n)  ->  x = range(n - 1)"),
        ("x = 'a' + 'b' in y", "x = 'a' + 'b' in y  ->  x = 'a' + 'b' not in y"),
    ],
)
def test_a_mutant_differs_in_one_place(references, program, change):
    assert references["mutant"](program, "0").change == change


def test_mutants_follow_from_the_seed(references):
    program = "\n".join(f"x = a{n} < b" for n in range(30))
    found = [references["mutant"](program, seed).change for seed in ("0", "0", "1", "2", "3")]
    assert found[0] == found[1]
    assert len(set(found)) > 1
    assert references["mutant"]("def f(x: int):\n    return x.y", "0") is None


@needs_data
@pytest.mark.parametrize(("name", "count"), [("leetcode", 184), ("humaneval", 164)])
def test_every_reference_solution_is_correct(references, name, count):
    with Grading(Limits(10.0, 10.0), 2) as pool:
        outcome = references["measure"](pool, name, "correct", references[name](DATA))
    assert outcome.others == {}
    assert outcome.statuses == {"correct": count}


@needs_data
def test_a_program_that_does_nothing_solves_no_contest_problem(references):
    with Grading(Limits(), 2) as pool:
        outcome = references["measure"](pool, "contests", "wrong", references["contests"](DATA))
    assert outcome.statuses == {"wrong": 165}


@needs_data
@pytest.mark.slow
def test_mutants_are_wrong_wherever_the_tests_notice(references):
    with Grading(Limits(), 2) as pool:
        for name in ("leetcode", "humaneval"):
            outcome = references["measure_mutants"](pool, name, references[name](DATA), 0)
            assert outcome.share >= 0.95
            assert outcome.faults == 0, outcome.others
            assert outcome.statuses["unverified"] == 0


@pytest.fixture(scope="module")
def steps():
    return runpy.run_path(str(BENCHMARKS / "step_vs_trl.py"))


@pytest.fixture(scope="module")
def our_step():
    return runpy.run_path(str(BENCHMARKS / "our_step.py"))


@pytest.mark.parametrize(("silent", "signal"), [(False, True), (True, False)])
def test_a_made_reward_gives_every_group_a_signal_unless_it_is_silent(our_step, silent, signal):
    completions = tuple(
        Completion(i, (5, 6), (-1.0, -1.0), "", "stop" if i else "length", ((3, 2),), 0.1) for i in range(8)
    )
    rollouts = Rollouts(Problem("q", "algebra", "math", "1 + 1"), (1, 2, 3), completions, step=4)
    group = our_step["graded_group"]("handle", rollouts, silent)
    assert group.rewards == ((0.0, 1.0) * 4 if signal else (0.0,) * 8)
    assert group.completion_tokens == (2,) * 8 and group.prompt_tokens == 3 and group.first_versions == (3,) * 8


def test_the_ratio_is_of_medians_and_says_how_often_ours_fits_into_the_others_step(steps):
    side = steps["Measured"]
    ours = side([1.0, 2.0, 9.0], [30.0, 30.0, 33.0], [{"generate": s, "total": s} for s in (1.0, 2.0, 9.0)], [3.0])
    found = steps["figures"](ours, side([5.0, 6.0], [31.0, 31.0], [], [12.0]), side([1.0], [30.0], [], [2.0]), {})
    assert found["ratio"] == 2.75 and found["cpu_ratio"] == 4.0
    assert found["seconds"] == {"ours": 2.0, "trl": 5.5, "half": 1.0} and found["steps"] == 3
    assert found["spread_s"]["ours"] == [1.0, 9.0] and found["tokens_mean"] == {"ours": 31.0, "trl": 31.0}
    assert found["parts_s"]["generate"] == [2.0, 1.0]
