"""The evaluation of benchmarks over stand-ins: results files, a killed evaluation, figures, table, several models."""

import itertools
import json
import re
import threading
from dataclasses import replace

import pytest
import test_loop
from rich.console import Console
from test_config import changed
from test_phases import MATH, SETS, given, run, settings

from vt_ray.benchmarks import Benchmark, Published
from vt_ray.config import ConfigError, DataConfig, DataSource
from vt_ray.data.benchmark_problems import BenchmarkProblems
from vt_ray.data.problem_sets import ProblemSets, load_problem_sets
from vt_ray.data.prompts import PromptEncoder
from vt_ray.evaluation import benchmarks
from vt_ray.evaluation.answers import AnswerReaders
from vt_ray.evaluation.benchmark_figures import benchmark_figures
from vt_ray.evaluation.benchmarks import encodable, with_fingerprint
from vt_ray.evaluation.results_file import ResultsFile, read_results
from vt_ray.evaluation.statistics import paired_difference
from vt_ray.evaluation.traces import trace_line
from vt_ray.planning.resource_plan import phase_plan
from vt_ray.planning.validate import validate
from vt_ray.records import Completion, Problem, Rollouts
from vt_ray.report import benchmark_table, tables
from vt_ray.report.comparison.runs import ComparisonError, read_runs, refuse_incomparable
from vt_ray.report.run_page.answers import benchmark_answers
from vt_ray.report.run_page.sections import run_sections
from vt_ray.report.run_record import read_run
from vt_ray.report.tables import print_table
from vt_ray.run.run_folder import RunFolder
from vt_ray.verify.limits import Limits

ENCODER = PromptEncoder(test_loop.Tokenizer(), DataConfig())
ASKED = [Problem(f"b/{i}", "numbers", "math", f"{i}!", str(i), level=i % 2) for i in range(5)]
EXAM = Benchmark("exam", "Exam", samples=4, k=[2, 4, 8], published=[Published("Someone", 12.5, "a paper")])


def loaded(benchmark=EXAM, problems=tuple(ASKED), notes=("only a few",)):
    return with_fingerprint(BenchmarkProblems(benchmark, tuple(problems), notes), ENCODER)


def sets(*benchmarks, test=SETS.test):
    return ProblemSets(MATH, MATH[:3], list(test), benchmarks=benchmarks)


def test_a_run_has_the_figures_of_its_benchmarks_at_every_milestone(tmp_path, monkeypatch, capsys):
    config = settings(tmp_path, **{"signal.evaluate_every": 1})
    _, paths, summary = run(config, monkeypatch, sets(loaded()))
    for milestone in summary["milestones"]:
        figures = milestone["benchmarks"]["exam"]
        assert (figures["problems"], figures["samples"], figures["fingerprint"]) == (5, 4, loaded().fingerprint)
        assert {"mean", "low", "high"} == figures["pass_at_1"].keys() and set(figures["pass_at_k"]) == {"2", "4"}
        expected = {"cons_at_n", "truncated_share", "tokens_mean", "tokens_median", "without_verdict", "loop_share"}
        assert expected <= figures.keys() and figures["notes"] == ["only a few"]
        assert figures["pass_at_1_vibethinker"] == pytest.approx({"mean": 0.0, "low": 0.0, "high": 0.5}, abs=0.5)
        # The held-out problems keep their own scores.
        assert milestone["num_problems"] <= len(SETS.test)
    assert sorted(path.name for path in (paths.stage("math").evaluation).iterdir()) == [
        *("step_000001", "step_000001.json", "step_000002", "step_000002.json"),
    ]
    first, second = (m["benchmarks"]["exam"] for m in summary["milestones"][:2])
    results = [read_results(paths.evaluation / m / "exam.jsonl")[1] for m in ("base", "sft_last")]
    scores = [
        {q: line["verdicts"].count("correct") / v for q, line in r.items() if (v := valid(line))} for r in results
    ]
    shared = scores[0].keys() & scores[1].keys()
    change = paired_difference(*({q: s[q] for q in shared} for s in scores))
    assert first["difference"] is None and second["difference"].pop("from") == "base"
    assert second["difference"]["mean"] == pytest.approx(change.mean)
    assert second["difference"]["low"] <= change.mean <= second["difference"]["high"]
    print_table(summary)
    shown = capsys.readouterr().out
    assert "Exam" not in shown and "exam" in shown and "Someone *" in shown and "12.5" in shown
    assert f"fingerprint {loaded().fingerprint}; only a few" in " ".join(shown.split())


