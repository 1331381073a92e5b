"""A run leaves out, or reports, training rows that contain a probing or test question."""

import json
from dataclasses import replace

import pytest

from vt_ray.config import Config, ConfigError, DataConfig, DataSource
from vt_ray.data.decontamination import run_check
from vt_ray.data.decontamination.run_check import RunCheck, problem_questions, read_known
from vt_ray.data.problem_sets import load_problem_sets
from vt_ray.data.traces.files import CONTAMINATED, chosen_traces
from vt_ray.main import launch
from vt_ray.records import Problem
from vt_ray.report.leakage_page import run_lines, write_leakage
from vt_ray.report.run_page.sections import decontamination_section
from vt_ray.report.run_record import read_run
from vt_ray.run.inputs import inputs_digest
from vt_ray.run.paths import RunPaths
from vt_ray.run.run_folder import RunFolder

BOATS = (
    "A harbour has 12 boats with 30 crates each, and every crate weighs 45 kilograms. After a storm 7 boats leave. "
    "How many kilograms are left?"
)
TRAINS = (
    "Two trains leave the old station at noon and meet after 3 hours. Their speeds differ by 8. How far did they go?"
)
CLEAN = "A baker sells 9 loaves for 4 coins a loaf and gives one third of all her coins to the mill. How many remain?"
WRAPPED = f"Please reason step by step, and put your final answer within \\boxed{{}}. {BOATS.upper()} Show your work."


def rows(path, *questions):
    """A source with one problem for each question."""
    said = [{"question_id": f"{path.stem}-{i}", "kind": "math", "question": q, "answer": str(i)}
            for i, q in enumerate(questions)]  # fmt: skip
    path.write_text("".join(json.dumps({**row, "subdomain": "algebra"}) + "\n" for row in said))
    return DataSource(str(path))


def traces(path, *questions):
    said = [{"problem": q, "generations": ["<think>r</think>A", "<think>s</think>B"]} for q in questions]
    path.write_text("".join(json.dumps(row) + "\n" for row in said))
    return DataSource(str(path))


@pytest.fixture
def files(tmp_path):
    """Training rows 2 and 3 have the test question and the probing question; row 1 and the last trace are clean."""
    pytest.importorskip("datasketch")
    return {
        "train_files": [rows(tmp_path / "train.jsonl", CLEAN, WRAPPED, TRAINS)],
        "probe_files": [rows(tmp_path / "probe.jsonl", TRAINS.replace("Two", "2"))],
        "test_files": [rows(tmp_path / "test.jsonl", BOATS)],
        "trace_files": [traces(tmp_path / "traces.jsonl", BOATS, CLEAN)],
    }


def data(**changes):
    none = {"train_per_subdomain": 0, "probe_per_subdomain": 0, "test_per_subdomain": 0}
    return DataConfig(**{**none, **changes})


def test_training_rows_with_a_probing_or_test_question_are_left_out_and_counted(files):
    sets = load_problem_sets(data(**files), 0)
    assert [p.question for p in sets.train] == [CLEAN]
    report = sets.leakage.report
    assert (report["rows"], report["dropped"], report["reported"]) == (5, 3, 0)
    found = {(cell["training_file"].rpartition("/")[2], cell["evaluation_file"].rpartition("/")[2]): cell["rows"]
             for cell in report["matrix"] if cell["rows"]}  # fmt: skip
    assert found == {
        ("train.jsonl", "test.jsonl"): 1,
        ("train.jsonl", "probe.jsonl"): 1,
        ("traces.jsonl (traces)", "test.jsonl"): 1,
    }
    assert run_lines(sets.leakage)[0] == (
        "decontamination: 3 of 5 training rows match a probing or test question; 3 are left out, 0 are kept "
        "(data.decontaminate=drop)"
    )


def test_traces_of_a_test_question_are_left_out_of_sft(files):
    sets = load_problem_sets(data(**files), 0)
    (counts,) = sets.traces.counts
    assert (counts.traces, counts.chosen, counts.dropped) == (4, 2, {CONTAMINATED: 2})
    (source,) = sets.traces.sources
    assert {trace.question for trace in chosen_traces(source, sets.traces.contaminated)} == {CLEAN}
    kept = load_problem_sets(data(**{**files, "decontaminate": "report"}), 0)
    assert kept.traces.digest != sets.traces.digest and kept.traces.counts[0].chosen == 4


