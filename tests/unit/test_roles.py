"""What each source is for: uses, filters, bad rows, limits, mixtures, and the counts of each source."""

import json
import pickle
from collections import Counter

import numpy as np
import pytest

from vt_ray.algorithms.learning_rate import with_steps
from vt_ray.config import Config, ConfigError, DataConfig, DataSource, SftConfig, StageConfig
from vt_ray.data.copies import COPY
from vt_ray.data.metadata import matches, row_meta
from vt_ray.data.mixture import Mixture
from vt_ray.data.problem_rows import ContradictionError, MissingGoldError, ProblemFileError, RowError
from vt_ray.data.problem_sets import fitting, load_problem_sets, stage_mixture
from vt_ray.data.prompts import PromptEncoder
from vt_ray.data.readers import read_problems, read_source
from vt_ray.data.roles import all_sources, roles
from vt_ray.data.source_report import write_sources
from vt_ray.data.stream import batch_indices, refill_indices
from vt_ray.planning.validate import validate
from vt_ray.spectrum_phase.examples import encoded_examples, measured


class LettersTokenizer:
    """One token a character."""

    eos_token_id, eos_token = 3, chr(3)

    def __call__(self, texts, add_special_tokens):
        return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    def apply_chat_template(self, messages, add_generation_prompt, return_dict=False, tokenize=True):
        chat = "".join(message["content"] for message in messages)
        return [ord(letter) for letter in chat] if tokenize else chat

    def decode(self, ids):
        return "".join(map(chr, ids))


def write(path, *rows):
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return str(path)


def problem(i, **more):
    return {"problem": f"What is {i} plus {i}?", "answer": str(2 * i), "solution": f"by hand {i}", **more}


def openr1(i, **more):
    return {**problem(i), "generations": [f"<think>r{i}</think>A{i}"], "correctness_math_verify": [True], **more}


def data(*sources, **more):
    none = {f"{split}_per_subdomain": 0 for split in ("train", "probe", "test")}
    return DataConfig(subdomains=["algebra"], sources=list(sources), **(none | more))


def load(*sources, **more):
    return load_problem_sets(data(*sources, **more), 0)


def encoder(config=None):
    return PromptEncoder(LettersTokenizer(), config or DataConfig())


def learned(sets, tmp_path, **sft):
    examples = encoded_examples(encoder(), sets, SftConfig(styles=[], **sft), tmp_path / "examples")
    return ["".join(map(chr, e.completion_ids)).removesuffix(chr(3)) for e in examples]


# --- uses ----------------------------------------------------------------------------------------------------


def test_the_short_forms_are_sources_with_a_use():
    short = DataConfig(
        train_files=[DataSource("a"), DataSource("b", use=["rl"])],
        probe_files=[DataSource("c")],
        test_files=[DataSource("d")],
        trace_files=[DataSource("e")],
        sources=[DataSource("f", use=["sft", "rl"])],
    )
    assert [(s.path, s.use) for s in all_sources(short)] == [
        ("a", ["sft", "rl"]),
        ("b", ["rl"]),
        ("c", ["probe"]),
        ("d", ["test"]),
        ("e", ["sft"]),
        ("f", ["sft", "rl"]),
    ]
    assert short.train_files[0].use == []


def test_a_solution_of_a_source_for_rl_is_not_learnt(tmp_path):
    sets = load(DataSource(write(tmp_path / "a.jsonl", problem(1), problem(2)), use=["rl"]))
    assert [p.answer for p in sets.train] == ["2", "4"]
    assert not any(p.solutions for p in sets.solved)
    with pytest.raises(ConfigError, match="no worked solution"):
        learned(sets, tmp_path)


def test_a_source_for_sft_is_not_asked_in_rl_and_may_share_questions_with_one_for_rl(tmp_path):
    both = DataSource(write(tmp_path / "rl.jsonl", problem(1), problem(2)), use=["rl"])
    sets = load(both, DataSource(write(tmp_path / "sft.jsonl", problem(2), problem(3)), use=["sft"]))
    assert [p.answer for p in sets.train] == ["2", "4"]
    assert learned(sets, tmp_path) == ["by hand 2", "by hand 3"]


