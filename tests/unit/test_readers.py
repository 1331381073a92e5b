"""Problems from the user's files: every layout, and every fault named with file and row."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from vt_ray.data.layouts.wrappers import ANSWER_SUFFIX
from vt_ray.data.readers import ProblemFileError, read_problems
from vt_ray.records import Problem, Solution
from vt_ray.verify.gold_check import gold_faults

OURS = {"question_id": "q1", "subdomain": "algebra", "kind": "math", "question": "1+1?", "answer": "2"}
VERL: dict[str, Any] = {
    "data_source": "",
    "prompt": [{"role": "user", "content": f"Find $x$. {ANSWER_SUFFIX}"}],
    "ability": "math",
    "reward_model": {"ground_truth": 70, "style": "rule"},
    "extra_info": {"index": 0},
}
MATH = {"problem": "Find $x$.", "answer": r"\frac{1}{2}", "difficulty": 3.0, "type": "Prealgebra"}
MINERVA = {
    "problem": "How far?",
    "solution": "So 9.6.",
    "type": "Astronomy",
    "idx": "9",
    "answer": "['9.6\\n']",
}
GSM8K = {"question": "How many?", "answer": "He sold 48/2 = <<48/2=24>>24.\nSo 1,024.\n#### 1,024"}


def write(path: Path, rows: list[Any]) -> Path:
    """Write rows in the format which the name asks for."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(json.dumps(rows) if path.suffix == ".json" else lines)
    return path


def read_one(tmp_path: Path, row: dict[str, Any], **options: Any) -> Problem:
    (problem,) = read_problems(write(tmp_path / "mine.jsonl", [row]), **options)
    return problem


# --- layouts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", [".parquet", ".json", ".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize("row", [OURS, VERL, MATH, MINERVA, GSM8K])
def test_every_layout_in_every_format(tmp_path: Path, extension: str, row: dict[str, Any]) -> None:
    path = write(tmp_path / f"mine{extension}", [row])
    (problem,) = read_problems(str(path))
    assert problem.kind == "math" and problem.source == str(path) and problem.question and problem.answer
    assert problem.question_id == "q1" if row is OURS else re.fullmatch("[0-9a-f]{16}", problem.question_id)


def test_our_own_layout_keeps_its_fields_but_not_its_source(tmp_path: Path) -> None:
    row = {**OURS, "level": 3, "source": "builtin", "tests": None, "solutions": [{"style": "s", "text": "t"}]}
    problem = read_one(tmp_path, row)
    assert (problem.subdomain, problem.level, problem.solutions) == ("algebra", 3, (Solution("s", "t"),))
    assert problem.source.endswith("mine.jsonl")


def test_a_choice_problem_has_a_letter(tmp_path: Path) -> None:
    assert read_one(tmp_path, {**OURS, "kind": "choice", "answer": "C"}).kind == "choice"
    with pytest.raises(ProblemFileError, match="answer='12' of a choice.*one letter"):
        read_one(tmp_path, {**OURS, "kind": "choice", "answer": "12"})


def test_the_suffix_is_taken_off_once_and_only_at_the_end(tmp_path: Path) -> None:
    assert read_one(tmp_path, VERL).question == "Find $x$."
    inside = f"{ANSWER_SUFFIX} Then stop."
    assert read_one(tmp_path, {**VERL, "prompt": [{"role": "user", "content": inside}]}).question == inside


@pytest.mark.parametrize(
    "asked",
    [
        'How many? Let\'s think step by step and output the final answer after "####".',
        "How many? Let's think step by step and output the final answer after `####`",
        r"How many? Please reason step by step, and put your final answer within \boxed{}.",
        "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
        "$Answer (without quotes) where $Answer is the answer to the problem.\n\nHow many?\n\n"
        'Remember to put your answer on its own line after "Answer:".',
    ],
)
def test_a_demand_for_a_form_of_the_answer_is_taken_off(tmp_path: Path, asked: str) -> None:
    assert read_one(tmp_path, {**VERL, "prompt": [{"role": "user", "content": asked}]}).question == "How many?"


