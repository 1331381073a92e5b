"""data.solved_share: worked solutions for a share of the training questions, answers for all."""

from collections import Counter
from dataclasses import replace

import pytest

from vt_ray.config import ConfigError, DataConfig, DataSource
from vt_ray.data.problem_sets import load_problem_sets
from vt_ray.data.solved_share import with_solved_share

COUNTS = {"train_per_subdomain": 20, "probe_per_subdomain": 3, "test_per_subdomain": 3}


def sets(share, seed=0, **data):
    return load_problem_sets(DataConfig(**COUNTS, **data, solved_share=share), seed)


def solved(problems):
    return {p.question_id for p in problems if p.solutions}


def without_solutions(problems):
    return [replace(p, solutions=()) for p in problems]


def test_each_subdomain_keeps_its_share_of_the_solutions_and_all_of_its_answers():
    some, everything = sets(0.25), sets(1.0)
    assert Counter(p.subdomain for p in some.train if p.solutions) == dict.fromkeys(DataConfig().subdomains, 5)
    assert without_solutions(some.train) == without_solutions(everything.train)
    kept = solved(some.train)
    assert [p for p in some.train if p.solutions] == [p for p in everything.train if p.question_id in kept]
    assert (some.probe, some.test) == (everything.probe, everything.test)


def test_the_seed_chooses_and_a_smaller_share_is_a_subset():
    shares = [solved(sets(share, subdomains=["algebra"]).train) for share in (0.01, 0.3, 0.55, 1.0)]
    assert [len(kept) for kept in shares] == [1, 6, 11, 20]
    assert all(smaller < larger for smaller, larger in zip(shares, shares[1:], strict=False))
    problems = sets(1.0, subdomains=["algebra"]).train
    zero, again, one = (with_solved_share(problems, 0.3, seed) for seed in (0, 0, 1))
    assert zero == again and solved(zero) != solved(one)


def test_order_of_the_problems_does_not_change_the_choice():
    problems = sets(1.0).train
    assert solved(with_solved_share(problems[::-1], 0.3, 0)) == solved(with_solved_share(problems, 0.3, 0))


def test_files_count_by_their_solved_questions_and_sources_for_sft_alone_stay_whole(tmp_path):
    rows = [
        f'{{"question": "What is {i} + 1000?", "answer": "{i + 1000}", "solution": "{i + 1000}"}}' for i in range(8)
    ]
    unsolved = [f'{{"question": "What is {i} + 2000?", "answer": "{i + 2000}"}}' for i in range(8)]
    mine, alone = tmp_path / "mine.jsonl", tmp_path / "alone.jsonl"
    mine.write_text("\n".join(rows + unsolved))
    alone.write_text("\n".join(row.replace("1000", "3000") for row in rows[:4]))
    found = sets(
        0.5,
        subdomains=["algebra"],
        train_files=[DataSource(str(mine), subdomain="arithmetic"), DataSource(str(alone), use=["sft"])],
    )
    assert Counter(p.subdomain for p in found.train if p.solutions) == {"algebra": 10, "arithmetic": 4}
    assert Counter(p.subdomain for p in found.train) == {"algebra": 20, "arithmetic": 16}
    assert [counted.chosen for counted in found.traces.counts] == [4]


def test_a_share_without_anything_to_keep_is_refused(tmp_path):
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"question": "What is 1 + 1000?", "answer": "1001"}\n')
    with pytest.raises(ConfigError, match=r"data\.solved_share=0\.5, but no training problem has a worked solution"):
        load_problem_sets(
            DataConfig(
                train_per_subdomain=0,
                probe_per_subdomain=3,
                test_per_subdomain=3,
                train_files=[DataSource(str(mine))],
                solved_share=0.5,
            ),
            0,
        )