def valid(line):
    return sum(verdict != "unverified" for verdict in line["verdicts"])


def test_benchmarks_alone_are_the_scores_of_a_milestone(tmp_path, monkeypatch):
    other = loaded(replace(EXAM, name="other"), ASKED[:2])
    config = settings(tmp_path, phases=[], **{"evaluation.k": 1})
    _, paths, summary = run(config, monkeypatch, sets(loaded(), other, test=[]))
    (milestone,) = summary["milestones"]
    assert set(milestone["by_subdomain"]) <= {"exam", "other"}
    assert milestone["num_problems"] + milestone["without_verdict"] == 7
    assert (
        milestone["by_subdomain"]["exam"]["pass_at_1"]["mean"] == milestone["benchmarks"]["exam"]["pass_at_1"]["mean"]
    )
    assert summary["phases"]["evaluate"]["tokens"] == sum(
        round(f["tokens_mean"] * f["problems"] * f["samples"]) for f in milestone["benchmarks"].values()
    )
    assert paths.report.exists()


def test_several_models_end_in_one_table(tmp_path, monkeypatch):
    folders = given(tmp_path, 5, 6)
    config = settings(tmp_path, phases=[], **{"evaluation.models": folders, "evaluation.k": 1})
    world, _, summary = run(config, monkeypatch, sets(loaded(), test=[]))
    assert [m["name"] for m in summary["milestones"]] == ["base", "model-5", "model-6"]
    assert [folder.name for folder, _ in world.calls["load_checkpoint"]] == ["base", "model-5", "model-6"]
    table = benchmark_table.rows(summary["milestones"])
    assert [row[0] for row in table] == [
        *("Pass@1, %", "base", "model-5", "  change, points", "model-6", "  change, points", "Someone *"),
    ]


def test_the_first_model_is_the_base_model_of_a_run_without_one(tmp_path):
    folders = given(tmp_path, 5, 6)
    config = changed(settings(tmp_path, phases=[]), **{"evaluation.models": folders})
    config.__post_init__()
    assert config.model.path == folders[0]
    from dataclasses import asdict

    from vt_ray.run.milestone_names import planned

    assert planned(asdict(config)) == ["base", "model-6"]
    with pytest.raises(ConfigError, match=r"evaluation.models=.* needs phases=\[\]"):
        validate(changed(config, phases=["sft"]))


@pytest.mark.parametrize("torn", [b"", b'{"question_id": "b/4", "verd', b"\0\0\0\n"])
def test_a_killed_evaluation_continues_after_the_last_whole_line(tmp_path, monkeypatch, torn):
    problems = sets(loaded(), test=[])
    config = settings(tmp_path, "whole", phases=[], **{"evaluation.k": 1})
    world, paths, whole = run(config, monkeypatch, problems)
    assert len(world.calls["generate"]) == 5
    lines = (paths.evaluation / "base" / "exam.jsonl").read_bytes().splitlines(keepends=True)
    config = settings(tmp_path / "other", "killed", phases=[], **{"evaluation.k": 1})
    with monkeypatch.context() as patch:
        # The texts and the result of each of three problems.
        patch.setattr(ResultsFile, "add", killed_after(6))
        with pytest.raises(KeyboardInterrupt):
            run(config, patch, problems)
    (partial,) = tmp_path.glob("other/runs/phases/spectrum_scores-*/base/exam.jsonl")
    assert len(partial.read_bytes().splitlines()) == 4
    partial.write_bytes(partial.read_bytes() + torn)
    world, paths, summary = run(config, monkeypatch, problems)
    assert len(world.calls["generate"]) == 2
    again = (paths.evaluation / "base" / "exam.jsonl").read_bytes().splitlines(keepends=True)
    assert sorted(map(untimed, again)) == sorted(map(untimed, lines))
    assert summary["milestones"][0]["pass_at_1"] == whole["milestones"][0]["pass_at_1"]