def test_a_question_of_two_sources_is_asked_once_and_keeps_the_solutions_of_both(tmp_path):
    first = write(tmp_path / "a.jsonl", problem(1), problem(2, solution="a"))
    second = write(tmp_path / "b.jsonl", problem(2, solution="b", answer="4.0", uuid="own"), problem(3))
    sets = load(DataSource(first, use=["sft", "rl"]), DataSource(second, use=["sft", "rl"]))
    assert [(p.answer, [s.text for s in p.solutions]) for p in sets.train] == [
        ("2", ["by hand 1"]),
        ("4", ["a", "b"]),
        ("6", ["by hand 3"]),
    ]
    assert [(r.rows, r.questions, dict(r.left_out)) for r in sets.sources] == [(2, 2, {}), (2, 1, {COPY: 1})]
    sets = load(DataSource(first, use=["sft", "rl"]), DataSource(second, use=["rl"]))
    assert [s.text for p in sets.train for s in p.solutions] == ["by hand 1", "a"]


@pytest.mark.parametrize("use", ["probe", "test"])
def test_a_question_of_two_probing_or_test_files_is_asked_once(tmp_path, use):
    first, second = (write(tmp_path / f"{n}.jsonl", *map(problem, of)) for n, of in (("a", (1, 2)), ("b", (2, 3))))
    sets = load(DataSource(first, use=[use]), DataSource(second, use=[use]))
    assert [p.answer for p in getattr(sets, use)] == ["2", "4", "6"]
    assert [(r.rows, r.questions, dict(r.left_out)) for r in sets.sources] == [(2, 2, {}), (2, 1, {COPY: 1})]
    other = write(tmp_path / "c.jsonl", problem(2, answer="5"))
    with pytest.raises(ConfigError, match="c.jsonl, row 1: the question of .*a.jsonl, row 2.* with another answer"):
        load(DataSource(first, use=[use]), DataSource(other, use=[use]))


def test_two_sources_with_another_answer_to_one_question_are_an_error_or_the_later_row_is_bad(tmp_path):
    first = DataSource(write(tmp_path / "a.jsonl", *map(problem, range(9))), use=["rl"])
    path = write(tmp_path / "b.jsonl", problem(2, answer="5"), *map(problem, range(20, 50)))
    with pytest.raises(ConfigError, match=r"b.jsonl, row 1: the question of .*a.jsonl, row 3 with another answer"):
        load(first, DataSource(path, use=["rl"]))
    sets = load(first, DataSource(path, use=["rl"], on_bad_row="skip"))
    assert len(sets.train) == 39 and [p.answer for p in sets.train if p.question == "What is 2 plus 2?"] == ["4"]
    report = sets.sources[1]
    assert (report.rows, report.questions, [error.row for error in report.bad]) == (31, 30, [1])


def test_rows_are_counted_for_their_own_source_of_the_file(tmp_path):
    path = write(tmp_path / "a.jsonl", *(problem(i, level=1 + (i > 6)) for i in range(10)))
    test = DataSource(write(tmp_path / "test.jsonl", problem(8)), use=["test"])
    twice = [DataSource(path, use=["rl"], where={"level": level}) for level in (1, 2)]
    assert [r.questions for r in load(*twice, test).sources] == [7, 2, 1]
    sets = load(DataSource(path, use=["rl"]), DataSource(path, use=["sft"], weight=3), test)
    assert [r.questions for r in sets.sources] == [9, 9, 1]
    examples = encoded_examples(encoder(), sets, SftConfig(styles=[]), tmp_path / "examples")
    assert examples.mixture.shares.tolist() == [0, 1, 0]