def test_a_demand_for_hash_marks_in_other_words_is_refused(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "How many? Give the result in the format: #### number"}]
    with pytest.raises(ProblemFileError, match="row 1: .*behind '####'"):
        read_one(tmp_path, {**VERL, "prompt": chat})


def test_a_chat_may_be_text_and_have_a_system_message(tmp_path: Path) -> None:
    chat = json.dumps([{"role": "system", "content": "Be brief."}, *VERL["prompt"]])
    problem = read_one(tmp_path, {**VERL, "prompt": chat})
    assert problem.system == "Be brief."
    assert (problem.question, problem.answer, problem.subdomain) == ("Find $x$.", "70", "math")


@pytest.mark.parametrize(
    ("kind", "subdomain"),
    [
        ("Algebra", "algebra"),
        ("Prealgebra", "algebra"),
        ("Intermediate Algebra", "algebra"),
        ("Geometry", "geometry"),
        ("Counting & Probability", "statistics"),
        ("Number Theory", "number theory"),
        ("Precalculus", "precalculus"),
        (None, "math"),
    ],
)
def test_math_types_become_subdomains(tmp_path: Path, kind: str | None, subdomain: str) -> None:
    assert read_one(tmp_path, {**MATH, "type": kind}).subdomain == subdomain


def test_math_keeps_level_id_and_solution(tmp_path: Path) -> None:
    problem = read_one(tmp_path, {**MATH, "unique_id": "test/algebra/7.json", "solution": r"So \boxed{2}."})
    assert (problem.level, problem.question_id) == (3, "test/algebra/7.json")
    assert problem.solutions == (Solution("reference", r"So \boxed{2}."),)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("['9.6\\n']", "9.6"),
        (["9.6\n"], "9.6"),
        ('["10"]', "10"),
        (' ["9.6", "10"]', "9.6, 10"),
        (["1", "2"], "1, 2"),
        (["1", "1"], "1"),
        ([1, 2.5], "1, 2.5"),
        (r'["\\frac{1}{2}", "(3,4)"]', r"\frac{1}{2}, (3,4)"),
    ],
)
@pytest.mark.parametrize("layout", ["math", "verl", "ours"])
def test_every_element_of_a_list_is_part_of_the_answer(tmp_path: Path, layout: str, answer: Any, gold: str) -> None:
    rows = {
        "math": {**MATH, "answer": answer},
        "verl": {**VERL, "reward_model": {"ground_truth": answer}},
        "ours": {**OURS, "answer": answer},
    }
    assert read_one(tmp_path, rows[layout]).answer == gold


def test_a_single_backslash_in_a_written_list_is_refused(tmp_path: Path) -> None:
    # JSON reads "\f" as a form feed: the gold would be "rac{1}{2}".
    with pytest.raises(ProblemFileError, match="row 1: answer=.*each backslash doubled"):
        read_one(tmp_path, {**MATH, "answer": r'["\frac{1}{2}"]'})


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"\boxed{5}", "5"),
        (r"$\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
        (r"So the answer is \boxed{ 7 }.", "7"),
        (r"\fbox{5}", "5"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed 5", "5"),
        (r"\boxed{1} and \boxed{2}", "1, 2"),
        ([r"\boxed{5}"], "5"),
    ],
)
def test_a_gold_in_a_box_is_the_content_of_the_box(tmp_path: Path, answer: Any, gold: str) -> None:
    assert read_one(tmp_path, {**VERL, "reward_model": {"ground_truth": answer}}).answer.strip() == gold


def test_a_box_that_never_closes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProblemFileError, match=r"row 1: .*box without an answer"):
        read_one(tmp_path, {**MATH, "answer": r"\boxed{5"})


