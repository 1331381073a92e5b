"""`vt-tools data`: what is in a source of problems or traces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vt_ray.config import DataSource
from vt_ray.data.contents import CONFLICT, OTHER_REASONS, REPEATED_ID, contents
from vt_ray.data.problem_rows import ProblemFileError, RowError
from vt_ray.data.readers import read_source
from vt_ray.tools import app

MATH = {"problem": "What is $2+3$?", "answer": "5", "type": "Algebra", "difficulty": 2}
CODE = {
    "question": "Return x squared.",
    "tests": {"type": "call", "function": "square", "cases": [{"args": [3], "expected": 9}]},
}
CHOICE = {
    "id": "q1",
    "question": "Which is even?",
    "choices": {"text": ["3", "4"], "label": ["A", "B"]},
    "answerKey": "B",
}
GENERATIONS = {
    "problem": "What is 1+1?",
    "answer": "2",
    "generations": ["<think>One and one.</think>\\boxed{2}", "<think>Three?</think>\\boxed{3}"],
    "correctness_math_verify": [True, False],
}
CHAT = {
    "messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "<think>Greet.</think>Hello."}]
}


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_problems_are_counted_by_their_questions(tmp_path: Path) -> None:
    other = {**MATH, "problem": "What is $2 + 4$?", "answer": "6"}
    path = write(tmp_path / "a.jsonl", MATH, MATH, other, {**other, "answer": "7"})
    found = contents(str(path))
    assert (found.layout, found.rows, found.questions) == ("math", 4, 2)
    assert (found.copies, found.conflicts, found.traces) == (2, 1, 0)
    assert (found.kinds, found.subdomains, found.levels) == ({"math": 2}, {"algebra": 2}, {2: 2})
    assert (found.dropped, found.golds_checked) == ({CONFLICT: 1}, 2)


def test_counts_are_those_of_a_run(tmp_path: Path) -> None:
    half = {"problem": "What is a half?", "answer": "0.5", "id": "half"}
    rows = [half, {**half, "answer": "\\frac{1}{2}"}, {**MATH, "id": "half"}, {**half, "answer": "7"}]
    path = write(tmp_path / "a.jsonl", *rows)
    found, read = contents(str(path)), read_source(DataSource(str(path), on_bad_row="skip", max_bad_share=1))
    assert (found.questions, found.copies, found.conflicts) == (1, 2, 1)
    assert found.dropped == {CONFLICT: 1, REPEATED_ID: 1}
    assert (len(read.problems), read.copies, len(read.bad)) == (1, 1, 2)


@pytest.mark.parametrize("bad", ['{"problem": "x', "[1, 2]", '{"problem": 1' + "0" * 5000 + "}"])
def test_a_row_that_is_no_object_is_counted_among_the_others(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(MATH)}\n{bad}\n{json.dumps({**MATH, 'problem': 'What?'})}\n")
    found = contents(str(path))
    assert (found.rows, found.questions, found.dropped.total()) == (3, 2, 1)
    path.write_text(f"{bad}\n{bad}\n")
    with pytest.raises(RowError, match="row 1"):
        contents(str(path))


@pytest.mark.parametrize(("name", "text"), [("a.json", "[]"), ("a.jsonl", "\n\n"), ("a.csv", "problem,answer\n")])
def test_a_source_without_rows_is_an_error(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ProblemFileError, match="no row in it"):
        contents(str(tmp_path / name))


def test_examples_of_each_kind(tmp_path: Path) -> None:
    found = contents(str(write(tmp_path / "a.jsonl", MATH, CODE, CHOICE)))
    math, code, choice = found.examples
    assert math == {
        "kind": "math",
        "question": "What is $2+3$?",
        "gold": "5",
        "options": [],
        "tests": None,
        "traces": [],
    }
    assert (code["kind"], code["gold"]) == ("code", None)
    assert code["tests"] == {"type": "call", "function": "square", "cases": 1}
    assert (choice["kind"], choice["gold"], choice["options"]) == ("choice", "B", ["3", "4"])
    assert len(contents(str(tmp_path), examples=1).examples) == 1


def test_traces_are_counted_and_the_wrong_ones_are_dropped(tmp_path: Path) -> None:
    found = contents(str(write(tmp_path / "a.jsonl", GENERATIONS, CHAT)))
    assert (found.rows, found.questions, found.traces) == (2, 2, 3)
    assert (found.trace_layouts, found.kinds) == ({"openr1": 1, "messages": 1}, {"math": 1})
    assert found.dropped == {"marked as wrong": 1}
    generations, chat = found.examples
    assert generations["traces"] == ["<think>\nOne and one.\n</think>\n\n\\boxed{2}"]
    assert (chat["kind"], chat["question"], chat["gold"]) == ("trace", "Hi?", None)


def test_several_rows_of_traces_of_one_question_are_no_copies(tmp_path: Path) -> None:
    found = contents(str(write(tmp_path / "a.jsonl", CHAT, CHAT)))
    assert (found.questions, found.traces, found.copies) == (1, 2, 0)


def test_a_row_that_cannot_be_used_is_counted_with_its_fault(tmp_path: Path) -> None:
    rows = [
        MATH,
        {**MATH, "answer": ""},
        {"who": "knows"},
        {**MATH, "problem": "x?", "answer": "\\frac{"},
        {"problem": 3},
    ]
    found = contents(str(write(tmp_path / "a.jsonl", *rows)))
    reasons = list(found.dropped)
    assert (found.rows, found.questions, found.dropped.total()) == (5, 2, 4)
    assert reasons[0] == "no gold answer"
    assert reasons[1].startswith("no known layout has the fields ['who']")
    assert "'problem'" in reasons[2]
    assert reasons[3] == "the verifier cannot read the gold answer"


def test_the_reasons_of_a_bad_file_are_bounded(tmp_path: Path) -> None:
    rows = [{f"field{i}": 1} for i in range(40)]
    found = contents(str(write(tmp_path / "a.jsonl", *rows)))
    assert len(found.dropped) == 21
    assert found.dropped[OTHER_REASONS] == 20


def test_lengths_are_those_of_the_given_function(tmp_path: Path) -> None:
    rows = [{**MATH, "problem": "word " * count} for count in range(1, 101)]
    found = contents(str(write(tmp_path / "a.jsonl", *rows)), length=lambda text: len(text.split()))
    assert found.as_json()["question_lengths"] == {"median": 50, "p95": 95, "max": 100}


def test_the_command_writes_one_line_of_json_a_source(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.jsonl", MATH), write(tmp_path / "b.jsonl", CHAT)
    output = tmp_path / "out.jsonl"
    done = CliRunner().invoke(app, ["data", str(first), str(second), "--json", str(output), "--show", "1"])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    names = {"path", "layout", "rows", "questions", "kinds", "traces", "dropped", "examples"}
    assert all(names <= line.keys() for line in lines)
    assert [(line["path"], line["layout"], line["rows"]) for line in lines] == [
        (str(first), "math", 1),
        (str(second), "messages", 1),
    ]
    assert "What is $2+3$?" in done.output
    assert "trace 1: <think> Greet. </think> Hello." in done.output


def test_a_source_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    good = write(tmp_path / "a.jsonl", MATH)
    done = CliRunner().invoke(app, ["data", str(tmp_path / "none.json"), str(good), "--json", str(output)])
    assert done.exit_code == 1
    assert "none.json: no such file" in done.output
    refused, read = map(json.loads, output.read_text().splitlines())
    assert "no such file" in refused["error"]
    assert read["rows"] == 1


PUBLIC = Path(__file__).resolve().parents[3] / "shared" / "data" / "layouts"


@pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"the public layouts are not at {PUBLIC}")
@pytest.mark.parametrize(
    ("name", "layout", "questions", "traces"),
    [
        ("dapo_math_17k.parquet", "dapo", 2, 0),
        ("openr1_math_220k.parquet", "openr1", 3, 6),
        ("gpqa_diamond.csv", "gpqa", 1, 0),
    ],
)
def test_public_files(name: str, layout: str, questions: int, traces: int) -> None:
    found = contents(str(PUBLIC / name), examples=0)
    assert (found.layout, found.questions, found.traces) == (layout, questions, traces)


def test_rows_are_read_by_the_given_layout_or_fields(tmp_path: Path) -> None:
    rows = [{"q": "What is 1+1?", "a": "2", "r": "One and one. \\boxed{2}"}, {"q": "What is 1+2?", "a": "3", "r": "3"}]
    path = str(write(tmp_path / "a.jsonl", *rows))
    assert contents(path).questions == 0
    problems = contents(DataSource(path, fields={"question": "q", "answer": "a"}))
    assert (problems.layout, problems.questions, problems.traces) == ("fields", 2, 0)
    traces = contents(DataSource(path, fields={"question": "q", "response": "r"}))
    assert (traces.layout, traces.questions, traces.traces, traces.kinds) == ("fields", 2, 2, {})
    both = contents(DataSource(path, fields={"question": "q", "answer": "a", "response": "r"}))
    assert (both.questions, both.traces, both.kinds["math"], both.dropped) == (2, 2, 2, {})
    named = contents(DataSource(str(write(tmp_path / "b.jsonl", GENERATIONS, CHAT)), layout="messages"))
    assert named.trace_layouts == {"messages": 1} and named.dropped.total() == 1
    with pytest.raises(ProblemFileError, match="both set"):
        contents(DataSource(path, layout="messages", fields={"question": "q", "response": "r"}))
    for fields, message in (
        ({"question": "q", "anwser": "a"}, "'anwser': expected"),
        ({"response": "r"}, "question and"),
    ):
        with pytest.raises(ProblemFileError, match=message):
            contents(DataSource(path, fields=fields))


def test_the_command_takes_a_layout_or_fields(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.jsonl", {"q": "What is 1+1?", "a": "2"}))
    runner = CliRunner()
    assert runner.invoke(app, ["data", path, "--field", "question=q", "--field", "answer=a"]).exit_code == 0
    for arguments, message in ((["--field", "question"], "PART=FIELD"), (["--layout", "nonsense"], "nonsense")):
        result = runner.invoke(app, ["data", path, *arguments], env={"COLUMNS": "300"})
        assert result.exit_code and message in result.output