def test_a_source_for_sft_without_anything_to_learn_is_refused(tmp_path):
    row = {name: value for name, value in problem(1).items() if name != "solution"}
    with pytest.raises(ConfigError, match="no row has a trace or a worked solution"):
        load(DataSource(write(tmp_path / "a.jsonl", row), use=["sft"]))


def test_one_file_serves_rl_with_its_problems_and_sft_with_its_traces(tmp_path):
    path = write(tmp_path / "openr1.jsonl", openr1(1), openr1(2))
    sets = load(DataSource(path, use=["sft", "rl"]))
    assert [p.answer for p in sets.train] == ["2", "4"]
    assert learned(sets, tmp_path) == ["<think>\nr1\n</think>\n\nA1", "<think>\nr2\n</think>\n\nA2"]
    (report,) = sets.sources
    assert (report.rows, report.questions, report.traces) == (2, 2, 2)


def test_train_files_without_use_learn_worked_solutions_as_before(tmp_path):
    path = write(tmp_path / "openr1.jsonl", openr1(1))
    assert learned(load(train_files=[DataSource(path)]), tmp_path) == ["by hand 1"]
    assert [role.traces for role in roles(DataConfig(train_files=[DataSource(path, use=["sft"])]))] == [True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": [DataSource(__file__)]}, r"data.sources: .*: use is empty: say what"),
        ({"sources": [DataSource(__file__, use=["train"])]}, "use='train' must be one of sft, rl, probe, test"),
        ({"sources": [DataSource(__file__, use=["rl", "test"])]}, "a probing or test problem has no other use"),
        ({"train_files": [DataSource(__file__, use=["test"])]}, "use='test' must be one of sft, rl"),
        ({"sources": [DataSource("/none", use=["rl"])]}, "data.sources: '/none' is no file"),
        ({"train_files": [DataSource(__file__, max_rows=-1)]}, "max_rows=-1 must be at least 0"),
        (
            {"train_files": [DataSource(__file__, on_bad_row="ignore")]},
            "on_bad_row='ignore' must be one of error, skip",
        ),
        ({"train_files": [DataSource(__file__, max_bad_share=2)]}, r"max_bad_share=2 must lie in \[0, 1\]"),
        ({"train_files": [DataSource(__file__, use=["rl"], on_overlong="truncate")]}, "truncate cuts traces"),
        ({"train_files": [DataSource(__file__, where={"level": []})]}, "matches no row"),
        ({"train_files": [DataSource(__file__, where={"level": {"least": 1}})]}, "expected {min: A, max: B}"),
        (
            {
                "train_files": [DataSource(__file__, weight=1.0), DataSource(f"{__file__}", weight=None)],
                "train_per_subdomain": 0,
            },
            "all of them need one above 0",
        ),
        ({"train_files": [DataSource(__file__, weight=1.0)]}, "generated problems have no weight"),
    ],
)
def test_settings_of_a_source_that_cannot_work_are_refused(changes, message):
    config = Config()
    for name, value in changes.items():
        setattr(config.data, name, value)
    with pytest.raises(ConfigError, match=message):
        validate(config)


# --- filters -------------------------------------------------------------------------------------------------