def untimed(line):
    record = json.loads(line)
    return json.dumps({name: value for name, value in record.items() if name not in ("seconds", "joules")})


def killed_after(count):
    add, calls = ResultsFile.add, []

    def stop(self, result):
        if len(calls) == count:
            raise KeyboardInterrupt
        calls.append(result)
        add(self, result)

    return stop


def test_held_out_problems_continue_too(tmp_path, monkeypatch):
    config = settings(tmp_path, phases=[])
    with monkeypatch.context() as patch:
        patch.setattr(ResultsFile, "add", killed_after(2))
        with pytest.raises(KeyboardInterrupt):
            run(config, patch)
    world, paths, _ = run(config, monkeypatch)
    assert len(world.calls["generate"]) == len(SETS.test) - 2
    assert not list(paths.root.rglob("*.partial.jsonl"))


def test_results_of_other_problems_are_not_taken(tmp_path, capsys):
    path = tmp_path / "exam.jsonl"
    with ResultsFile(path, {"fingerprint": "one"}) as file:
        file.add({"question_id": "q", "tokens": [3]})
    assert set(ResultsFile(path, {"fingerprint": "one"}).results) == {"q"}
    assert ResultsFile(path, {"fingerprint": "two"}).results == {}
    assert "fingerprint one, now it is two" in capsys.readouterr().out


def test_the_fingerprint_follows_problems_prompts_and_settings():
    known = loaded()
    assert loaded(problems=reversed(ASKED)).fingerprint == known.fingerprint
    moved = [replace(p, question_id=f"x{p.question_id}", source="/elsewhere", row=7) for p in ASKED]
    assert loaded(problems=moved).fingerprint == known.fingerprint
    changes = {
        "problems": [loaded(problems=ASKED[:4]), loaded(problems=[*ASKED[:4], replace(ASKED[4], answer="9")])],
        "prompts": [loaded(replace(EXAM, suffix=" Please.")), loaded(replace(EXAM, system="Be brief."))],
        "settings": [loaded(replace(EXAM, samples=8)), loaded(replace(EXAM, temperature=0.5))],
    }
    for part, others in changes.items():
        for other in others:
            assert other.fingerprint != known.fingerprint
            assert other.parts[part] != known.parts[part]


def test_figures_with_other_fingerprints_are_not_compared(tmp_path):
    for name, fingerprint, prompts in (("a", "one", "x"), ("b", "two", "y")):
        head = {
            **{"benchmark": "exam", "place": 0, "title": "Exam", "fingerprint": fingerprint, "k": []},
            **{"parts": {"problems": "p", "prompts": prompts}, "temperature": 1.0, "top_p": 1.0},
            **{"max_new_tokens": 9, "notes": [], "published": []},
        }
        with ResultsFile(tmp_path / name / "exam.jsonl", head) as file:
            result = {
                "question_id": "q",
                "subdomain": "s",
                "verdicts": ["correct"],
                "tokens": [3],
                "truncated": [False],
            }
            file.add(result)
    figures = benchmark_figures(tmp_path / "b", ("a", tmp_path / "a"))["exam"]
    assert figures["difference"] == {"from": "a", "not_comparable": "prompts"}
    milestones = [
        {"name": "a", "benchmarks": benchmark_figures(tmp_path / "a")},
        {"name": "b", "benchmarks": {"exam": figures}},
    ]
    assert ["  change, points", "other prompts"] in benchmark_table.rows(milestones)