def test_a_question_in_a_later_turn_of_a_chat_counts(files, tmp_path):
    turns = [("user", CLEAN), ("assistant", "A"), ("user", BOATS), ("assistant", "B")]
    path = tmp_path / "chat.jsonl"
    path.write_text(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}) + "\n")
    with pytest.raises(ConfigError, match="2 contains a probing or test question: no trace remains"):
        load_problem_sets(data(**{**files, "trace_files": [DataSource(str(path))]}), 0)


def test_report_keeps_all_rows_also_whole_copies(files):
    sets = load_problem_sets(data(**files, decontaminate="report"), 0)
    assert [p.question for p in sets.train] == [CLEAN, WRAPPED, TRAINS]
    assert (sets.leakage.report["dropped"], sets.leakage.report["reported"]) == (0, 3)
    assert not sets.leakage.dropped


def test_off_refuses_only_whole_copies(files, tmp_path):
    files |= {"trace_files": [], "decontaminate": "off"}
    assert len(load_problem_sets(data(**files), 0).train) == 3
    assert load_problem_sets(data(**files), 0).leakage is None
    files["train_files"] = [rows(tmp_path / "copy.jsonl", CLEAN, BOATS)]
    with pytest.raises(ConfigError, match="test-0 of the test set is also copy-1 .*data.decontaminate=drop"):
        load_problem_sets(data(**files), 0)


@pytest.mark.parametrize("decontaminate", ["drop", "report", "off"])
def test_a_question_in_the_probing_and_the_test_set_is_refused(files, tmp_path, decontaminate):
    files |= {"probe_files": [rows(tmp_path / "other.jsonl", BOATS.lower())], "train_files": [], "trace_files": []}
    with pytest.raises(ConfigError, match="test-0 of the test set is also other-0 of the probe set"):
        load_problem_sets(data(**files, decontaminate=decontaminate), 0)


def test_a_training_set_of_test_questions_alone_is_refused(files, tmp_path):
    files |= {"train_files": [rows(tmp_path / "all.jsonl", BOATS, WRAPPED)], "trace_files": []}
    with pytest.raises(ConfigError, match="leaves no training problem: each of the 2 contains"):
        load_problem_sets(data(**files), 0)


def test_generated_problems_are_disjoint_without_a_comparison(monkeypatch):
    monkeypatch.setattr(run_check, "Matcher", None)
    sets = load_problem_sets(DataConfig(train_per_subdomain=60, probe_per_subdomain=30, test_per_subdomain=30), 0)
    report = sets.leakage.report
    assert (report["rows"], report["dropped"], len(report["training"])) == (300, 0, 1)
    questions = [{p.question for p in problems} for problems in (sets.train, sets.probe, sets.test)]
    assert sum(map(len, questions)) == len(set.union(*questions))
    assert run_lines(sets.leakage) == []


def test_generated_training_problems_are_compared_with_files(tmp_path):
    pytest.importorskip("datasketch")
    made = load_problem_sets(DataConfig(), 0).train[7].question
    test_files = [rows(tmp_path / "test.jsonl", made)]
    sets = load_problem_sets(DataConfig(test_files=test_files), 0)
    assert made not in {p.question for p in sets.train}
    assert sets.leakage.report["dropped"] >= 1


def test_the_digest_of_the_inputs_decides_if_the_result_is_used_again(files, tmp_path, monkeypatch):
    config = Config(data=data(**files))
    first = load_problem_sets(config.data, 0)
    paths = RunPaths(tmp_path / "run")
    paths.root.mkdir()
    assert read_known(paths.decontamination, lambda: "x") is None
    write_leakage(paths, inputs_digest(config), first.leakage)
    known = read_known(paths.decontamination, lambda: inputs_digest(config))
    monkeypatch.setattr(run_check, "Matcher", None)
    again = load_problem_sets(config.data, 0, known=known)
    assert (again.train, again.traces.digest) == (first.train, first.traces.digest)
    assert again.traces.contaminated == first.traces.contaminated
    assert again.leakage.report == json.loads(json.dumps(first.leakage.report))
    monkeypatch.undo()
    with open(config.data.train_files[0].path, "a") as file:
        file.write(json.dumps({"problem": CLEAN + " And then?", "answer": "1"}) + "\n")
    assert read_known(paths.decontamination, lambda: inputs_digest(config)) is None
    paths.decontamination.write_text('{"inputs": "x", "report"')
    assert read_known(paths.decontamination, lambda: "x") is None


