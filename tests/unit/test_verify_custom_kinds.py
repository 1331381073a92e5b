"""Kinds of problems of a user's own, from their file and their setting to the verdict."""

import json

import pytest
from code_problems import is_running
from typer.testing import CliRunner

from vt_ray.config import Config, DataSource
from vt_ray.data.problem_sets import load_problem_sets
from vt_ray.data.readers import ProblemFileError, read_problems
from vt_ray.pipeline import probe_inputs
from vt_ray.planning.validate.machine import verify as faults_of_verify
from vt_ray.records import Problem
from vt_ray.run.identity import config_hash, identity
from vt_ray.run.inputs import input_files
from vt_ray.tools import app
from vt_ray.verify.kinds import KINDS, kind_entry
from vt_ray.verify.limits import Limits
from vt_ray.verify.verifier import Verifier

SORTED = {"sorted_list": "custom_kind:is_sorted"}
ROW = {"question_id": "s1", "kind": "sorted_list", "question": "Sort 3 1 2.", "numbers": [3, 1, 2]}
TIMEOUT_S = 0.5


@pytest.fixture(scope="module")
def verifier():
    kinds = {**SORTED, "plain": "custom_kind:returns_bool", "act": "custom_kind:act_on_text", "lost": "no_module:f"}
    with Verifier(Limits(function_timeout_s=TIMEOUT_S, kinds=kinds)) as one:
        yield one


def grade(verifier, kind, text, **fields):
    return verifier.verify(Problem("q", "sorting", kind, "?", fields=fields), text)


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- from the setting to the verdict ---


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("Sorted:\n1 2 3", "correct", ""),
        ("Sorted:\n1 3 2", "wrong", "wrong_answer"),
        ("I do not know", "wrong", "no_answer"),
    ],
)
def test_the_function_gets_the_text_and_the_fields_of_the_problem(verifier, tmp_path, text, status, reason):
    (problem,) = read_problems(write(tmp_path / "mine.jsonl", ROW), custom_kinds=SORTED)
    assert problem.fields == ROW
    verdict = verifier.verify(problem, text)
    assert (verdict.status, verdict.reason) == (status, reason)


def test_a_bool_is_a_verdict_and_a_long_text_fits(verifier):
    long = "ä" * 1_000_000
    assert grade(verifier, "plain", long, gold=long).status == "correct"
    assert grade(verifier, "plain", long, gold="b").status == "wrong"


def test_vt_tools_verify_grades_rows_of_the_kind(tmp_path):
    rows = [
        {"id": n, "kind": "sorted_list", "numbers": [2, 1], "response": text} for n, text in enumerate(("1 2", "2 1"))
    ]
    rows.append({"id": 2, "kind": "another", "response": ""})
    path, output = write(tmp_path / "rows.jsonl", *rows), tmp_path / "out.jsonl"
    kind = f"sorted_list={SORTED['sorted_list']}"
    done = CliRunner().invoke(app, ["verify", str(path), "--output", str(output), "--kind", kind])
    assert done.exit_code == 0, done.output
    verdicts = [json.loads(line) for line in output.read_text().splitlines()]
    assert [v["verdict"] for v in verdicts] == ["correct", "wrong", "unverified"]
    assert verdicts[2]["reason"] == "unreadable row: kind 'another' is not one of math, choice, code, sorted_list"


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("sorted_list", "not of the form name=package.module:function"),
        ("a=custom_kind:no", "has no no: correct the name"),
    ],
)
def test_vt_tools_verify_refuses_a_kind_that_cannot_be_used(tmp_path, kind, fault):
    path = write(tmp_path / "rows.jsonl", ROW)
    done = CliRunner().invoke(
        app, ["verify", str(path), "--output", str(tmp_path / "out"), "--kind", kind], env={"COLUMNS": "400"}
    )
    assert done.exit_code == 2
    assert fault in done.output


# --- failures of the function ---


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("one", "correct", ""),
        ("zero", "wrong", ""),
        ("raise", "unverified", "the function raised ZeroDivisionError"),
        ("exit", "unverified", "the function raised SystemExit"),
        ("eat", "unverified", "the function ran out of memory: verify.memory_mb=512"),
        ("hang", "unverified", "the function timed out: verify.function_timeout_s=0.5"),
        ("hang, deaf", "unverified", "the function timed out: verify.function_timeout_s=0.5"),
        ("half", "unverified", "the function returned no verdict: 0.5; expected True, False or a Verdict"),
        ("print", "unverified", "the function returned no verdict: None"),
        ("kill", "unverified", "the process of verify.kinds.act ended twice without an answer"),
    ],
)
def test_a_failure_of_the_function_is_unverified_and_the_next_completion_is_graded(verifier, text, status, reason):
    verdict = grade(verifier, "act", text)
    assert verdict.status == status, verdict
    assert verdict.reason.startswith(reason)
    assert verdict.retry == (text == "kill")
    assert grade(verifier, "act", "one").status == "correct"