def test_a_prompt_over_the_limit_of_the_benchmark_is_refused():
    with pytest.raises(ConfigError, match=r"exam: the prompt of b/0 has 2 tokens.*override.max_prompt_tokens=2"):
        loaded(replace(EXAM, max_prompt_tokens=1))


def test_the_plan_counts_the_tokens_of_benchmarks(tmp_path):
    config = settings(tmp_path, phases=[])
    plan = {p.name: p for p in phase_plan(config, sets(loaded(), test=[]))}
    assert list(plan) == ["evaluate exam"] and plan["evaluate exam"].tokens == 5 * 4 * 40960


def test_problem_sets_keep_their_benchmarks():
    assert encodable(sets(loaded()), ENCODER).benchmarks == (loaded(),)


def test_another_benchmark_is_evaluated_anew(tmp_path, monkeypatch):
    run(settings(tmp_path, "a", phases=[]), monkeypatch, sets(loaded()))
    world, _, _ = run(settings(tmp_path, "b", phases=[]), monkeypatch, sets(loaded()))
    assert not world.calls["generate"]
    world, _, _ = run(settings(tmp_path, "c", phases=[]), monkeypatch, sets(loaded(problems=ASKED[:3])))
    assert len(world.calls["generate"]) == 3 + len(SETS.test)
    assert RunFolder(settings(tmp_path, "c", phases=[])).paths.summary.exists()


def test_runs_with_other_fingerprints_are_not_compared(tmp_path, monkeypatch):
    roots = []
    for name, benchmark in (("a", EXAM), ("b", replace(EXAM, temperature=0.5)), ("c", EXAM)):
        config = settings(tmp_path, name, phases=[], **{"evaluation.k": 1, "signal.seed": len(roots)})
        roots.append(run(config, monkeypatch, sets(loaded(benchmark), test=[]))[1].root)
    one, other, same = read_runs(roots)[0]
    refuse_incomparable([one, same])
    with pytest.raises(ComparisonError, match="were evaluated on exam with other settings: compare runs with the same"):
        refuse_incomparable([one, other])


