"""The tests of gold answers when a source is read: by the verifier, on a sample, and kept for the next start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vt_ray.data import gold_tests
from vt_ray.data.gold_tests import PROGRAM_SAMPLE, SAMPLE, check_golds, sample
from vt_ray.data.readers import ProblemFileError, read_problems
from vt_ray.records import Problem, Solution
from vt_ray.verify.gold_check import gold_faults
from vt_ray.verify.limits import Limits
from vt_ray.verify.sandbox.backends import NoSandbox

TESTS = {"type": "stdio", "cases": [{"input": "2\n", "output": "4\n"}]}


def math(answer: str, number: int = 0) -> Problem:
    return Problem(f"m{number}", "math", "math", f"{number}?", answer)


def code(program: str, tests: dict[str, Any] | None = None) -> Problem:
    written = (Solution("reference", f"```python\n{program}\n```"),) if program else ()
    return Problem("c", "code", "code", "Double.", tests=tests or TESTS, solutions=written)


@pytest.mark.parametrize(
    ("problem", "fault"),
    [
        (math("12"), ""),
        (math(r"\frac{1}{2}"), ""),
        (math("t(0,4]"), "cannot read"),
        (Problem("q", "choice", "choice", "?", "B", options=("a", "b")), ""),
        (Problem("q", "choice", "choice", "?", "C", options=("a", "b")), "names none of the options A to B"),
        (Problem("q", "choice", "choice", "?", "C"), ""),
        (code("print(2 * int(input()))"), ""),
        (code("print(3 * int(input()))"), "reference program fails its tests .wrong_answer"),
        (code("import no_such_package"), ""),
        (code("raise ValueError"), "reference program fails its tests .runtime_error"),
        (code("while True: pass", TESTS | {"time_limit_s": 0.3}), ""),
        (code(""), ""),
        (Problem("q", "mine", "mine", "?"), ""),
    ],
)
def test_the_fault_of_a_gold_answer(problem: Problem, fault: str) -> None:
    (found,) = gold_faults([problem])
    assert bool(found) == bool(fault) and fault.split(" .")[0] in found and fault.split(" .")[-1] in found


def test_one_of_several_programs_is_enough() -> None:
    wrong, right = code("print(1)").solutions, code("print(2 * int(input()))").solutions
    problem = Problem("c", "code", "code", "Double.", tests=TESTS, solutions=wrong + right)
    assert list(gold_faults([problem])) == [""]


def test_a_large_source_is_tested_by_a_sample_that_is_always_the_same() -> None:
    problems = [math(str(i), i) for i in range(3 * SAMPLE)]
    drawn = sample(problems)
    assert len(drawn) == SAMPLE and drawn == sample(problems) and drawn == sorted(drawn, key=lambda p: int(p.answer))
    assert sample(problems, whole=True) == problems
    assert len(sample([code("print(1)")] * (2 * PROGRAM_SAMPLE), whole=True)) == PROGRAM_SAMPLE


def test_a_result_is_read_from_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(gold_tests, "_MANY", 1)
    problems = [math("12", 1), math("t(0,4]", 2)]
    first = check_golds(problems)
    (record,) = (tmp_path / "vt_ray/gold_tests").iterdir()
    monkeypatch.setattr(gold_tests, "_CHECK", "no.such:check")
    assert check_golds(problems) == first
    assert [(p.question_id, fault) for p, fault in first.faults] == [("m2", json.loads(record.read_text())[1])]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(gold_tests, "_MANY", 1)
    for broken in ("[1", "{}", "[1, 2]"):
        record.write_text(broken)
        assert check_golds(problems) == first
    assert check_golds([math("13", 1)]).faults == ()


def test_a_result_without_a_sandbox_or_of_another_tolerance_or_package_is_not_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_sandbox(limits: Limits) -> None:
        raise NoSandbox("none")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(gold_tests, "_MANY", 1)
    monkeypatch.setattr(gold_tests, "_CHECK", f"{__name__}:no_faults")
    monkeypatch.setattr(gold_tests, "choose_backend", no_sandbox)
    check_golds([code("print(1)")])
    records = tmp_path / "vt_ray/gold_tests"
    assert not records.exists()
    check_golds([math("12")])
    check_golds([replace(math("12"), tolerance=0.05)])
    monkeypatch.setattr(gold_tests, "_version", lambda package: "99")
    check_golds([math("12")])
    assert len(list(records.iterdir())) == 3


def no_faults(problems: list[Problem]) -> list[str]:
    return ["" for _ in problems]


def test_without_a_cache_folder_the_result_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such")
    monkeypatch.setattr(gold_tests, "_MANY", 1)
    assert check_golds([math("12")]) == gold_tests.GoldTests(1)


def test_a_file_whose_reference_programs_fail_is_refused(tmp_path: Path) -> None:
    rows = [
        {"problem": f"Print {n} times the input.", "tests": {"inputs": ["2"], "outputs": ["4"]}, "solutions": [program]}
        for n, program in enumerate(("print(2 * int(input()))", "print(int(input()))"))
    ]
    (path := tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ProblemFileError, match="1 of 2 tested gold answers .*row 2: the reference program fails"):
        read_problems(path)
    assert [p.row for p in read_problems(path, drop_unanswered=True)] == [1]
    assert [p.row for p in read_problems(path, on_bad_row="skip", max_bad_share=0.5)] == [1]
