"""The subdomains of problems of files: renamed by data.subdomain_map, given by data.subdomain_file."""

import json

import pytest

from vt_ray.config import Config, ConfigError, DataConfig, DataSource
from vt_ray.data.layouts.layout import question_hash
from vt_ray.data.problem_sets import load_problem_sets
from vt_ray.planning.validate import validate
from vt_ray.run.inputs import input_files

QUESTIONS = {"Mass of a cube?": "Physics", "Area of a cube?": "Solid Geometry", "Sum of a set?": "algebra"}


@pytest.fixture
def train(tmp_path):
    rows = [
        {"question_id": f"q{i}", "kind": "math", "subdomain": subdomain, "question": question, "answer": "1"}
        for i, (question, subdomain) in enumerate(QUESTIONS.items())
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSource(path=str(path))


def subdomains_of(train, **changes):
    made = {"subdomains": ["algebra"], "train_per_subdomain": 1, "probe_per_subdomain": 1, "test_per_subdomain": 1}
    return [p.subdomain for p in load_problem_sets(DataConfig(train_files=[train], **made, **changes), 0).train]


def written(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


def test_the_map_renames_the_subdomains_of_files_whatever_their_case(train):
    mapped = subdomains_of(train, subdomain_map={"PHYSICS": "science", "solid geometry": "geometry", "Algebra": "sums"})
    assert mapped == ["algebra", "science", "geometry", "sums"]  # the first problem is generated


def test_a_new_name_may_be_there_already_and_names_may_be_swapped(train):
    assert (
        subdomains_of(train, subdomain_map={"Physics": "algebra", "solid geometry": "algebra"})[1:] == ["algebra"] * 3
    )
    swapped = subdomains_of(train, subdomain_map={"physics": "algebra", "algebra": "Physics", "solid geometry": "x"})
    assert swapped[1:] == ["algebra", "x", "Physics"]


def test_subdomains_without_an_entry_are_refused_with_their_names_and_counts(train):
    with pytest.raises(ConfigError, match=r"'Solid Geometry' \(1\), 'algebra' \(1\): add each"):
        subdomains_of(train, subdomain_map={"Physics": "science"})


def test_a_subject_that_its_layout_shortens_may_be_named_as_the_row_has_it(tmp_path):
    subjects = ("Prealgebra", "Algebra", "Intermediate Algebra", "Number Theory")
    rows = [{"problem": f"{s}?", "answer": "1", "subject": s, "level": 1, "unique_id": s} for s in subjects]
    path = tmp_path / "math.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mapped = subdomains_of(
        DataSource(path=str(path)), subdomain_map={"Prealgebra": "easy", "algebra": "hard", "number theory": "numbers"}
    )
    assert mapped[1:] == ["easy", "hard", "hard", "numbers"]


@pytest.mark.parametrize(("names", "message"), [({"a": " "}, "no name for 'a'"), ({"A": "x", "a": "y"}, "case alone")])
def test_a_map_with_an_empty_name_or_two_keys_that_differ_in_case_is_refused(train, names, message):
    with pytest.raises(ConfigError, match=message):
        subdomains_of(train, subdomain_map=names)


def test_the_file_gives_subdomains_by_id_and_by_hash_and_prints_the_rest(train, tmp_path, capsys):
    problems = load_problem_sets(DataConfig(train_files=[train]), 0).train
    (cube,) = (p for p in problems if p.question == "Area of a cube?")
    path = written(
        tmp_path / "subdomains.json", {"q0": "mechanics", question_hash(cube): "geometry", "gone": "algebra"}
    )
    assert subdomains_of(train, subdomain_file=path) == ["algebra", "mechanics", "geometry", "algebra"]
    assert "no entry for 1 of 3 questions" in capsys.readouterr().out


def test_the_map_renames_what_the_file_gives(train, tmp_path):
    path = written(tmp_path / "subdomains.json", {"q0": "other", "q1": "geometry", "q2": "geometry"})
    mapped = subdomains_of(train, subdomain_file=path, subdomain_map={"other": "mixed", "geometry": "geometry"})
    assert mapped[1:] == ["mixed", "geometry", "geometry"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"q7": "algebra"}, "none of its 1 entries is one of the 3 questions"),
        ({}, "at least one entry"),
        (["algebra"], "at least one entry"),
        ({"q0": 3}, "subdomain of 'q0' is 3"),
        ({"q0": " "}, "subdomain of 'q0' is ' '"),
        ('{"q0": "a", "q0": "b"}', "'q0' is there twice"),
        ('{"q0": "a"', "vt-tools classify"),
        ("[" * 100_000, "vt-tools classify"),
    ],
)
def test_a_file_of_another_form_or_of_other_questions_is_refused(train, tmp_path, content, message):
    with pytest.raises(ConfigError, match=message):
        subdomains_of(train, subdomain_file=written(tmp_path / "subdomains.json", content))


def test_a_missing_file_is_refused_before_the_start_and_an_edited_file_is_another_input(tmp_path):
    config = Config(data=DataConfig(subdomain_file=str(tmp_path / "no.json")))
    with pytest.raises(ConfigError, match="no.json' is no file: make it with vt-tools classify"):
        validate(config)
    before = input_files_after_writing(config, {"a": "b"})
    assert (
        before[config.data.subdomain_file] != input_files_after_writing(config, {"a": "c"})[config.data.subdomain_file]
    )


def input_files_after_writing(config, value):
    with open(config.data.subdomain_file, "w") as file:
        json.dump(value, file)
    return input_files(config)