@pytest.mark.parametrize(
    ("number", "gold"),
    [(5e-5, "0.00005"), (1e-5, "0.00001"), (1.25e-7, "0.000000125"), (-2.5e-5, "-0.000025"), (1e22, "1" + "0" * 22)],
)
@pytest.mark.parametrize("extension", [".parquet", ".jsonl"])
def test_a_float_has_no_exponent(tmp_path: Path, extension: str, number: float, gold: str) -> None:
    (problem,) = read_problems(write(tmp_path / f"floats{extension}", [{"problem": "x?", "answer": number}]))
    assert problem.answer == gold


def test_a_float_of_32_bits_keeps_its_shortest_digits(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"problem": ["a", "b"], "answer": pa.array([0.1, 5e-5], pa.float32())}
    pq.write_table(pa.table(columns), tmp_path / "single.parquet")
    assert [p.answer for p in read_problems(tmp_path / "single.parquet")] == ["0.1", "0.00005"]


@pytest.mark.parametrize(
    "answer",
    [
        *("proof", "notfound", "Not Found", "N/A", ["proof"], "[]", "['']"),
        *(
            "Proof.",
            r"\text{proof}",
            r"$\boxed{\text{Not found}}$",
            r"\boxed{}",
            "$$",
            r"\text{ }",
            "()",
            "See solution.",
            "None",
        ),
    ],
)
def test_a_placeholder_is_no_answer(tmp_path: Path, answer: Any) -> None:
    path = write(tmp_path / "numina.jsonl", [MATH, {**MATH, "answer": answer}])
    assert [p.row for p in read_problems(path, drop_unanswered=True)] == [1]
    with pytest.raises(ProblemFileError, match="numina.jsonl, row 2: field 'answer' is.*drop_unanswered"):
        read_problems(path)


UNREADABLE = r"\frac{1}{"


def test_a_file_with_many_golds_that_the_verifier_cannot_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", [MATH, {**MATH, "problem": "Find $y$.", "answer": UNREADABLE}])
    with pytest.raises(ProblemFileError, match=r"mine.jsonl: 1 of 2 tested gold .* \(row 2: .*cannot read.*correct"):
        read_problems(path)
    assert [p.row for p in read_problems(path, drop_unanswered=True)] == [1]
    with pytest.raises(ProblemFileError, match="1 of 1 tested gold .*cannot read"):
        read_problems(write(tmp_path / "all.jsonl", [{**MATH, "answer": UNREADABLE}]), drop_unanswered=True)


def test_a_gold_is_unreadable_only_where_it_cannot_be_parsed() -> None:
    # Comparing the equation with a number takes longer than the verifier's time limit.
    good = ["5", "1,2", r"\sqrt{2}", "hello world", "(3, 4)", r"y^{\prime}+ry-rx(t)=0", r"\frac{1}{2}\text{ cm}"]
    bad = [UNREADABLE, "$", "???", "x" * 9000, r"(1, \frac{1}{)"]
    problems = [Problem("q", "math", "math", "?", gold) for gold in [*good, *bad]]
    assert list(gold_faults(problems)) == [""] * len(good) + ["the verifier cannot read the gold answer"] * len(bad)


@pytest.mark.parametrize(
    "answer", ["0", r"\{\}", r"\emptyset", r"\text{none}", r"\text{None}", "none", "(1, 2)", "A", "proofread"]
)
def test_a_short_answer_is_no_placeholder(tmp_path: Path, answer: str) -> None:
    assert read_one(tmp_path, {**MATH, "answer": answer}).answer == answer


def test_one_gold_in_many_that_the_verifier_cannot_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**MATH, "problem": f"{i}?"} for i in range(39)]
    path = write(tmp_path / "mine.jsonl", [*rows, {**MATH, "answer": UNREADABLE}])
    assert len(read_problems(path)) == 40
    said = capsys.readouterr().out
    assert "mine.jsonl" in said and "row 40" in said and UNREADABLE in said and "drop_unanswered" in said
    assert len(read_problems(path, drop_unanswered=True)) == 39
    assert "left out" in capsys.readouterr().out


