"""Benchmarks with perturbations: names, problems, results beside the originals, and the paired change."""

import json
from dataclasses import replace

import pytest
from test_config import composed
from test_evaluate_benchmarks import ASKED, EXAM, loaded, sets
from test_phases import run, settings

from vt_ray.benchmarks import PERTURBED, Benchmark, chosen_benchmarks
from vt_ray.config import ConfigError, EvaluationConfig
from vt_ray.data.benchmark_problems import BenchmarkProblems, load_benchmarks, with_perturbation
from vt_ray.data.perturbations.table import PERTURBATIONS
from vt_ray.planning.validate import validate
from vt_ray.report import benchmark_table
from vt_ray.report.tables import print_table
from vt_ray.run.inputs import input_files

TYPOS = Benchmark("exam+typos", "Exam", samples=4, k=[2], perturbation="typos")


def test_every_perturbation_of_a_benchmark_has_a_function():
    assert set(PERTURBED) - {"instruction"} == set(PERTURBATIONS)


def test_perturbed_benchmarks_follow_the_plain_ones():
    chosen = chosen_benchmarks(EvaluationConfig(benchmarks=["aime24", "gsm8k"], perturbations=["typos", "wrong_hint"]))
    assert [b.name for b in chosen] == [
        *("aime24", "gsm8k", "aime24+typos", "aime24+wrong_hint", "gsm8k+typos", "gsm8k+wrong_hint"),
    ]
    assert [b.original for b in chosen[2:]] == ["aime24", "aime24", "gsm8k", "gsm8k"]
    assert chosen[0].published and not chosen[2].published
    every = chosen_benchmarks(EvaluationConfig(benchmarks=["aime24"], perturbations=["all"]))
    assert [b.perturbation for b in every] == ["", *PERTURBED]


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="'noise' is none of all, typos, white_space"):
        chosen_benchmarks(EvaluationConfig(benchmarks=["aime24"], perturbations=["noise"]))
    config = composed("experiment=evaluate", "model=smollm2_135m", "evaluation.perturbations=[typos]")
    config.evaluation.benchmarks = []
    with pytest.raises(ConfigError, match="needs evaluation.benchmarks"):
        validate(config)


def test_the_experiment_reads_each_file_once_and_perturbs_its_problems(tmp_path, monkeypatch):
    monkeypatch.delenv("VT_BENCHMARKS", raising=False)
    lines = [{"problem": f"Determine the value of {i} + {i}.", "answer": f"{2 * i}"} for i in range(4)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "mine.yaml").write_text("source: mine.jsonl\nsamples: 2\nk: [2]\nsuffix: ' Answer.'\n")
    config = composed("experiment=robustness", "model=smollm2_135m", "evaluation.benchmarks=[mine]")
    config.evaluation.benchmark_folder = str(tmp_path)
    validate(config)
    found = {b.name: b for b in load_benchmarks(config)}
    # No variable, no options, and not made by vt_ray: these perturbations are left out.
    assert set(found) == {"mine"} | {f"mine+{p}" for p in PERTURBED} - {
        "mine+renamed_variable",
        "mine+reordered_options",
        "mine+number_twin",
    }
    plain, hint, instruction = (found[name] for name in ("mine", "mine+wrong_hint", "mine+instruction"))
    assert [p.question_id for p in hint.problems] == [p.question_id for p in plain.problems]
    assert [p.answer for p in hint.problems] == ["0", "2", "4", "6"]
    assert all("answer is" in p.question for p in hint.problems)
    assert hint.notes == ("wrong_hint: 4 of 4 problems, the others stay out",)
    assert instruction.problems == plain.problems
    assert instruction.benchmark.suffix != plain.benchmark.suffix == " Answer."
    assert "boxed" in instruction.benchmark.suffix
    assert list(load_benchmarks(config)) == list(found.values()), "the same seed gives the same problems"
    assert [name for name in input_files(config) if name.startswith("mine")] == ["mine.yaml", "mine: mine.jsonl"]
    config.evaluation.perturbations = ["typos", "number_twin"]
    with pytest.raises(ConfigError, match="number_twin changes no problem of mine: leave it out"):
        load_benchmarks(config)


def test_made_problems_have_twins_with_other_numbers_and_answers():
    config = composed("experiment=robustness", "model=smollm2_135m", "evaluation.benchmarks=[made]")
    config.evaluation.limit, config.evaluation.perturbations = 40, ["number_twin"]
    plain, twins = load_benchmarks(config)
    originals = {p.question_id: p for p in plain.problems}
    assert twins.name == "made+number_twin" and len(twins.problems) > 30
    assert all(twin.question != originals[twin.question_id].question for twin in twins.problems)
    assert sum(twin.answer != originals[twin.question_id].answer for twin in twins.problems if twin.answer) > 15
    (note,) = twins.notes[-1:]
    assert note.startswith(f"number_twin: {len(twins.problems)} of 40 problems")


def test_an_instruction_of_several_kinds_has_no_paraphrase():
    mixed = BenchmarkProblems(replace(TYPOS, kind="", perturbation="instruction"), tuple(ASKED))
    assert with_perturbation(mixed, 0).problems == ()


def test_a_run_has_the_change_that_each_perturbation_causes(tmp_path, monkeypatch, capsys):
    words = [replace(p, question=f"Determine the number {p.answer}!") for p in ASKED]
    perturbed = with_perturbation(BenchmarkProblems(TYPOS, tuple(words), place=1), 0)
    config = settings(tmp_path, phases=[], **{"evaluation.k": 1})
    benchmarks = loaded(EXAM, words), loaded(perturbed.benchmark, perturbed.problems, perturbed.notes)
    _, paths, summary = run(config, monkeypatch, sets(*benchmarks, test=[]))
    (milestone,) = summary["milestones"]
    plain, typos = milestone["benchmarks"]["exam"], milestone["benchmarks"]["exam+typos"]
    assert (typos["perturbation"], typos["original"], typos["problems"]) == ("typos", "exam", 5)
    assert "perturbation" not in plain
    assert typos["change"]["low"] <= typos["change"]["mean"] <= typos["change"]["high"]
    # The scores of the milestone are those of the plain benchmark.
    assert list(milestone["by_subdomain"]) == ["exam"]
    assert benchmark_table.names([milestone]) == ["exam"]
    (header, row) = benchmark_table.perturbation_rows([milestone])
    assert header[:4] == ["model", "benchmark", "perturbation", "problems"]
    assert row[:4] == ["base", "exam", "typos", "5"]
    print_table(summary)
    assert "Perturbations of exam, base" in " ".join(capsys.readouterr().out.split())
    page = paths.report.read_text()
    assert "Exam: change of Pass@1 by perturbation" in page and "Perturbations" in page