def test_metadata_are_the_short_values_that_are_no_text_of_the_problem():
    row = {
        "problem": "P",
        "answer": "1",
        "final_answer": "1",
        "problem_type": "Algebra",
        "llama8b_solve_rate": 0.25,
        "licence": "MIT",
        "tests": "x",
        "notes": "a" * 101,
        "list": [1],
        "none": None,
        "nan": float("nan"),
        "extra_info": {"level": "Level 5", "index": 7, "answer": "1"},
        "reward_model": {"ground_truth": "1", "style": "rule"},
    }
    assert row_meta(row) == {
        "problem_type": "Algebra",
        "llama8b_solve_rate": 0.25,
        "licence": "MIT",
        "level": "Level 5",
        "index": 7,
        "style": "rule",
    }


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"source": "AIME"}, True),
        ({"source": ["amc", "aime"]}, True),
        ({"source": "amc"}, False),
        ({"level": [4, 5]}, True),
        ({"level": {"max": 4}}, False),
        ({"rate": {"min": 0.2, "max": 0.8}}, True),
        ({"rate": {"min": 0.31}}, False),
        ({"rate": "0.30"}, True),
        ({"date": {"min": "2024-08-01"}}, True),
        ({"date": {"min": "2024-08", "max": "2024-08"}}, True),
        ({"date": {"max": "2024-07"}}, False),
        ({"source": {"min": 3}}, False),
        ({"source": "aime", "rate": 0.3}, True),
        ({"source": "aime", "rate": 0.4}, False),
    ],
)
def test_where_compares_values_lists_and_ranges(where, expected):
    meta = {"source": "aime", "level": "Level 5", "rate": 0.3, "date": "2024-08-15"}
    assert matches(where, meta) == expected


def test_a_level_that_the_row_states_is_not_the_level_1_of_its_layout(tmp_path):
    rows = [{"question": "What is 1 + 1?", "answer": "so it is\n#### 2", "level": 3}, problem(4, level="Level 4")]
    path = write(tmp_path / "a.jsonl", *rows, problem(5))
    assert [p.row for p in read_problems(path, where={"level": 3})] == [1]
    assert [p.row for p in read_problems(path, where={"level": {"min": 3}})] == [1, 2]
    assert [p.row for p in read_problems(path, where={"level": 1})] == [3]


def test_not_a_number_lies_in_no_range():
    assert not matches({"rate": {"min": 0.2}}, {"rate": "NaN"})
    assert not matches({"rate": {"max": 0.8}}, {"rate": "nan"})
    assert matches({"rate": {"min": 0.2}}, {"rate": "0.5"})


def test_rows_that_do_not_match_are_counted_and_an_unknown_name_is_refused(tmp_path):
    rows = [problem(i, level=f"Level {i}", source="aime" if i % 2 else "amc") for i in range(1, 6)]
    source = DataSource(write(tmp_path / "a.jsonl", *rows), where={"level": {"min": 2}, "source": "aime"})
    read = read_source(source)
    assert [p.answer for p in read.problems] == ["6", "10"]
    assert read.left_out == {"not in `where`": 3}
    assert read.problems[0].meta["source"] == "aime"
    source.where = {"dificulty": 1}
    with pytest.raises(ProblemFileError, match="where has 'dificulty', which no row has: expected names among kind"):
        read_source(source)
    source.where = {"source": "imo"}
    with pytest.raises(ProblemFileError, match=r"where=\{'source': 'imo'\} matches none of its 5 rows"):
        read_source(source)


def test_where_and_max_rows_choose_traces_too(tmp_path):
    path = write(tmp_path / "a.jsonl", *[openr1(i, source="aime" if i % 2 else "amc") for i in range(1, 8)])
    sets = load(DataSource(path, use=["sft"], where={"source": "aime"}, max_rows=2))
    assert [text[-2:] for text in learned(sets, tmp_path)] == ["A1", "A3"]
    with pytest.raises(ConfigError, match="where has 'x', which no row has"):
        load(DataSource(path, use=["sft"], where={"x": 1}))


def test_max_rows_takes_the_first_rows(tmp_path):
    path = write(tmp_path / "a.jsonl", *map(problem, range(1, 9)))
    assert [p.answer for p in read_problems(path, max_rows=3)] == ["2", "4", "6"]


# --- bad rows ------------------------------------------------------------------------------------------------