def test_a_function_may_ask_for_another_try(verifier):
    verdict = grade(verifier, "act", "later")
    assert (verdict.status, verdict.reason, verdict.retry) == ("unverified", "no answer from the server", True)


def test_a_function_that_forks_replies_once(verifier):
    assert [grade(verifier, "act", text).status for text in ("fork", "zero", "one")] == ["correct", "wrong", "correct"]


def test_half_a_surrogate_pair_in_a_reason_is_replaced(verifier):
    # Arrow cannot write it, so one such verdict would end the run.
    assert grade(verifier, "act", "half a character").reason == "?"


def test_a_function_that_cannot_be_imported_is_unverified(verifier):
    verdict = grade(verifier, "lost", "one")
    assert verdict.status == "unverified"
    assert "the process of verify.kinds.lost did not start:" in verdict.reason
    assert "No module named 'no_module'" in verdict.reason


def test_a_kind_that_is_in_no_table_is_unverified(verifier):
    verdict = grade(verifier, "essay", "one")
    assert verdict.reason == "kind 'essay' is not one of math, choice, code, sorted_list, plain, act, lost"
    assert not verdict.retry


def test_close_ends_the_processes_of_the_function():
    with Verifier(Limits(kinds=SORTED)) as one:
        assert grade(one, "sorted_list", "1", numbers=[1]).status == "correct"
        child = one.grader("sorted_list")._child
        pids = [child._worker.pid, child._spare.pid]
    assert not any(map(is_running, pids))


# --- before the run ---


@pytest.mark.parametrize(
    ("name", "path", "fault"),
    [
        ("math", "custom_kind:is_sorted", "a name of lower-case letters, digits and _ is needed, other than math"),
        ("my kind", "custom_kind:is_sorted", "a name of lower-case letters"),
        ("mine", "custom_kind.is_sorted", "'custom_kind.is_sorted' is not of the form package.module:name"),
        ("mine", "no_module:f", "add its folder to PYTHONPATH"),
        ("mine", "custom_kind:f", "the module custom_kind has no f: correct the name"),
        ("mine", "custom_kind:NOT_A_FUNCTION", "is a int, which cannot be called: name a function"),
        ("mine", "custom_kind:takes_one_argument", "has the parameters (text), but is called with (text, fields)"),
    ],
)
def test_a_function_that_cannot_serve_is_refused_before_ray_starts(name, path, fault):
    (message,) = faults_of_verify(Config(verify=Limits(kinds={name: path})))
    assert message.startswith(f"verify.kinds.{name}={path}: ")
    assert fault in message
    assert not list(faults_of_verify(Config(verify=Limits(kinds=SORTED))))


def test_the_functions_are_part_of_a_run_and_of_the_probe():
    config = Config(verify=Limits(kinds=SORTED))
    assert config_hash(config) != config_hash(Config())
    assert identity(config, "verify")["verify.kinds"] == SORTED
    assert "code of custom_kind:is_sorted" in probe_inputs(config)
    assert "custom_kind:is_sorted" in input_files(config)


# --- rows of problem files ---


def test_the_fields_of_a_row_travel_with_the_problem_and_no_gold_answer_is_needed(tmp_path):
    rows = [ROW, {**ROW, "question_id": "s2", "question": "Sort 5 4.", "tests": "a field of its own", "answer": ""}]
    path = write(tmp_path / "mine.jsonl", *rows)
    problems = read_problems(path, drop_unanswered=True, custom_kinds=SORTED)
    assert [p.fields for p in problems] == rows
    assert [p.kind for p in problems] == ["sorted_list"] * 2


def test_a_row_of_a_kind_that_is_not_in_the_setting_is_refused(tmp_path):
    path = write(tmp_path / "mine.jsonl", ROW)
    with pytest.raises(ProblemFileError, match="row 1: kind='sorted_list': expected math, choice, code, or a name in"):
        read_problems(path)


def test_the_setting_reaches_the_files_of_a_run(tmp_path):
    config = Config(verify=Limits(kinds=SORTED))
    config.data.train_per_subdomain = config.data.probe_per_subdomain = config.data.test_per_subdomain = 0
    config.data.train_files = [DataSource(str(write(tmp_path / "mine.jsonl", ROW)))]
    assert load_problem_sets(config.data, 0, config.verify.kinds).train[0].fields == ROW


# --- the table ---


def test_each_entry_names_a_grader_that_exists():
    with Verifier() as one:
        for kind in KINDS:
            assert one.grader(kind).grade


def test_a_custom_kind_has_no_suffix_and_the_samples_of_evaluation():
    assert kind_entry("sorted_list").prompt_suffix == ""
    assert kind_entry("sorted_list").evaluation == ("samples", "temperature")
