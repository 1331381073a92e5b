"""The registry of benchmarks: each shipped file composes and states its source, and files of the user's own work."""

import os
from pathlib import Path

import pytest
from test_config import composed

from vt_ray.benchmarks import SHIPPED, SUITES, Benchmark, benchmark_files, chosen_benchmarks, departures, file_protocol
from vt_ray.config import BenchmarkOverride, ConfigError, DataSource, EvaluationConfig
from vt_ray.data.benchmark_problems import (
    BenchmarkProblems,
    MissingSourceError,
    between_dates,
    load_benchmarks,
    read_benchmark,
)
from vt_ray.data.makers import SUBDOMAINS, split_of
from vt_ray.data.problem_sets import load_problem_sets
from vt_ray.planning.validate import validate
from vt_ray.records import Problem
from vt_ray.run.inputs import input_files

NAMES = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
# Reading the tests of these takes longer than a unit test may.
SLOW = {"leetcode", "minerva", "olymmath", "olympiadbench", "physics", "scibench"}


def chosen(*names, override=None, **settings):
    changes = BenchmarkOverride(**(override or {}))
    return chosen_benchmarks(EvaluationConfig(benchmarks=list(names), override=changes, **settings))


def test_all_benchmarks_of_the_documentation_are_shipped():
    known = """
        aime24 aime25 aime26 hmmt25 math500 gpqa_diamond livecodebench_v5 livecodebench_v6 livecodebench_v5_full
        livecodebench_v6_full gsm8k minerva olympiadbench amc23 olymmath humaneval mbpp leetcode mmlu_stem
        arc_challenge commonsenseqa openbookqa strategyqa bbh scibench physics made
    """
    assert sorted(known.split()) == NAMES
    assert sorted(path.stem for path in (SHIPPED / SUITES).glob("*.yaml")) == ["out_of_domain", "paper", "quick"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_benchmark_composes_and_names_its_source(name):
    (benchmark,) = chosen(name)
    assert benchmark.source and benchmark.download and benchmark.title
    # The number of readable answers depends on the verifier.
    assert benchmark.problems or benchmark.drop_unanswered
    assert benchmark.samples == {"math": 64, "choice": 16, "code": 8}.get(benchmark.kind) or name not in PAPER
    assert benchmark.temperature == (0.6 if benchmark.kind == "code" else 1.0)
    assert (benchmark.top_p, benchmark.max_new_tokens) == (0.95, 40960)
    assert all(figure.model and figure.source and 0 <= figure.value <= 100 for figure in benchmark.published)


PAPER = ["aime24", "aime25", "math500", "hmmt25", "livecodebench_v5", "livecodebench_v6", "gpqa_diamond"]


def test_the_suite_of_the_paper_is_its_table():
    suite = chosen("paper")
    assert [b.name for b in suite] == PAPER
    row = {b.name: {p.model: p.value for p in b.published}["VibeThinker-1.5B"] for b in suite}
    assert row == dict(zip(PAPER, (80.3, 74.4, 95.0, 50.4, 55.9, 51.1, 46.7), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_benchmark_has_its_number_of_problems(name, monkeypatch):
    if not DATA.is_dir():
        pytest.skip(f"the public benchmarks are not at {DATA}")
    if name in SLOW:
        pytest.skip(f"{name} takes minutes to read; docs/evaluation.md has its count")
    monkeypatch.setenv("VT_BENCHMARKS", f"{DATA / 'benchmarks'}{os.pathsep}{DATA / 'ood'}")
    benchmark = file_protocol(name, "")
    if name.startswith("livecodebench_v6"):
        with pytest.raises(MissingSourceError, match="release_v6.jsonl"):
            read_benchmark(benchmark, benchmark)
        return
    loaded = read_benchmark(benchmark, benchmark)
    expected = benchmark.instead_problems if loaded.notes else benchmark.problems
    assert len(loaded.problems) == expected


def write(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)
    return str(folder)


def rows(folder, count=4, name="mine.jsonl"):
    lines = [f'{{"problem": "What is {i} + {i}?", "answer": "{2 * i}"}}' for i in range(count)]
    (folder / name).write_text("\n".join(lines))


def test_a_file_of_the_users_own_is_a_benchmark(tmp_path, monkeypatch):
    monkeypatch.delenv("VT_BENCHMARKS", raising=False)
    folder = write(tmp_path / "own", "mine", "source: mine.jsonl\nsamples: 2\nk: [2]\n")
    rows(tmp_path / "own")
    config = composed("experiment=evaluate", "model=smollm2_135m", "evaluation.benchmarks=[mine]")
    config.evaluation.benchmark_folder = folder
    validate(config)
    (loaded,) = load_benchmarks(config)
    assert [p.answer for p in loaded.problems] == ["0", "2", "4", "6"] and loaded.notes == ()
    config.evaluation.limit, config.evaluation.override = 3, BenchmarkOverride(samples=1)
    (loaded,) = load_benchmarks(config)
    assert [p.answer for p in loaded.problems] == ["0", "2", "4"]
    assert loaded.notes == ("samples 1 instead of 2", "only the first 3 problems")


def test_a_file_of_the_users_own_replaces_a_shipped_one(tmp_path):
    folder = write(tmp_path / "own", "aime24", "source: mine.jsonl")
    assert file_protocol("aime24", folder).source == ["mine.jsonl"]
    assert benchmark_files(folder)["aime25"].parent == SHIPPED


def test_the_settings_of_suite_and_run_replace_those_of_the_file():
    assert {(b.limit, b.samples, b.max_new_tokens) for b in chosen("quick")} == {(100, 1, 1024)}
    assert {(b.limit, b.samples) for b in chosen("quick", limit=5, override={"samples": 3})} == {(5, 3)}
    lengths = ["samples 1 instead of 4", "max_new_tokens 1024 instead of 40960"]
    quick, stated = chosen("quick")[0], file_protocol("gsm8k", "")
    assert departures(quick, stated, problems=100) == lengths, "a limit that leaves out no problem"
    assert departures(quick, stated, problems=101) == [
        *lengths,
        "only the first 100 problems",
    ]


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (["aime23"], {}, "'aime23' is none of aime24, aime25"),
        (["aime24", "paper"], {}, "aime24 is named twice"),
        (["aime24"], {"override": {"samples": "many"}}, "give values as in the file"),
        (["aime24"], {"override": {"samples": 0}}, "samples=0 must be at least 1"),
        (["aime24"], {"override": {"temperature": 0.0}}, "temperature=0.0 with samples=64"),
        (["aime24"], {"override": {"top_p": 1.5}}, "top_p=1.5 must lie in (0, 1]"),
        (["aime24"], {"override": {"max_prompt_tokens": 1}}, "max_prompt_tokens=1 must be at least 8"),
        (["aime24"], {"limit": -1}, "limit=-1 must be at least 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(names, settings, message):
    with pytest.raises(ConfigError) as refused:
        chosen(*names, **settings)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("samples: 2", "source is empty"),
        ("source: a\nsample: 2", "the keys are title, source"),
        ("source: [a", "the keys are"),
        ("- a", "the keys are"),
        ("source: a\nsamples: x", "the keys are"),
        ("source: a\nkind: maths", "kind='maths' must be math, choice, code or empty"),
        ("source: a\ndates: [2025-01-01]", "give the first and the last date"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path, text, message):
    folder = write(tmp_path / "own", "mine", text)
    with pytest.raises(ConfigError) as refused:
        chosen("mine", benchmark_folder=folder)
    assert message in str(refused.value) and "mine" in str(refused.value)


def test_a_suite_that_contains_itself_is_refused(tmp_path):
    write(tmp_path / SUITES, "one", "benchmarks: [two]")
    write(tmp_path / SUITES, "two", "benchmarks: [gsm8k, one]")
    with pytest.raises(ConfigError, match=r"the suite one contains itself \(one > two > one\): leave it out of two"):
        chosen("one", benchmark_folder=str(tmp_path))


def test_a_suite_replaces_known_settings_only(tmp_path):
    write(tmp_path / "own", "mine", "source: mine.jsonl")
    write(tmp_path / "own" / SUITES, "ours", "benchmarks: [mine]\noverride: {sample: 1}")
    with pytest.raises(ConfigError, match="ours.yaml: sample cannot be replaced: take some of samples"):
        chosen("ours", benchmark_folder=str(tmp_path / "own"))


def test_settings_are_given_on_the_command_line():
    one = composed("experiment=evaluate", "evaluation.override.samples=2", "evaluation.override.max_new_tokens=9")
    both = composed("experiment=evaluate", "evaluation.override={samples: 2, max_new_tokens: 9}")
    assert one == both and {(b.samples, b.max_new_tokens) for b in one.benchmarks} == {(2, 9)}


def config_of(tmp_path, text):
    config = composed("experiment=evaluate", "model=smollm2_135m", "evaluation.benchmarks=[mine]")
    config.evaluation.benchmark_folder = write(tmp_path / "own", "mine", text)
    return config


def test_an_absent_source_says_what_to_download_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("VT_BENCHMARKS", str(tmp_path / "nowhere"))
    config = config_of(tmp_path, "source: mine.jsonl\ndownload: mine.jsonl of example.org")
    config.evaluation.benchmarks = ["mine", "aime24"]
    with pytest.raises(ConfigError) as refused:
        load_benchmarks(config)
    message = str(refused.value)
    searched = f"neither in {tmp_path / 'own'} nor in a folder of VT_BENCHMARKS"
    assert f"mine: mine.jsonl is {searched}: download mine.jsonl of example.org" in message
    assert "aime24: aime24.parquet" in message and "then set VT_BENCHMARKS=FOLDER" in message


def test_a_source_with_another_number_of_problems_or_kind_is_refused(tmp_path):
    config = config_of(tmp_path, "source: mine.jsonl\nproblems: 5")
    rows(tmp_path / "own")
    with pytest.raises(ConfigError, match="4 problems in .*mine.jsonl, expected 5"):
        load_benchmarks(config)
    config.evaluation.override.problems = 0
    assert len(load_benchmarks(config)[0].problems) == 4
    other = config_of(tmp_path / "own", "source: ../mine.jsonl\nkind: choice")
    with pytest.raises(ConfigError, match="is a problem of kind math, the benchmark's file states kind: choice"):
        load_benchmarks(other)


def test_all_files_of_a_benchmark_are_taken_from_one_folder(tmp_path, monkeypatch):
    for name, files in (("a", ["one.jsonl"]), ("b", ["one.jsonl", "two.jsonl"])):
        (tmp_path / name).mkdir()
        for index, file in enumerate(files):
            line = f'{{"problem": "Sum {index}?", "answer": "{index}"}}'
            (tmp_path / name / file).write_text(line)
    monkeypatch.setenv("VT_BENCHMARKS", str(tmp_path))
    (loaded,) = load_benchmarks(config_of(tmp_path, "source: [one.jsonl, two.jsonl]"))
    assert [(p.subdomain, Path(p.source).parent.name) for p in loaded.problems] == [("one", "b"), ("two", "b")]


def test_training_rows_are_decontaminated_against_benchmarks(tmp_path):
    config = config_of(tmp_path, "source: mine.jsonl")
    question = "A train leaves at noon and travels for three hours at sixty miles per hour. How far does it travel?"
    for name, text in (("own/mine.jsonl", question), ("train.jsonl", f"Please solve this. {question}")):
        (tmp_path / name).write_text(f'{{"problem": "{text}", "answer": "180"}}\n')
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"problem": "What is the sum of the first ten positive even numbers?", "answer": "110"}')
    config.data.train_files = [DataSource(str(tmp_path / "train.jsonl"))]
    sets = load_problem_sets(config.data, 0, benchmarks=load_benchmarks(config))
    assert [p.answer for p in sets.train] == ["110"] and sets.benchmarks[0].name == "mine"
    known = input_files(config)
    assert "mine: mine.jsonl" in known
    (tmp_path / "own" / "mine.jsonl").write_text('{"problem": "Other?", "answer": "1"}')
    assert input_files(config)["mine: mine.jsonl"] != known["mine: mine.jsonl"]


@pytest.mark.parametrize("line, is_other", [("dates: [2024-01-01, 2024-02-01]", True), ("title: Mine", False)])
def test_the_file_of_a_benchmark_is_an_input_of_the_run(tmp_path, line, is_other):
    found = []
    for name, more in (("a", ""), ("b", line)):
        config = config_of(tmp_path / name, f"source: mine.jsonl\n{more}")
        (tmp_path / name / "own" / "mine.jsonl").write_text('{"problem": "Other?", "answer": "1"}')
        found.append({key: value for key, value in input_files(config).items() if key.startswith("mine")})
    assert (found[0] != found[1]) == is_other


def test_the_date_window_is_inclusive():
    days = ["2024-07-31", "2024-08-01", "2025-01-31T00:00:00", "2025-02-01", None]
    asked = [Problem(str(i), "code", "code", f"{i}?", meta={"contest_date": day}) for i, day in enumerate(days)]
    kept = between_dates([*asked, Problem("made", "code", "code", "?")], ["2024-08-01", "2025-01-31"])
    assert [p.question_id for p in kept] == ["1", "2", "4", "made"]


def test_a_window_without_a_problem_is_an_error(tmp_path):
    config = config_of(tmp_path, "source: mine.jsonl\ndates: [2024-08-01, 2025-01-31]")
    (tmp_path / "own" / "mine.jsonl").write_text('{"problem": "Sum?", "answer": "1", "date": "2024-07-31"}')
    with pytest.raises(ConfigError, match=r"mine: no problem of .*mine.jsonl is in dates="):
        load_benchmarks(config)


def test_the_context_covers_the_longest_benchmark():
    config = composed("experiment=evaluate", "model=smollm2_135m")
    assert config.context_tokens == 2048 + 1024
    config.data.test_per_subdomain, config.evaluation.max_new_tokens = 4, 5000
    assert config.context_tokens == config.data.max_prompt_tokens + 5000
    assert composed("experiment=tiny", "evaluation.benchmarks=[aime24]").context_tokens == Benchmark().context_tokens


def test_made_problems_need_no_file_and_are_not_among_training_problems(monkeypatch):
    monkeypatch.delenv("VT_BENCHMARKS", raising=False)
    made = file_protocol("made", "")
    loaded = read_benchmark(made, made)
    assert loaded.problems == read_benchmark(made, made).problems and loaded.notes == ()
    assert {p.subdomain for p in loaded.problems[:5]} == set(SUBDOMAINS) and set(loaded.levels.values()) == {1, 2, 3}
    assert {split_of(p.question_id) for p in loaded.problems} == {"test"}
    (first,) = chosen("made", limit=3)
    assert read_benchmark(first, made).problems == loaded.problems[:3]
    config = composed("experiment=evaluate", "model=smollm2_135m", "evaluation.benchmarks=[made]")
    assert [name for name in input_files(config) if name.startswith("made")] == ["made.yaml"]


def test_made_problems_without_a_number_are_refused(tmp_path):
    folder = write(tmp_path / "own", "own", "source: made")
    with pytest.raises(ConfigError, match="source=made without problems: give their number"):
        chosen("own", benchmark_folder=folder)


def test_the_level_of_a_problem_is_the_one_that_its_row_states():
    stated = [
        {"level": "Level 5"},
        {"level": 3},
        {"difficulty": " Medium"},
        {"difficulty": 0.4},
        {"level": True},
        {},
        None,
    ]
    problems = [Problem(f"q/{i}", "d", "math", "q", level=2, meta=meta) for i, meta in enumerate(stated)]
    levels = BenchmarkProblems(Benchmark("b"), tuple(problems)).levels
    assert list(levels.values()) == [5, 3, "medium", 2, 2, 2, 2]
    assert BenchmarkProblems(Benchmark("b"), tuple(problems[5:])).levels == {}, "one level divides nothing"
