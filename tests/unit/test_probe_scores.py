"""The stored samples of a probing problem, the figures of diversity, and groups of problems."""

import json
from math import log

import numpy as np
import pytest

from vt_ray.algorithms.pass_at_k import expected_distinct, pass_at_k
from vt_ray.config import ConfigError, SpectrumConfig
from vt_ray.data.makers import make_problems
from vt_ray.records import Completion, GradedGroup, Problem, Rollouts, Verdict
from vt_ray.spectrum_phase.groups import grouped, refuse_unusable_groups
from vt_ray.spectrum_phase.probe_scores import (
    ProbeScore,
    answer_entropy,
    distinct_answers,
    distinct_paths,
    diversity,
    probe_score,
    read_scores,
)


def sampled(kind, texts, statuses, cut=()):
    problem = Problem("q", "algebra", kind, "1 + 1?", "2")
    tokens = np.zeros(3, np.int32)
    completions = tuple(
        Completion(i, tokens, tokens.astype(np.float32), text, "length" if i in cut else "stop", ((0, 3),), 0.1)
        for i, text in enumerate(texts)
    )
    verdicts = tuple(Verdict(status) for status in statuses)
    truncated = tuple(i in cut for i in range(len(texts)))
    rollouts = Rollouts(problem, (1,), completions)
    return probe_score(GradedGroup("q", "algebra", verdicts, 1, (3,) * len(texts), truncated, rollouts), rollouts)


def score(verdicts, answers=(), paths=()):
    kept = [v for v in verdicts if v != "unverified"]
    return ProbeScore(
        "q", "a", kept.count("correct"), len(kept), len(verdicts), 0, 10, tuple(verdicts), tuple(answers), tuple(paths)
    )


def test_the_expected_number_of_kinds_by_hand():
    # Two of four samples of one kind, one of another: 1 - C(2,2)/C(4,2) + 1 - C(3,2)/C(4,2) = 5/6 + 1/2.
    assert expected_distinct(4, [2, 1], 2) == pytest.approx(5 / 6 + 1 / 2)
    assert expected_distinct(4, [2, 1, 1], 4) == 3
    assert expected_distinct(8, [3], 4) == pass_at_k(8, 3, 4)
    assert expected_distinct(4, [], 2) == 0


def test_a_score_keeps_verdict_answer_and_path_of_each_sample():
    texts = ["1+1=2\n\\boxed{2}", "so 1+1=2 and \\boxed{2}", "\\boxed{3}", "no answer", "1+1=2\n\\boxed{2}"]
    found = sampled("math", texts, ["correct", "correct", "wrong", "wrong", "wrong"], cut=[4])
    assert (found.correct, found.valid, found.truncated) == (2, 5, 1)
    assert found.answers == ["2", "2", "3", None, None]
    assert found.paths[0] == found.paths[1] != found.paths[2] and found.paths[4] == ""
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()


def test_programs_have_paths_but_no_answers():
    found = sampled("code", ["```python\nprint(1)\n```", "```python\nprint(2)\n```"], ["correct", "correct"])
    assert found.answers == [] and found.paths[0] == found.paths[1]
    assert distinct_answers(found, 2) is None and answer_entropy(found, 2) is None and distinct_paths(found, 2) == 1


def test_diversity_counts_correct_paths_only():
    found = score(["correct", "correct", "wrong", "wrong"], paths=["p", "q", "r", "s"])
    assert distinct_paths(found, 4) == 2 and diversity(found, 4) == 0.5
    assert diversity(score(["wrong"] * 4, paths=["p", "q", "r", "s"]), 4) == 0


def test_equal_answers_are_one_and_the_correct_ones_too():
    found = score(["correct", "correct", "wrong", "wrong", "wrong"], ["1/2", "0.5", "3 4", "34", None])
    assert distinct_answers(found, 5) == 2
    assert answer_entropy(found, 5) == pytest.approx(log(2))
    assert answer_entropy(score(["wrong"] * 2, [None, None]), 2) == 0


def test_samples_without_a_verdict_count_in_no_figure():
    found = score(["correct", "unverified"], ["2", "5"], ["p", "q"])
    assert distinct_answers(found, 2) == 1 and distinct_paths(found, 2) == 1


def test_files_of_older_versions_are_read(tmp_path):
    old = {"question_id": "q", "subdomain": "a", "correct": 1, "valid": 2, "samples": 2, "truncated": 0, "tokens": 9}
    (tmp_path / "step_1.json").write_text(json.dumps({"seconds": 1.0, "scores": [old]}))
    (found,) = read_scores(tmp_path / "step_1.json")
    assert found.pass_at(2) == 1 and distinct_paths(found, 2) is None and distinct_answers(found, 2) is None
    assert read_scores(tmp_path / "absent.json") == []


def problems():
    return [p for d in ("algebra", "code") for p in make_problems(d, "probe", 12, 0)]


def test_a_family_takes_precedence_over_its_subdomain():
    found = grouped(problems(), {"linear": "equations", "algebra": "rest"})
    by_family = {p.question_id.split("/")[1]: p.subdomain for p in found if p.question_id.startswith("algebra/")}
    assert by_family["linear"] == "equations" and {*by_family.values()} == {"equations", "rest"}
    assert {p.subdomain for p in found if p.kind == "code"} == {"code"}
    assert grouped(problems(), {}) == problems()


@pytest.mark.parametrize(
    ("groups", "weights", "message"),
    [
        (
            {"poetry": "one"},
            [],
            "the key 'poetry', which is no family and no subdomain of the probing",
        ),
        ({"geometry": "one"}, [], "the key 'geometry'"),
        ({"algebra": "all", "code": "all"}, [0.5, 0.5], "must be 1 numbers"),
    ],
)
def test_unusable_groups_are_refused(groups, weights, message):
    spectrum = SpectrumConfig()
    spectrum.probe.groups, spectrum.fusion.weights = groups, weights
    with pytest.raises(ConfigError, match=message):
        refuse_unusable_groups(problems(), spectrum)
    spectrum.probe.groups, spectrum.fusion.weights = {"linear": "one"}, []
    refuse_unusable_groups(problems(), spectrum)
