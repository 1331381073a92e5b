"""What the scripts in benchmarks/ compare is the same work, done rightly by every side."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from vt_ray.verify.limits import Limits
from vt_ray.verify.verifier import Verifier

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


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
