"""Equal short texts of many rows are one object in memory."""

import json

from vt_ray.data.readers import read_problems
from vt_ray.data.shared_text import shared, shared_dict


def test_frequent_short_texts_are_one_object_and_long_ones_are_not_kept():
    frequent = "".join(["al", "gebra"])
    assert all(shared("".join(["al", "gebra"])) is shared(frequent) and shared(f"id {i}") for i in range(10_000))
    long = "x" * 1_000
    assert shared(long) is long and shared("x" * 1_000) is not long


def test_the_problems_of_a_file_share_answers_subdomains_and_metadata(tmp_path):
    rows = [{"problem": f"{i} + 1 - {i}?", "answer": "1 apple", "subject": "sums", "source": "a b"} for i in range(3)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first, *others = read_problems(tmp_path / "a.jsonl")
    for problem in others:
        assert problem.answer is first.answer and problem.subdomain is first.subdomain
        assert problem.meta["source"] is first.meta["source"]


def test_frequent_metadata_are_one_dict_and_types_differ():
    values = {"level": 1, "source": "amc"}
    first = shared_dict(values)
    assert first == values and all(shared_dict({**values}) is first for _ in range(3))
    assert [type(shared_dict({"level": value})["level"]) for value in (1, 1.0, True, 1)] == [int, float, bool, int]
    assert shared_dict({}) == {} and list(shared_dict({"b": 1, "a": 2})) == ["b", "a"]


def test_rows_with_ids_share_their_metadata_and_where_may_name_an_id(tmp_path):
    rows = [{"problem": f"{i} + 1?", "answer": f"{i + 1}", "id": f"row-{i}", "source": "amc"} for i in range(4)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    problems = read_problems(tmp_path / "a.jsonl")
    assert [p.question_id for p in problems] == [row["id"] for row in rows]
    assert problems[0].meta == {"source": "amc"} and all(p.meta is problems[0].meta for p in problems)
    (second,) = read_problems(tmp_path / "a.jsonl", where={"id": "row-2"})
    assert second.question == "2 + 1?"