def test_an_interval_is_no_list_of_answers(tmp_path: Path) -> None:
    assert read_one(tmp_path, {**MATH, "answer": "[0,3)"}).answer == "[0,3)"
    assert read_one(tmp_path, {**MATH, "answer": "[0,3]"}).answer == "[0,3]"


def test_gsm8k_working_becomes_a_solution(tmp_path: Path) -> None:
    problem = read_one(tmp_path, GSM8K)
    assert problem.answer == "1024"
    assert problem.solutions[0].text == "He sold 48/2 = 24.\nSo 1,024.\n\\boxed{1024}"


def test_a_given_subdomain_overrides(tmp_path: Path) -> None:
    assert {read_one(tmp_path, row, subdomain="mine").subdomain for row in (OURS, VERL, MATH, GSM8K)} == {"mine"}


def test_rows_without_gold_answers_are_left_out_on_demand(tmp_path: Path) -> None:
    rows = [MATH, {**MATH, "answer": None}, VERL, {**VERL, "reward_model": {"ground_truth": " "}}]
    rows[2] = {**VERL, "prompt": [{"role": "user", "content": "Find $y$."}]}
    rows += [GSM8K, {**GSM8K, "answer": "So.\n#### "}]
    path = write(tmp_path / "gaps.jsonl", rows)
    assert [p.row for p in read_problems(path, drop_unanswered=True)] == [1, 3, 5]
    with pytest.raises(ProblemFileError, match="gaps.jsonl, row 2.*'answer' is empty.*drop_unanswered"):
        read_problems(path)


def test_whole_numbers_stored_as_floats(tmp_path: Path) -> None:
    path = write(tmp_path / "floats.parquet", [{"problem": "a", "answer": 5.0}, {"problem": "b", "answer": 0.5}])
    assert [p.answer for p in read_problems(path)] == ["5", "0.5"]


# --- faults in a row --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({**OURS, "kind": "essay"}, "kind='essay': expected math, choice, code, or a name in the setting verify.kinds"),
        ({**OURS, "question": "  "}, "'question' is empty"),
        ({**OURS, "answer": ""}, "'answer' is empty"),
        ({**OURS, "question": 7}, "'question' is of type int: expected text"),
        ({**OURS, "level": "3"}, "level='3': expected a whole number"),
        ({**OURS, "solutions": "s"}, "'solutions' is of type str"),
        ({**OURS, "solutions": ["s"]}, "a solution is 's'"),
        ({k: v for k, v in OURS.items() if k != "answer"}, "'answer' is missing"),
        ({**VERL, "prompt": "Find x."}, "'prompt' is text but not JSON"),
        ({**VERL, "prompt": 3}, "'prompt' is of type int"),
        ({**VERL, "prompt": []}, "'prompt' has messages of roles"),
        ({**VERL, "prompt": [*VERL["prompt"], {"role": ["x"], "content": "y"}]}, "'prompt' has messages of roles"),
        ({**VERL, "prompt": VERL["prompt"] * 2}, "roles .'user', 'user'.*one message of role 'user'"),
        (
            {**VERL, "prompt": [{"role": "user", "content": ANSWER_SUFFIX}]},
            "user message in 'prompt' is empty",
        ),
        ({**VERL, "reward_model": None}, "'reward_model' is missing: expected"),
        ({**VERL, "reward_model": {"style": "rule"}}, "'reward_model' is .'style'.: expected"),
        ({**VERL, "reward_model": {"ground_truth": ""}}, "'reward_model.ground_truth' is empty"),
        ({**VERL, "reward_model": {"ground_truth": {"a": 1}}}, "'reward_model.ground_truth' is of type dict"),
        ({"problem": "x?"}, "'answer' is missing"),
        ({**MATH, "problem": ""}, "'problem' is empty"),
        ({**MATH, "answer": True}, "'answer' is of type bool"),
        ({**MATH, "answer": float("nan")}, "'answer' is nan"),
        ({**MINERVA, "answer": "['9.6"}, "begins like a list but is not a list"),
        ({**MINERVA, "answer": []}, "'answer' is empty"),
        ({**GSM8K, "answer": "It is 7."}, "answer ends in 'It is 7.'.*#### N"),
        ({**GSM8K, "answer": "It is 7.\n####"}, "'answer' is empty"),
        ({**MATH, "problem": "\ud83d"}, "'problem' holds .*half of a character"),
        ({**VERL, "prompt": [{"role": "system", "content": "s"}] * 2 + VERL["prompt"]}, "at most one of role 'system'"),
        ({"text": "x"}, r"no known layout has the fields \['text'\]"),
        ([1, 2], "the row is of type list: expected an object"),
    ],
)
def test_faults_name_file_and_row(tmp_path: Path, row: Any, fault: str) -> None:
    path = write(tmp_path / "mine.jsonl", [GSM8K, row])
    with pytest.raises(ProblemFileError, match=f"mine.jsonl, row 2: .*{fault}"):
        read_problems(path)


