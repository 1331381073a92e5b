"""The three problem sets: disjoint by question, from made problems and the user's files."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from vt_ray.config import ConfigError, DataConfig, DataSource, StageConfig
from vt_ray.data.problem_sets import fitting, load_problem_sets, refuse_without_solutions, stage_problems
from vt_ray.data.prompts import PromptEncoder

SPLITS = ("train", "probe", "test")


def data(**changes):
    counts = {"train_per_subdomain": 6, "probe_per_subdomain": 3, "test_per_subdomain": 3}
    return DataConfig(**{"subdomains": ["algebra", "code"], **counts, **changes})


def write(path, *questions):
    rows = [
        {
            "question_id": f"{path.stem}-{i}",
            "kind": "math",
            "subdomain": "physics",
            "question": q,
            "answer": "1",
        }
        for i, q in enumerate(questions)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSource(path=str(path))


def test_made_problems_count_by_subdomain_and_share_no_question():
    sets = load_problem_sets(data(), seed=0)
    for split, count in zip(SPLITS, (6, 3, 3), strict=True):
        problems = getattr(sets, split)
        assert Counter(p.subdomain for p in problems) == {"algebra": count, "code": count}
    everything = [p.question for split in SPLITS for p in getattr(sets, split)]
    assert len(set(everything)) == len(everything)


def test_the_seed_decides_and_nothing_else():
    assert load_problem_sets(data(), 0) == load_problem_sets(data(), 0)
    assert load_problem_sets(data(), 0).train != load_problem_sets(data(), 1).train


def test_files_come_on_top_of_the_made_problems(tmp_path):
    sets = load_problem_sets(
        data(
            train_files=[
                write(tmp_path / "a.jsonl", "Mass?", "Force?"),
                write(tmp_path / "b.jsonl", "Speed?"),
            ]
        ),
        0,
    )
    assert Counter(p.subdomain for p in sets.train) == {"algebra": 6, "code": 6, "physics": 3}
    assert {p.source for p in sets.train if p.subdomain == "algebra"} == {"builtin"}
    assert {p.source for p in sets.train if p.subdomain == "physics"} == {
        str(tmp_path / "a.jsonl"),
        str(tmp_path / "b.jsonl"),
    }


def test_files_alone_and_a_subdomain_of_ones_own(tmp_path):
    zero = {f"{split}_per_subdomain": 0 for split in SPLITS}
    files = {f"{split}_files": [write(tmp_path / f"{split}.jsonl", f"What of {split}?")] for split in SPLITS}
    files["test_files"][0].subdomain = "my field"
    sets = load_problem_sets(data(**zero, **files), 0)
    assert [p.question for p in sets.train + sets.probe + sets.test] == [f"What of {s}?" for s in SPLITS]
    assert [p.subdomain for p in sets.train + sets.test] == ["physics", "my field"]


@pytest.mark.parametrize(("one", "other"), [("train", "probe"), ("train", "test"), ("probe", "test")])
@pytest.mark.parametrize("copy", ["What is 3 + 4?", "  what IS 3+4 ", "What is\n3 + 4!?"])
def test_a_question_in_two_sets_is_refused_with_both_ids(tmp_path, one, other, copy):
    files = {
        f"{one}_files": [write(tmp_path / "one.jsonl", "Unlike?", "What is 3 + 4?")],
        f"{other}_files": [write(tmp_path / "other.jsonl", copy)],
    }
    with pytest.raises(ConfigError) as refused:
        load_problem_sets(data(**files, decontaminate="off"), 0)
    for part in ("one-1", "other-0", one, other):
        assert part in str(refused.value)


def test_a_made_question_in_a_file_is_refused(tmp_path):
    made = load_problem_sets(data(), 0).test[0]
    with pytest.raises(ConfigError) as refused:
        load_problem_sets(data(train_files=[write(tmp_path / "leak.jsonl", made.question)], decontaminate="off"), 0)
    assert made.question_id in str(refused.value)
    assert "leak-0" in str(refused.value)


def test_questions_that_differ_in_a_number_or_an_operator_are_not_the_same(tmp_path):
    files = {
        "train_files": [write(tmp_path / "a.jsonl", "What is 3 + 4?", "Is x < 2?")],
        "test_files": [write(tmp_path / "b.jsonl", "What is 3 - 4?", "What is 3 + 5?", "Is x > 2?")],
    }
    assert len(load_problem_sets(data(**files), 0).test) == 6 + 3


def test_one_id_for_two_questions_of_different_files_is_refused(tmp_path):
    # Groups, scores and the tracker's history are kept by id: two questions behind one id would be mixed.
    files = [write(tmp_path / "a" / "train.jsonl", "Mass?"), write(tmp_path / "b" / "train.jsonl", "Force?")]
    with pytest.raises(ConfigError, match="train-0"):
        load_problem_sets(data(train_files=files), 0)


def test_a_stage_trains_on_its_subdomains_or_all_and_refuses_a_pool_below_a_step():
    train = load_problem_sets(data(), 0).train
    code = [p for p in train if p.subdomain == "code"]
    assert stage_problems(StageConfig("s", ["code", "physics"], prompts_per_step=6), train) == code
    assert stage_problems(StageConfig("s", [], prompts_per_step=12), train) == train
    for subdomains, prompts in ((["physics"], 1), (["code"], 7), ([], 13)):
        with pytest.raises(ConfigError, match=f"stage s takes {prompts} prompts"):
            stage_problems(StageConfig("s", subdomains, prompts_per_step=prompts), train)


def test_training_problems_without_solutions_of_the_styles_are_refused():
    train = load_problem_sets(data(), 0).train
    refuse_without_solutions(train, [])
    refuse_without_solutions(train, ["steps"])
    with pytest.raises(ConfigError, match=r"styles=\['reference'\].*'checked', 'direct', 'steps'"):
        refuse_without_solutions(train, ["reference"])
    with pytest.raises(ConfigError, match="no source for SFT has a trace or a worked solution"):
        refuse_without_solutions([replace(p, solutions=()) for p in train], [])


# --- prompts over the limit ----------------------------------------------------------------------------------


class LettersTokenizer:
    """One token per letter."""

    def apply_chat_template(self, messages, add_generation_prompt, return_dict=False, tokenize=True):
        chat = "".join(message["content"] for message in messages)
        return [ord(letter) for letter in chat] if tokenize else chat


def sets_of(tmp_path, **changes):
    """Three sets; in the training file rows 2 and 4 have prompts of 30 and 50 tokens, in the test file row 1 of 40."""
    zero = {f"{split}_per_subdomain": 0 for split in SPLITS}
    files = {
        "train_files": [write(tmp_path / "train.jsonl", "a" * 10, "b" * 30, "c" * 20, "d" * 50)],
        "probe_files": [write(tmp_path / "probe.jsonl", "e" * 9)],
        "test_files": [write(tmp_path / "test.jsonl", "f" * 40, "g" * 8)],
    }
    config = data(**zero, **files, max_prompt_tokens=20, **changes)
    return load_problem_sets(config, 0), PromptEncoder(LettersTokenizer(), config)


def test_all_prompts_over_the_limit_are_counted_and_named_at_once(tmp_path):
    with pytest.raises(ConfigError) as refused:
        fitting(*sets_of(tmp_path))
    assert str(refused.value) == (
        f"3 of 7 prompts are longer than data.max_prompt_tokens=20; the longest has 50 tokens ({tmp_path}/train.jsonl, "
        f"row 4; {tmp_path}/test.jsonl, row 1: 40; {tmp_path}/train.jsonl, row 2: 30): raise it to 50 or set "
        "data.drop_overlong=true, which leaves them out"
    )


def test_prompts_over_the_limit_are_left_out_on_demand(tmp_path, capsys):
    sets, encoder = sets_of(tmp_path, drop_overlong=True)
    kept = fitting(sets, encoder)
    assert [[len(p.question) for p in getattr(kept, split)] for split in SPLITS] == [[10, 20], [9], [8]]
    said = capsys.readouterr().out
    assert "3 of 7 prompts" in said and "row 4" in said and "left out" in said
    assert fitting(kept, encoder) == kept and capsys.readouterr().out == ""


def test_a_set_without_a_prompt_that_fits_is_refused(tmp_path):
    sets, encoder = sets_of(tmp_path, drop_overlong=True)
    with pytest.raises(ConfigError, match="leaves no problem in the test set"):
        fitting(replace(sets, test=sets.test[:1]), encoder)
