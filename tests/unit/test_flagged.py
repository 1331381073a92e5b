"""A result divided by the training rows that contain its problems: from the decontamination's findings to the page."""

import json
from dataclasses import replace

from test_evaluate_benchmarks import ASKED, EXAM, loaded, sets
from test_phases import run, settings

from vt_ray.data.decontamination.flagged import flagged_problems, read_findings
from vt_ray.data.decontamination.run_check import RunCheck, problem_questions
from vt_ray.records import Problem
from vt_ray.report import benchmark_table
from vt_ray.run.checkpoint import write_json
from vt_ray.run.run_folder import RunFolder

LONG = "A train leaves the old station at nine and travels {} kilometres along the river before the second stop"
EXAMINED = [
    Problem(f"b/{i}", "d", "math", LONG.format(f"{i} hundred"), str(i), source="b.jsonl", row=i) for i in (1, 2)
]
CLEAN = Problem(
    "b/3", "d", "math", "How many primes are there below one hundred and twenty?", "30", source="b.jsonl", row=3
)


def line(row, dropped, *places):
    findings = [{"reason": "ngram", "evaluation_file": file, "evaluation_row": number} for file, number in places]
    return {"file": "train.jsonl", "row": row, "dropped": dropped, "findings": findings}


def test_a_problem_counts_as_kept_if_one_of_its_training_rows_is_kept():
    lines = [
        *(
            line(1, True, ("b.jsonl", 1)),
            line(2, False, ("b.jsonl", 2), ("other.jsonl", 3)),
            line(3, True, ("b.jsonl", 2)),
        ),
        {"file": "t", "row": 4, "dropped": True, "findings": [{"reason": "duplicate", "training_file": "t"}]},
    ]
    problems = {"b": [*EXAMINED, CLEAN], "made": [Problem("m", "d", "math", "q")], "clean": [CLEAN]}
    assert flagged_problems(lines, problems) == {"b": {"b/1": "left out", "b/2": "kept"}}
    assert flagged_problems(reversed(lines), problems) == {"b": {"b/1": "left out", "b/2": "kept"}}
    assert flagged_problems([], problems) == {}


def test_the_findings_of_a_decontamination_name_the_problems(tmp_path):
    train = [replace(p, source="train.jsonl", row=p.row + 4) for p in EXAMINED[:1]]
    for policy, outcome in (("drop", "left out"), ("report", "kept")):
        check = RunCheck({"test": [*EXAMINED, CLEAN]}, policy)
        check.drops(problem_questions(train, "train"))
        path = tmp_path / f"{policy}.jsonl"
        path.write_text("".join(json.dumps(found) + "\n" for found in check.result().lines))
        flagged = flagged_problems(read_findings(path), {"b": [*EXAMINED, CLEAN]})
        assert flagged["b"]["b/1"] == outcome and "b/3" not in flagged["b"]
    assert list(read_findings(tmp_path / "missing.jsonl")) == []


def test_a_result_has_pass_at_1_of_both_parts(tmp_path, monkeypatch):
    config = settings(tmp_path, phases=[], **{"evaluation.k": 1})
    with RunFolder(config).open() as folder:
        flagged = {p.question_id: "left out" for p in ASKED[:2]}
        folder.paths.flagged.parent.mkdir()
        write_json(folder.paths.flagged, {"exam": {**flagged, ASKED[2].question_id: "kept"}})
    plain = loaded(replace(EXAM, name="plain"))
    _, paths, summary = run(config, monkeypatch, sets(loaded(), plain, test=[]))
    (milestone,) = summary["milestones"]
    parts = milestone["benchmarks"]["exam"]["by_training_rows"]
    graded = milestone["benchmarks"]["exam"]["problems"] - milestone["benchmarks"]["exam"]["without_verdict"]
    assert sum(part["problems"] for part in parts.values()) == graded and set(parts) <= {"kept", "left out", "no match"}
    whole = sum(part["problems"] * part["pass_at_1"]["mean"] for part in parts.values()) / graded
    assert abs(whole - milestone["benchmarks"]["exam"]["pass_at_1"]["mean"]) < 1e-9
    assert milestone["benchmarks"]["plain"]["by_training_rows"] == {}
    first, second = benchmark_table.notes([milestone])[-2:]
    assert "Pass@1 by matching training rows: " in first and "matching training rows" not in second
    assert "Pass@1 by matching training rows, in percent" in paths.report.read_text()