STDIO = {"type": "stdio", "cases": [{"input": "1\n", "output": "2\n"}]}
BY_VALUE = STDIO | {"compare": "decimal"}
FUNCTIONAL = "def check(candidate): assert candidate(1) == 2\ncheck(Solution().f)"


def call(*results: Any) -> dict[str, Any]:
    """The tests of `add`, called with (1, 2) and (3, 4)."""
    cases = [{"args": args, "expected": result} for args, result in zip([[1, 2], [3, 4]], results, strict=True)]
    return {"type": "call", "function": "add", "class": None, "cases": cases}


@pytest.mark.parametrize(
    ("row", "tests"),
    [
        ({**OURS, "kind": "code", "answer": "", "tests": STDIO}, STDIO),
        ({**OURS, "kind": "code", "tests": json.dumps(STDIO)}, STDIO),
        ({"problem": "Sort.", "tests": {"functional": FUNCTIONAL}}, {"type": "check", "test": FUNCTIONAL}),
        ({"problem": "Sort.", "tests": {"inputs": ["1\n"], "outputs": ["2\n"]}}, BY_VALUE),
        (
            {"problem": "Add.", "tests": {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [[3], [7]]}},
            call(3, 7),
        ),
        ({"problem": "Add.", "tests": {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]}}, call(3, 7)),
        (
            {"problem": "Add.", "tests": {"fn_name": "add", "inputs": ["1\n2", "3\n4\n"], "outputs": ["3", "7"]}},
            call(3, 7),
        ),
        (
            {
                "problem": "Add.",
                "starter_code": "class Solution:\n    def add(self, a: int, b: int) -> str:",
                "tests": {"fn_name": "add", "inputs": ["1\n2", "3\n4"], "outputs": ['"3"', '"7"']},
            },
            call("3", "7") | {"class": "Solution"},
        ),
    ],
)
def test_code_problems(tmp_path: Path, row: dict[str, Any], tests: dict[str, Any]) -> None:
    problem = read_one(tmp_path, row)
    assert (problem.kind, problem.tests, problem.source) == ("code", tests, str(tmp_path / "mine.jsonl"))


def test_a_helper_in_the_prompt_of_humaneval_is_the_tests_own(tmp_path: Path) -> None:
    prompt = 'import math\n\ndef poly(x):\n    return math.floor(x)\n\n\ndef f(x):\n    """Do."""\n'
    row = {"task_id": "HumanEval/0", "prompt": prompt, "entry_point": "f", "canonical_solution": "    return x\n"}
    problem = read_one(tmp_path, row | {"test": "def check(c):\n    assert poly(c(1)) == 1\n"})
    assert problem.question_id == "HumanEval/0" and problem.tests is not None
    assert "def poly(x)" in problem.tests["test"] and "def f" not in problem.tests["test"]
    assert problem.solutions[0].text == f"```python\n{prompt}    return x\n```"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({**OURS, "kind": "code"}, "without 'tests'"),
        ({**VERL, "ability": "code"}, "without 'tests'"),
        ({**OURS, "kind": "code", "tests": {"type": "stdio", "cases": []}}, "there are no cases"),
        ({**OURS, "tests": {"type": "unit"}}, "type 'unit' is not one of stdio, call, check"),
        ({**OURS, "tests": "{"}, "not JSON"),
        ({"problem": "Sort.", "tests": {"inputs": ["1"], "outputs": []}}, "as many inputs as outputs"),
    ],
)
def test_code_problems_whose_tests_cannot_be_run(tmp_path: Path, row: dict[str, Any], fault: str) -> None:
    with pytest.raises(ProblemFileError, match=f"row 1: .*{fault}"):
        read_one(tmp_path, row)


