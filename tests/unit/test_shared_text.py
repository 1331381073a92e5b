"""Equal short texts of many rows are one object in memory."""

import json

from vt_ray.data.readers import read_problems
from vt_ray.data.shared_text import shared


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
