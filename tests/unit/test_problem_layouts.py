"""Layouts of problem files: each by a small row, and what becomes of ids, copies, options and unusable rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from vt_ray.config import Config, DataSource
from vt_ray.data.layouts.choice import options_in_text
from vt_ray.data.layouts.table import PROBLEM_LAYOUTS, layout_by_name, layout_of
from vt_ray.data.problem_rows import ProblemFileError
from vt_ray.data.problem_sets import load_problem_sets
from vt_ray.data.readers import read_problems
from vt_ray.records import Problem

ROOT = Path(__file__).parents[2]
CASES = [json.loads(line) for line in (ROOT / "tests/data/layouts/problems.jsonl").read_text().splitlines()]
MATH = {"question": "How many legs have three cats?", "answer": "12"}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> list[Problem]:
    return read_problems(write(tmp_path / "rows.jsonl", list(rows)), **options)


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case['layout']}" for number, case in enumerate(CASES)])
def test_a_row_of_each_layout(tmp_path: Path, case: dict[str, Any]) -> None:
    found = layout_of(case["row"])
    assert found is not None and found.name == case["layout"]
    (problem,) = read(tmp_path, case["row"])
    fields = json.loads(json.dumps(asdict(problem)))
    assert {name: fields[name] for name in case["problem"]} == case["problem"]
    assert read(tmp_path, case["row"], layout=case["layout"]) == [problem]


def test_every_layout_has_a_row_here_and_a_line_in_the_documents() -> None:
    # GPQA asks that no example of it is shown as text: its test makes its own rows.
    assert {case["layout"] for case in CASES} | {"gpqa"} == {layout.name for layout in PROBLEM_LAYOUTS}
    page = (ROOT / "docs/data.md").read_text()
    for layout in PROBLEM_LAYOUTS:
        assert f"| `{layout.name}` | {layout.about} |" in page and f"]({layout.url})" in page, layout.name


# --- choosing a layout ------------------------------------------------------------------------------------


def test_fields_spell_out_a_layout(tmp_path: Path) -> None:
    row = {"q": "What purrs?", "meta": {"a": "B", "o": ["a stone", "a cat"]}, "uuid": "u", "text": "def f(): pass"}
    names = {"question": "q", "answer": "meta.a", "id": "uuid"}
    (problem,) = read(tmp_path, row, fields=names)
    assert (problem.question, problem.answer, problem.question_id, problem.kind) == ("What purrs?", "B", "u", "math")
    (choice,) = read(tmp_path, row, fields={**names, "options": "meta.o"})
    assert (choice.kind, choice.answer, choice.options) == ("choice", "B", ("a stone", "a cat"))
    code = {"q": "Write f.", "t": ["assert f(1) == 1"]}
    (program,) = read(tmp_path, code, fields={"question": "q", "tests": "t"})
    assert program.tests == {"type": "check", "test": "assert f(1) == 1"}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"fields": {"question": "q"}}, "expected at least question and answer"),
        ({"fields": {"question": "q", "reply": "a"}}, "'reply': expected names among question, answer"),
        ({"fields": {"question": "q", "answer": "a.b"}}, "row 1: field 'a.b' is missing.*correct it in fields"),
        ({"layout": "math", "fields": {"question": "q", "answer": "a"}}, "are both set: give one"),
        ({"layout": "mbbp"}, "layout='mbbp': expected one of .*mbpp"),
        ({"layout": "mbpp"}, "row 1: field 'test_list' is missing"),
    ],
)
def test_a_wrong_choice_of_a_layout_is_named(tmp_path: Path, options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ProblemFileError, match=f"rows.jsonl.*{fault}"):
        read(tmp_path, {"q": "1+1?", "a": "2"}, **options)


def test_the_settings_of_a_file_choose_its_layout(tmp_path: Path) -> None:
    config = Config()
    config.data.train_per_subdomain = config.data.probe_per_subdomain = config.data.test_per_subdomain = 0
    path = str(write(tmp_path / "rows.jsonl", [{"q": "1+1?", "a": "2"}]))
    config.data.train_files = [DataSource(path, fields={"question": "q", "answer": "a"})]
    (problem,) = load_problem_sets(config.data, 0).train
    assert (problem.question, problem.answer) == ("1+1?", "2")


def test_the_fields_of_a_row_decide_on_its_layout() -> None:
    assert layout_of(MATH) == layout_by_name("question_answer")
    assert layout_of({"text": "x"}) is None


# --- ids and copies ---------------------------------------------------------------------------------------


def test_an_id_is_the_same_in_a_filtered_and_sorted_file(tmp_path: Path) -> None:
    rows = [{"question": f"{n}+{n}?", "answer": str(2 * n)} for n in range(5)]
    ids = {p.question: p.question_id for p in read(tmp_path, *rows)}
    kept = {p.question: p.question_id for p in read(tmp_path, *rows[:1:-1])}
    assert len(set(ids.values())) == 5 and kept == {question: ids[question] for question in kept}


def test_copies_are_merged_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copies = [MATH, {**MATH, "question": MATH["question"].upper()}, {**MATH, "id": "other"}]
    assert [p.row for p in read(tmp_path, *copies)] == [1]
    assert "2 of 3 rows repeat a question and are merged: 1 questions" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["problem", "question"])
def test_ids_and_copies_are_those_of_every_layout(tmp_path: Path, name: str) -> None:
    row = {name: "What is $x  + 1$?", "answer": "#### 12" if name == "question" else "12", "solution": "a"}
    named = {**row, name: "And now?", "id": "mine"}
    other = {**row, name: r"What is $x\, + 1$", "solution": "b"}
    first, second = read(tmp_path, row, other, named)
    assert (len(first.question_id), second.question_id) == (16, "mine")
    assert name == "question" or [s.text for s in first.solutions] == ["a", "b"]


@pytest.mark.parametrize(
    "other", ["Is x > 2?", "Is x < 2!?", "Is x < 2.5?", "Is (x < 2?", "Is x ≤ 2?", "Is |x| < 2?", "Is x < 2%?"]
)
def test_questions_that_differ_in_a_symbol_are_no_copies(tmp_path: Path, other: str) -> None:
    first, second = read(tmp_path, {**MATH, "question": "Is x < 2?"}, {**MATH, "question": other, "answer": "13"})
    assert first.question_id != second.question_id


def test_a_number_as_id_has_the_files_name_in_front_or_also_its_folders(tmp_path: Path) -> None:
    for name, expected in (("aime/test.jsonl", "aime/test/7"), ("aime/mine.jsonl", "mine/7")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (problem,) = read_problems(write(tmp_path / name, [{**MATH, "id": 7}]))
        assert problem.question_id == expected


def test_equal_answers_in_different_notation_are_copies(tmp_path: Path) -> None:
    assert [p.row for p in read(tmp_path, {**MATH, "answer": "0.5"}, {**MATH, "answer": r"\frac{1}{2}"})] == [1]


def test_a_question_with_two_system_messages_is_two_questions(tmp_path: Path) -> None:
    row = {"kind": "math", **MATH, "system": "Be brief."}
    assert len({p.question_id for p in read(tmp_path, row, {**row, "system": "Be kind.", "answer": "13"})}) == 2


def test_a_row_of_ours_needs_no_id(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, {"kind": "math", **MATH})
    assert problem.question_id == "f5888b369fc6b658"


def test_a_question_with_two_answers_is_an_error(tmp_path: Path) -> None:
    rows = [MATH, {**MATH, "answer": "13"}, *({"question": f"{n}?", "answer": "1"} for n in range(30))]
    assert [p.row for p in read(tmp_path, *rows, on_bad_row="skip")] == [1, *range(3, 33)]
    with pytest.raises(ProblemFileError, match="row 2: the question of row 1 with another answer: delete one"):
        read(tmp_path, MATH, {**MATH, "answer": "13"})


@pytest.mark.parametrize("name", ["question", "problem"])
def test_a_file_whose_rows_collapse_is_an_error(tmp_path: Path, name: str) -> None:
    rows = [{name: "import math", "answer": str(n)} for n in range(40)]
    with pytest.raises(
        ProblemFileError, match="its 40 rows have 1 different questions but 40 different answers.*name it"
    ):
        read(tmp_path, *rows)


# --- choice -----------------------------------------------------------------------------------------------

GPQA = {
    "Question": "What purrs?",
    "Correct Answer": "a cat",
    **{f"Incorrect Answer {n}": text for n, text in enumerate(("a stone", "a door", "the sea"), 1)},
    "Record ID": "rec1",
    "High-level domain": "Biology",
}


def test_options_are_shuffled_by_the_seed(tmp_path: Path) -> None:
    found = [read(tmp_path, GPQA, option_seed=seed)[0] for seed in (0, 0, *range(1, 20))]
    assert found[0] == found[1] and len({p.answer for p in found}) == 4
    for problem in found:
        assert (problem.kind, problem.subdomain, problem.question_id) == ("choice", "biology", "rec1")
        assert problem.options["ABCD".index(problem.answer)] == "a cat"
        assert f"\n{problem.answer}. a cat" in problem.question


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"question": "?", "choices": ["a"], "answer": 0}, "expected 2 to 26 texts"),
        ({"question": "?", "choices": ["a", "b"], "answer": 2}, "number 3 of 2"),
        ({"question": "?", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "B"}, "not one of the labels"),
        ({"question": "?", "options": ["a", "b"], "answer": "two", "answer_index": 1}, "expected the letter"),
    ],
)
def test_faults_of_options_are_named(tmp_path: Path, row: dict[str, Any], fault: str) -> None:
    with pytest.raises(ProblemFileError, match=f"row 1: .*{fault}"):
        read(tmp_path, row)


def test_a_letter_that_names_no_option_is_a_math_answer(tmp_path: Path) -> None:
    points = "A. is a point\nB. is another\nWhich point is missing?"
    (problem,) = read(tmp_path, {"prompt": points, "ground_truth": "D", "id": "1", "tag": "points"})
    assert (problem.kind, problem.answer) == ("math", "D")


def test_options_begin_lines_and_follow_the_alphabet() -> None:
    assert options_in_text("A cat.\nA) one\nB) two\nlines\n\nC) three") == ("one", "two\nlines", "three")
    assert options_in_text("A. one\nC. three") == options_in_text("Plain text.") == ()


# --- code -------------------------------------------------------------------------------------------------

APPS = next(case["row"] for case in CASES if case["layout"] == "apps")
KODCODE = next(case["row"] for case in CASES if case["layout"] == "kodcode")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**APPS, "question": "If there are several answers, print any of them."}, "special judge"),
        ({**KODCODE, "test": "def test_f():\n    with pytest.raises(ValueError):\n        f(1)"}, "need pytest"),
        ({**KODCODE, "test": "def test_f(tmp_path):\n    assert f(tmp_path)"}, "fixtures of pytest"),
    ],
)
def test_a_problem_that_cannot_be_graded_is_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: dict[str, Any], reason: str
) -> None:
    assert [p.row for p in read(tmp_path, row, MATH)] == [2]
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 rows left out" in said and reason in said
    with pytest.raises(ProblemFileError, match=f"no problem in it.*1 left out: .*{reason}"):
        read(tmp_path, row)


def test_an_import_that_only_the_program_needs_is_left_out_of_its_test(tmp_path: Path) -> None:
    row = {"task_id": "s", "prompt": "import math\nfrom sortedcontainers import SortedList", "entry_point": "f"}
    (problem,) = read(tmp_path, {**row, "test": "def check(f):\n    assert f(1) == 1"})
    assert problem.tests is not None and problem.tests["test"].startswith("import math\n\n")
    with pytest.raises(ProblemFileError, match="row 1: .*it imports sortedcontainers"):
        read(tmp_path, {**row, "test": "def check(f):\n    assert f(1) == SortedList([1])"})


LCB = next(case["row"] for case in CASES if case["layout"] == "live_code_bench")


@pytest.mark.parametrize("packed", ["AAAA", "eJxrYKotZNDQ4/JPKE4sSdVILdEEAC2BBUI="])
def test_private_tests_that_are_not_packed_text_are_refused(tmp_path: Path, packed: str) -> None:
    with pytest.raises(ProblemFileError, match="row 1: 'private_test_cases' cannot be unpacked"):
        read(tmp_path, {**LCB, "private_test_cases": packed})


def test_private_tests_run_no_code(tmp_path: Path) -> None:
    import base64
    import pickle
    import zlib

    class Harmful:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "touched",))

    packed = base64.b64encode(zlib.compress(pickle.dumps(Harmful()))).decode()
    with pytest.raises(ProblemFileError, match="cannot be unpacked .it asks for"):
        read(tmp_path, {**LCB, "private_test_cases": packed})
    assert not (tmp_path / "touched").exists()


def test_apps_without_tests_has_no_gold(tmp_path: Path) -> None:
    assert [p.row for p in read(tmp_path, {**APPS, "input_output": ""}, MATH, drop_unanswered=True)] == [2]
    with pytest.raises(ProblemFileError, match="row 1: field 'input_output' is empty"):
        read(tmp_path, {**APPS, "input_output": ""})