BAD = ['{"problem": "cut', "[1, 2]", {"problem": "", "answer": "1"}, {"problem": "no answer"}, {"q": "?"}]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row_is_an_error_with_its_row_or_is_left_out(tmp_path, bad):
    path = write(tmp_path / "a.jsonl", problem(1), bad, problem(2))
    with pytest.raises(RowError, match=r"a.jsonl, row 2"):
        read_problems(path)
    read = read_source(DataSource(path, on_bad_row="skip", max_bad_share=0.4))
    assert [p.answer for p in read.problems] == ["2", "4"]
    assert ([error.row for error in read.bad], read.rows) == ([2], 3)
    with pytest.raises(ProblemFileError, match="1 of 3 rows are bad, more than max_bad_share=0.05; the first: .*row 2"):
        read_problems(path, on_bad_row="skip")


def test_a_line_that_is_not_utf8_is_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    first, last = (json.dumps(problem(i)).encode() for i in (1, 2))
    path.write_bytes(first + b'\n{"problem": "\xff"}\n' + last)
    read = read_source(DataSource(str(path), on_bad_row="skip", max_bad_share=0.5))
    assert len(read.problems) == 2 and "not UTF-8" in read.bad[0].fault


def test_csv_rows_with_lost_cells_are_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("problem,answer\nOne plus one?,2\nlost\nTwo plus two?,4\n")
    read = read_source(DataSource(str(path), on_bad_row="skip", max_bad_share=0.5))
    assert [p.answer for p in read.problems] == ["2", "4"] and read.bad[0].row == 2


@pytest.mark.parametrize("kind", [RowError, ContradictionError, MissingGoldError])
def test_an_error_of_a_row_passes_from_process_to_process(kind):
    error = pickle.loads(pickle.dumps(kind("a.jsonl", 3, "no answer")))
    assert (type(error), str(error)) == (kind, "a.jsonl, row 3: no answer")
    assert (error.path, error.row, error.fault) == ("a.jsonl", 3, "no answer")


def test_bad_rows_of_traces_are_left_out_and_listed_in_the_run_folder(tmp_path):
    path = write(tmp_path / "a.jsonl", openr1(1), {"problem": "lost"}, openr1(2))
    with pytest.raises(ConfigError, match=r"a.jsonl, row 2: the fields"):
        load(DataSource(path, use=["sft"]))
    sets = load(DataSource(path, use=["sft"], on_bad_row="skip", max_bad_share=0.4))
    assert len(learned(sets, tmp_path)) == 2
    write_sources(sets.sources, tmp_path / "data/sources.json", tmp_path / "data/bad_rows.jsonl")
    (line,) = map(json.loads, (tmp_path / "data/bad_rows.jsonl").read_text().splitlines())
    assert (line["file"], line["row"]) == (path, 2) and "the fields" in line["reason"]
    (source,) = json.loads((tmp_path / "data/sources.json").read_text())["sources"]
    assert (source["rows"], source["bad_rows"], source["traces"], source["use"]) == (3, 1, 2, ["sft"])


# --- limits --------------------------------------------------------------------------------------------------


def test_each_source_decides_on_its_long_prompts(tmp_path):
    long = {**problem(2), "problem": "long " * 10}
    sources = [
        DataSource(write(tmp_path / "a.jsonl", problem(1), long), use=["rl"], on_overlong="drop"),
        DataSource(write(tmp_path / "b.jsonl", problem(3)), use=["test"]),
    ]
    config = data(*sources, max_prompt_tokens=30)
    kept = fitting(load_problem_sets(config, 0), encoder(config))
    assert len(kept.train) == 1 and "prompt over data.max_prompt_tokens" in str(kept.sources[0])
    assert kept.sources[0].questions == 1
    sources[0].on_overlong, config.drop_overlong = "error", True
    with pytest.raises(ConfigError, match="1 of 3 prompts are longer"):
        fitting(load_problem_sets(config, 0), encoder(config))


@pytest.mark.parametrize(("rule", "lengths"), [("", [5]), ("drop", [5]), ("truncate", [5, 29])])
def test_long_traces_are_left_out_or_cut(tmp_path, rule, lengths):
    rows = [{"prompt": "a", "completion": "abcd"}, {"prompt": "a", "completion": "b" * 90}]
    sets = load(DataSource(write(tmp_path / "a.jsonl", *rows), use=["sft"], on_overlong=rule))
    examples = encoded_examples(encoder(), sets, SftConfig(styles=[], max_tokens=30), tmp_path / "e")
    assert [len(e.completion_ids) for e in examples] == lengths
    assert (3 in examples[-1].completion_ids) == (rule != "truncate")