def test_the_run_folder_has_counts_rows_and_a_page_that_the_report_links(files, tmp_path):
    leakage = load_problem_sets(data(**files), 0).leakage
    paths = RunPaths(tmp_path / "run")
    paths.root.mkdir()
    write_leakage(paths, "inputs", leakage)
    found = [json.loads(line) for line in paths.contaminated.read_text().splitlines()]
    assert [(line["row"], line["dropped"], line["findings"][0]["reason"]) for line in found] == [
        (2, True, "ngram"),
        (3, True, "ngram"),
        (1, True, "ngram"),
    ]
    page = paths.leakage.read_text()
    assert "harbour" in page and len(page) < 50_000, "the page has no chart and no plotly"
    section = decontamination_section(read_run(paths.root))
    assert section.text[0].startswith("3 of 5 training rows match") and section.links[0][1] == "data/leakage.html"
    assert section.tables[0].rows[1][1:] == ["3", "1 (33.33%)", "1 (33.33%)"]
    assert "were not compared" in decontamination_section(read_run(tmp_path)).text[0]


@pytest.mark.parametrize(("source", "meta"), [("x/gpqa_diamond.csv", None), ("x/other.csv", {"Canary String": "s"})])
def test_texts_that_may_not_be_published_are_withheld(source, meta):
    pytest.importorskip("datasketch")
    test = Problem("t", "physics", "math", BOATS, "1", source=source, row=1, meta=meta)
    check = RunCheck({"test": [test]}, "drop")
    train = [Problem("a", "physics", "math", WRAPPED, "1", source="train.jsonl", row=4)]
    assert check.drops(problem_questions(train, "train")) == [True]
    assert "harbour" not in json.dumps([check.result().report, *check.result().lines]).lower()


def test_a_dry_run_names_the_run_that_has_its_folder(files, tmp_path, capsys):
    config = Config(data=data(**files), phases=["sft"], runs_dir=str(tmp_path / "runs"))
    config.spectrum.sft.styles = []
    with RunFolder(config).open():
        pass
    assert RunFolder(config).refusal() == ""
    launch(replace(config, seed=3, dry_run=True))
    assert "without dry_run this command is refused" in (shown := capsys.readouterr().out)
    assert "seed was 0, is 3" in shown and "prompt" not in shown


def test_a_dry_run_prints_the_counts_and_writes_nothing(files, tmp_path, capsys):
    config = Config(data=data(**files), phases=["sft"], dry_run=True, runs_dir=str(tmp_path / "runs"))
    config.spectrum.sft.styles = []
    launch(config)
    printed = capsys.readouterr().out
    assert "decontamination: 3 of 5 training rows match" in printed
    assert "train.jsonl x" in printed and "test.jsonl: 1 (33.33%) rows match" in printed
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("written", "policy"), [("off", "off"), ("False", "off"), ("drop", "drop")])
def test_a_bare_off_in_yaml_is_off(written, policy):
    assert DataConfig(decontaminate=written).decontaminate == policy


def test_the_text_of_a_test_problem_with_a_canary_is_in_no_finding(tmp_path):
    pytest.importorskip("datasketch")
    secret = {"problem": BOATS, "answer": "10", "Canary String": "x"}
    (tmp_path / "secret.jsonl").write_text(json.dumps(secret) + "\n")
    test = [DataSource(str(tmp_path / "secret.jsonl"))]
    train = [rows(tmp_path / "train.jsonl", CLEAN, WRAPPED)]
    found = load_problem_sets(data(train_files=train, test_files=test), 0).leakage
    assert len(found.dropped) == 1
    said = json.dumps([found.report, *found.lines]).lower()
    assert "withheld" in said and "crate" not in said