def test_a_question_id_may_come_once(tmp_path: Path) -> None:
    rows = [OURS, {**OURS, "question": "2+2?", "question_id": "q2"}, {**OURS, "question": "3+3?"}]
    path = write(tmp_path / "mine.jsonl", rows)
    with pytest.raises(ProblemFileError, match="row 3: question_id 'q1' is already that of row 1"):
        read_problems(path)


# --- faults in a file -------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ProblemFileError, match="none.json: no such file"):
        read_problems(tmp_path / "none.json")


def test_an_unknown_extension(tmp_path: Path) -> None:
    with pytest.raises(ProblemFileError, match=r"unknown extension '.xlsx': expected .parquet, .json"):
        read_problems(tmp_path / "mine.xlsx")


@pytest.mark.parametrize("name", ["mine.json", "mine.jsonl", "mine.jsonl.gz", "mine.parquet"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ProblemFileError, match="file is empty"):
        read_problems(tmp_path / name)


@pytest.mark.parametrize("name", ["mine.json", "mine.jsonl", "mine.jsonl.gz"])
def test_a_file_without_rows(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [])
    path.write_bytes(path.read_bytes() or b"\n\n")
    with pytest.raises(ProblemFileError, match="no problem in it"):
        read_problems(path)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("mine.parquet", "not a whole parquet file"),
        ("mine.json", "line 1: broken JSON .*one list of objects"),
        ("mine.jsonl", "row 40: broken JSON at column"),
        ("mine.jsonl.gz", "after row .*the rest cannot be read"),
    ],
)
def test_a_truncated_file(tmp_path: Path, name: str, fault: str) -> None:
    path = write(tmp_path / name, [{**GSM8K, "question": f"{i}?"} for i in range(40)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ProblemFileError, match=fault):
        read_problems(path)


def test_a_json_file_that_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"data": []}')
    with pytest.raises(ProblemFileError, match="holds one dict: expected a list"):
        read_problems(tmp_path / "mine.json")