def test_a_probing_problem_of_a_benchmark_is_refused(tmp_path):
    file = tmp_path / "probing.jsonl"
    rows = [{"question": text, "answer": "1"} for text in ("How many apples are there?", "2 + 3 = ?")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DataConfig(probe_files=[DataSource(str(file))], probe_per_subdomain=0, test_per_subdomain=0)
    exam = BenchmarkProblems(EXAM, (Problem("b/1", "d", "math", "How many  apples are there", "1"),))
    typos = BenchmarkProblems(replace(EXAM, perturbation="typos"), exam.problems)
    expected = (
        r"1 of the 2 probing problems are problems of the benchmark exam \(.*probing.jsonl, row 1\): .*leave exam"
    )
    for decontaminate in ("drop", "report", "off"):
        policy = replace(data, decontaminate=decontaminate)
        with pytest.raises(ConfigError, match=expected):
            load_problem_sets(policy, 0, benchmarks=(exam,))
        assert len(load_problem_sets(policy, 0, benchmarks=(typos,)).probe) == 2


def test_the_report_of_an_evaluation_shows_its_answers_and_no_section_of_training(tmp_path, monkeypatch):
    hidden = loaded(replace(EXAM, name="gpqa"), [replace(p, source="/data/gpqa_diamond.csv") for p in ASKED])
    config = settings(tmp_path, phases=[], **{"evaluation.k": 1})
    _, paths, _ = run(config, monkeypatch, sets(loaded(), hidden, test=[]))
    traces = read_results(paths.evaluation / "base" / "traces" / "exam.jsonl")[1]
    assert traces.keys() == {p.question_id for p in ASKED} and {len(line["texts"]) for line in traces.values()} == {2}
    assert not read_results(paths.evaluation / "base" / "traces" / "gpqa.jsonl")[1]
    shown = benchmark_answers(paths.root, ["base", "sft_last"])
    assert {(entry["stage"], entry["step"]) for entry in shown} == {("base", "exam")}
    results = read_results(paths.evaluation / "base" / "exam.jsonl")[1]
    assert {entry["question_id"] for entry in shown} == results.keys()
    for entry in shown:
        line, texts = results[entry["question_id"]], traces[entry["question_id"]]["texts"]
        place = [(v == "correct") for v in line["verdicts"]].index(entry["verdict"] == "correct")
        assert (entry["tokens"], entry["text"]) == (line["tokens"][place], texts[place])
    for question_id, line in results.items():
        verdicts = [entry["verdict"] == "correct" for entry in shown if entry["question_id"] == question_id]
        assert sorted(verdicts) == sorted({v == "correct" for v in line["verdicts"][:2]})
    keys = [section.key for section in run_sections(read_run(paths.root))]
    assert keys == ["milestones", "benchmarks", "recoveries", "cost", "samples", "prompt", "identity"]
    assert f"{len(shown)} rollouts, distributed evenly" in paths.report.read_text()


def test_a_vote_over_hidden_problems_keeps_texts_without_their_question():
    hidden = replace(ASKED[0], source="/data/gpqa_diamond.csv")
    samples = (Completion(0, [], [], "text", "stop", (), 0.0),) * 3
    of_hidden, shown = (trace_line(Rollouts(p, (1,), samples), p is hidden) for p in (hidden, ASKED[0]))
    assert of_hidden == {"question_id": "b/0", "question": None, "texts": ["text"] * 3}
    assert shown == {"question_id": "b/0", "question": "0!", "texts": ["text"] * 2}


def test_slow_answers_do_not_hold_up_the_next_completions():
    release, taken = threading.Event(), []

    def items():
        for i in range(4):
            taken.append(i)
            yield i
        release.set()

    def work(reader, item):
        assert item or release.wait(30)
        return item

    with AnswerReaders(Limits()) as readers:
        assert sorted(readers.map(work, items())) == [0, 1, 2, 3]
        assert next(iter(readers.map(work, [0]))) == 0
        with pytest.raises(ZeroDivisionError):
            list(readers.map(lambda reader, item: 1 // item, [1, 0]))


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_table_wider_than_the_terminal_comes_in_parts_with_all_cells(width, capsys):
    rows = [["Pass@1, %", *(f"benchmark_{i}" for i in range(7))]]
    rows += [[name, *(f"{i}.0 [{i}.0, {i}.0]" for i in range(7))] for name in ("base", "a model *", "another model *")]
    tables._print_wide("Benchmarks", rows, Console(width=width))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width and not any("…" in line for line in lines)
    found = {cell for line in lines for cell in re.split(r"\s{2,}", line.strip())}
    assert {cell for row in rows for cell in row} <= found


def test_the_energy_of_an_evaluation_is_the_sum_of_its_lines_or_unknown(tmp_path, monkeypatch):
    counter = itertools.count()
    monkeypatch.setattr(benchmarks, "machine_readings", lambda: {"cpu": (next(counter), 9e9)})
    config = settings(tmp_path, phases=[], **{"evaluation.k": 1})
    _, paths, summary = run(config, monkeypatch, sets(loaded(), test=[]))
    (milestone,) = summary["milestones"]
    assert milestone["benchmarks"]["exam"]["joules"] == 5.0
    assert "tokens/s, 0.0 kJ, fingerprint" in benchmark_table.notes([milestone])[-1]
    file = paths.evaluation / "base" / "exam.jsonl"
    file.write_text(re.sub(r'"joules": [\d.]+', '"joules": null', file.read_text(), count=1))
    assert benchmark_figures(paths.evaluation / "base")["exam"]["joules"] is None