def test_long_traces_may_be_an_error_before_anything_is_written(tmp_path):
    rows = [{"prompt": "a", "completion": "abcd"}, {"prompt": "a", "completion": "b" * 90}]
    sets = load(DataSource(write(tmp_path / "a.jsonl", *rows), use=["sft"], on_overlong="error"))
    with pytest.raises(ConfigError, match="1 traces or solutions of .*max_tokens=30, the longest example has 92"):
        measured(encoder(), sets, SftConfig(styles=[], max_tokens=30))
    with pytest.raises(ConfigError, match="on_overlong=error"):
        encoded_examples(encoder(), sets, SftConfig(styles=[], max_tokens=30), tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_epochs_replace_steps():
    sft = SftConfig(steps=7, batch_size=8)
    assert with_steps(sft, 100).steps == 7
    sft.epochs = 2
    assert with_steps(sft, 100).steps == 24
    sft.epochs = 0.01
    assert with_steps(sft, 5).steps == 1


# --- mixtures ------------------------------------------------------------------------------------------------


def test_a_mixture_gives_each_source_its_share_of_every_batch_and_repeats_no_item():
    sources = [0] * 500 + [1] * 40 + [2] * 60
    mixture = Mixture(sources, [1.0, 1.0, 0.5])
    steps = [batch_indices(600, 16, step, (0, "s"), mixture) for step in range(400)]
    assert all(len({*batch}) == 16 for batch in steps)
    counts = [Counter(sources[i] for i in batch) for batch in steps]
    for source, share in enumerate((0.4, 0.4, 0.2)):
        found = [count[source] for count in counts]
        assert set(found) <= {int(16 * share), int(16 * share) + 1}
        assert np.mean(found) == pytest.approx(16 * share, abs=0.1)
    assert {i for batch in steps for i in batch} == set(range(600))
    assert steps[3] == batch_indices(600, 16, 3, (0, "s"), mixture)
    assert sorted(refill_indices(600, ("r",), mixture)) == list(range(600))


def test_a_source_that_the_stage_leaves_out_has_no_share():
    mixture = Mixture([0, 0, 2, 2], [1.0, 5.0, 1.0])
    assert list(mixture.shares) == [0.5, 0, 0.5]
    assert sorted(batch_indices(4, 4, 0, (0,), mixture)) == [0, 1, 2, 3]


def test_weights_are_those_of_the_sources_and_too_small_a_source_is_refused(tmp_path):
    big = DataSource(write(tmp_path / "big.jsonl", *map(problem, range(1, 30))), use=["sft", "rl"], weight=3)
    small = DataSource(write(tmp_path / "small.jsonl", *map(problem, range(40, 43))), use=["sft", "rl"], weight=1)
    sets = load(big, small)
    mixture = stage_mixture(StageConfig("s", prompts_per_step=8), sets.train, sets.sources)
    assert list(mixture.shares) == [0.75, 0.25] and Counter(mixture.sources) == {0: 29, 1: 3}
    with pytest.raises(ConfigError, match=r"weight=1 of .*small.jsonl asks for 4 of 16 prompts a step, it has 3"):
        stage_mixture(StageConfig("s", prompts_per_step=16), sets.train, sets.sources)
    examples = encoded_examples(encoder(), sets, SftConfig(styles=[]), tmp_path / "e")
    assert Counter(examples.mixture.sources) == {0: 29, 1: 3} and list(examples.mixture.shares) == [0.75, 0.25]
    big.weight = small.weight = None
    plain = load(big, small)
    assert stage_mixture(StageConfig("s", prompts_per_step=8), plain.train, plain.sources) is None