@pytest.mark.parametrize("name", ["mine.json", "mine.jsonl"])
def test_a_file_in_another_encoding(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes('[{"problem": "café"}]'.encode("latin-1"))
    with pytest.raises(ProblemFileError, match="not UTF-8"):
        read_problems(tmp_path / name)


def test_a_row_with_damaged_characters_is_named_by_its_number(tmp_path: Path) -> None:
    rows = [json.dumps({**MATH, "unique_id": str(i)}).encode() for i in range(1, 40)]
    rows[29] = rows[29].replace(b"problem", b"pro\xffblem")
    (tmp_path / "mine.jsonl").write_bytes(b"\n".join(rows))
    with pytest.raises(ProblemFileError, match=r"mine.jsonl, row 30: not UTF-8 .*delete the row"):
        read_problems(tmp_path / "mine.jsonl")


def test_blank_lines_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\ufeff" + json.dumps(GSM8K) + "\n\n" + json.dumps(MATH) + "\n", encoding="utf-8")
    assert [p.row for p in read_problems(path)] == [1, 3]


@pytest.mark.parametrize("name", ["mine.json", "mine.jsonl"])
@pytest.mark.parametrize("field", ['"answer": %s', '"tests": {"cases": [{"args": [%s]}]}'])
def test_an_integer_of_too_many_digits_is_named(tmp_path: Path, name: str, field: str) -> None:
    rows = [json.dumps(GSM8K), '{"problem": "2+3?", %s}' % (field % ("-" + "1" * 5001))]
    text = f"[{', '.join(rows)}]" if name.endswith(".json") else "\n".join(rows)
    (tmp_path / name).write_text(text)
    with pytest.raises(ProblemFileError, match=f"{name}, row 2: .*5,001 digits, the limit is 4,300.*as text"):
        read_problems(tmp_path / name)


def test_an_integer_of_too_many_digits_in_tests_as_text_is_named(tmp_path: Path) -> None:
    cases = [{"args": ["giant"], "expected": 1}]
    tests = json.dumps({"type": "call", "function": "f", "cases": cases}).replace('"giant"', "1" * 5001)
    with pytest.raises(ProblemFileError, match="row 1: .*5,001 digits, the limit is 4,300"):
        read_one(tmp_path, {"question": "f?", "tests": tests})


def test_an_integer_of_many_digits_as_text_stays(tmp_path: Path) -> None:
    assert read_one(tmp_path, {**MATH, "answer": "1" * 900}).answer == "1" * 900


@pytest.mark.parametrize("name", ["mine.json", "mine.jsonl"])
def test_a_row_that_is_nested_too_deeply_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(ProblemFileError, match=f"{name}.*nested too deeply"):
        read_problems(tmp_path / name)


# --- real files -------------------------------------------------------------------------------------------

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_real_files = pytest.mark.skipif(not REAL.is_dir(), reason=f"the public benchmarks are not at {REAL}")


@needs_real_files
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("aime24.parquet", 30),
        ("aime25.parquet", 30),
        ("hmmt25.parquet", 30),
        ("math500.json", 500),
        ("minerva.json", 272),
        ("gsm8k_train.jsonl", 7473),
        ("gsm8k_test.jsonl", 1319),
    ],
)
def test_real_files(name: str, count: int) -> None:
    problems = read_problems(REAL / name)
    assert len(problems) == len({p.question_id for p in problems}) == count
    assert not any(ANSWER_SUFFIX in p.question for p in problems)
    assert all(p.answer and not p.answer.startswith(("['", "####")) for p in problems)
    assert all(p.solutions[0].text.endswith(rf"\boxed{{{p.answer}}}") for p in problems if "gsm8k" in name)


@needs_real_files
def test_real_math_has_four_rows_without_answers() -> None:
    with pytest.raises(ProblemFileError, match="math_train.json, row 887: .*'answer' is empty"):
        read_problems(REAL / "math_train.json")
    problems = read_problems(REAL / "math_train.json", drop_unanswered=True)
    assert len(problems) == 7468  # 2 of 7,474 rows repeat a question
    assert Counter(p.subdomain for p in problems)["algebra"] == 4229


@needs_real_files
@pytest.mark.parametrize(
    ("name", "count", "form"),
    [
        ("humaneval.jsonl.gz", 164, "check"),
        ("leetcode_test.json", 185, "check"),  # 200 rows: 15 repeat a question
        ("code_contests_test.json", 165, "stdio"),
    ],
)
def test_real_code_files(name: str, count: int, form: str) -> None:
    problems = read_problems(REAL / name)
    assert len(problems) == count
    assert {p.kind for p in problems} == {"code"}
    assert {p.tests["type"] for p in problems if p.tests} == {form}


def test_leetcode_dataset_has_its_statement_in_query(tmp_path: Path) -> None:
    """Its prompt holds import lines, the same in nearly every row: 1,890 rows were 5 questions."""
    row = {
        "task_id": "double",
        "question_id": 7,
        "prompt": "from typing import *\nfrom math import *",
        "completion": "class Solution:\n    def double(self, n: int) -> int:\n        return 2 * n",
        "entry_point": "Solution().double",
        "test": "def check(candidate):\n    assert candidate(n = 3) == 6\n",
        "query": "Return twice n.",
    }
    problem = read_one(tmp_path, row)
    assert (problem.question, problem.question_id) == ("Return twice n.", "mine/7")
    assert [s.text for s in problem.solutions] == [f"```python\n{row['completion']}\n```"]
