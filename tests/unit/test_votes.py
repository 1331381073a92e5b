"""The vote of a benchmark: accuracy, gain and cost, in a run over stand-ins, and after a kill."""

import json
from dataclasses import replace

import pytest
import test_loop
from test_config import changed, composed
from test_evaluate_benchmarks import ASKED, EXAM, killed_after, loaded, sets
from test_phases import run, settings

from vt_ray.config import ConfigError
from vt_ray.evaluation import answers, claim_votes
from vt_ray.evaluation.results import ProblemResult
from vt_ray.evaluation.results_file import ResultsFile, read_results
from vt_ray.evaluation.summary import vote_summary
from vt_ray.planning.resource_plan import phase_plan
from vt_ray.planning.validate import validate
from vt_ray.records import Completion, GradedGroup, Rollouts, Verdict
from vt_ray.report import benchmark_table
from vt_ray.report.tables import print_table

# Five numbered claims, and the verdict on one of them.
CLAIMS = "\n".join(f"{i}. claim {i}" for i in range(1, 6))
PLAIN_GENERATE, PLAIN_GRADE = test_loop.World.generate, test_loop.World.grade
# Room for the requests: the stand-in has a token for each character.
WIDE = replace(EXAM, max_prompt_tokens=2000)


def result(question_id, classes, verdicts, tokens=10):
    samples = len(verdicts)
    return ProblemResult(
        question_id, "d", verdicts, [tokens] * samples, [False] * samples, ["a"] * samples, classes=classes
    )


def test_a_vote_has_its_accuracy_its_gain_and_its_cost():
    results = [
        result("a", [0, 1, 1], ["correct", "wrong", "wrong"]),
        result("b", [0, 0, 1], ["correct", "correct", "wrong"]),
        result("c", [None, None, None], ["unverified"] * 3),
        result("program", [], ["correct"]),
    ]
    majority = vote_summary(results, "majority", {})
    assert majority["accuracy"]["mean"] == 0.5 and majority["rule"] == "majority"
    assert majority["gain"]["mean"] == pytest.approx(0.5 - (1 / 3 + 2 / 3) / 2)
    assert (majority["tokens_mean"], majority["sample_tokens_mean"]) == (30, 10)
    votes = {"a": {"weights": [1, 0.1, 0.1], "tokens": 100}, "b": {"weights": [0, 0, 0], "tokens": 0}}
    weighted = vote_summary(results, "clr", votes)
    assert weighted["accuracy"]["mean"] == 1.0 and weighted["gain"]["mean"] == pytest.approx(0.5)
    assert (weighted["tokens_mean"], weighted["sample_tokens_mean"]) == (80, 10)
    assert vote_summary(results[3:], "majority", {}) is None


def test_samples_without_an_answer_or_a_verdict_do_not_vote():
    found = result("a", [0, None, 1, 2], ["correct", "wrong", "unverified", "wrong"])
    assert found.voting == [0, 3]
    assert result("a", [], ["correct", "wrong"]).voting == []


def generate(self, prompts, sampling):
    """Claims and checks for requests of a vote, numbers for problems."""
    plain = []
    for p in prompts:
        if not p.problem.question_id.startswith("vote/"):
            plain.append(p)
            continue
        self.record("vote", p.problem.question)
        text = CLAIMS if "A solution:" in p.problem.question else r"\boxed{true}"
        made = Completion(0, test_loop.IDS, test_loop.LOGPROBS, text, "stop", ((0, 3),), 0.0)
        yield Rollouts(p.problem, p.token_ids, (made,))
    yield from PLAIN_GENERATE(self, plain, sampling)


def grade(self, rollouts):
    plain = []
    for r in rollouts:
        if r.problem.question_id.startswith("vote/"):
            yield GradedGroup(r.problem.question_id, "vote", (Verdict("wrong"),), 2, (3,), (False,), r)
        else:
            plain.append(r)
    yield from PLAIN_GRADE(self, plain)


@pytest.fixture
def world_with_votes(monkeypatch):
    monkeypatch.setattr(test_loop.World, "generate", generate)
    monkeypatch.setattr(test_loop.World, "grade", grade)
    monkeypatch.setattr(answers, "final_answer", lambda problem, text: str(int(text) % 5))


def voted(tmp_path, rule, name="r", **changes):
    return settings(tmp_path, name, phases=[], **{"evaluation.k": 1, "evaluation.vote": rule, **changes})


def test_a_run_with_clr_asks_the_claims_of_problems_whose_answers_differ(
    tmp_path, monkeypatch, world_with_votes, capsys
):
    world, paths, summary = run(voted(tmp_path, "clr"), monkeypatch, sets(loaded(WIDE), test=[]))
    figures = summary["milestones"][0]["benchmarks"]["exam"]
    results = read_results(paths.evaluation / "base" / "exam.jsonl")[1]
    votes = read_results(paths.evaluation / "base" / "votes" / "exam.jsonl")[1]
    texts = read_results(paths.evaluation / "base" / "traces" / "exam.jsonl")[1]
    assert results.keys() == votes.keys() == texts.keys()
    disputed = 0
    for question_id, line in results.items():
        found = ProblemResult.from_dict(line)
        differ = len({found.classes[place] for place in found.voting}) > 1
        disputed += differ
        assert votes[question_id]["weights"] == [float(differ and place in found.voting) for place in range(4)]
        # Three tokens for the claims of each sample, and for each check.
        assert votes[question_id]["tokens"] == (3 * 6 * len(found.voting) if differ else 0)
    assert disputed and len(world.calls["vote"]) > disputed
    assert figures["vote"]["rule"] == "clr" and figures["vote"]["accuracy"]["mean"] == figures["cons_at_n"]["mean"]
    tokens = sum(line["tokens"] for line in votes.values()) + sum(sum(line["tokens"]) for line in results.values())
    assert figures["vote"]["tokens_mean"] * len([r for r in results.values() if r["classes"]]) <= tokens
    assert summary["phases"]["evaluate"]["tokens"] == tokens
    print_table(summary)
    assert benchmark_table.VOTES in capsys.readouterr().out and benchmark_table.VOTES in paths.report.read_text()
    (_, row) = benchmark_table.vote_rows(summary["milestones"])
    assert row[:3] == ["base", "exam", "clr"]


def test_a_killed_vote_asks_neither_samples_nor_written_votes_again(tmp_path, monkeypatch, world_with_votes):
    monkeypatch.setattr(claim_votes, "PROBLEMS_AT_ONCE", 1)
    problems = sets(loaded(WIDE), test=[])
    _, paths, whole = run(voted(tmp_path / "whole", "clr"), monkeypatch, problems)
    config = voted(tmp_path / "killed", "clr")
    with monkeypatch.context() as patch:
        # Two lines for each of five problems, then the votes.
        patch.setattr(ResultsFile, "add", killed_after(12))
        with pytest.raises(KeyboardInterrupt):
            run(config, patch, problems)
    world, again, summary = run(config, monkeypatch, problems)
    assert not world.calls["generate"]
    names = [f.relative_to(paths.evaluation) for f in paths.evaluation.glob("base/*/*.jsonl")]
    assert len(names) == 2
    for name in names:
        lines = [read_results(p.evaluation / name)[1] for p in (paths, again)]
        assert untimed(lines[0]) == untimed(lines[1])
    vote, before = (s["milestones"][0]["benchmarks"]["exam"]["vote"] for s in (summary, whole))
    assert vote == before


def untimed(lines):
    left_out = ("seconds", "joules")
    return {q: {name: value for name, value in line.items() if name not in left_out} for q, line in lines.items()}


def test_a_majority_asks_nothing_more_and_is_the_vote_over_all_samples(tmp_path, monkeypatch, world_with_votes):
    world, paths, summary = run(voted(tmp_path, "majority"), monkeypatch, sets(loaded(WIDE), test=[]))
    figures = summary["milestones"][0]["benchmarks"]["exam"]
    assert figures["vote"]["accuracy"] == figures["cons_at_n"] and not world.calls["vote"]
    assert [folder.name for folder in paths.evaluation.glob("base/*/")] == ["traces"]
    _, _, plain = run(voted(tmp_path, "none", "plain"), monkeypatch, sets(loaded(WIDE), test=[]))
    assert "vote" not in plain["milestones"][0]["benchmarks"]["exam"]


def test_programs_have_no_vote(tmp_path, monkeypatch, world_with_votes):
    programs = [replace(p, kind="code", tests={"inputs": ["1"], "outputs": ["1"]}) for p in ASKED]
    benchmark = loaded(replace(WIDE, kind="code"), programs)
    world, paths, summary = run(voted(tmp_path, "clr"), monkeypatch, sets(benchmark, test=[]))
    assert not world.calls["vote"] and "vote" not in summary["milestones"][0]["benchmarks"]["exam"]


def test_requests_fit_into_the_context_of_the_benchmark(tmp_path, monkeypatch, world_with_votes):
    narrow = replace(EXAM, max_prompt_tokens=350, max_new_tokens=100)
    world, paths, _ = run(voted(tmp_path, "clr"), monkeypatch, sets(loaded(narrow), test=[]))
    assert all(len(question) <= 400 for (question,) in world.calls["vote"])
    votes = read_results(paths.evaluation / "base" / "votes" / "exam.jsonl")[1]
    assert len(votes) == 5


def test_settings_of_a_vote_that_cannot_work_are_refused_and_the_plan_counts_its_tokens(tmp_path):
    config = composed("experiment=evaluate", "model=smollm2_135m")
    with pytest.raises(ConfigError, match="evaluation.vote='most' must be one of none, majority, clr"):
        validate(changed(config, **{"evaluation.vote": "most"}))
    with pytest.raises(ConfigError, match="evaluation.vote=clr needs evaluation.benchmarks"):
        validate(changed(config, **{"evaluation.vote": "clr", "evaluation.benchmarks": []}))
    for useless in ({"evaluation.benchmarks": ["humaneval"]}, {"evaluation.override.samples": 1}):
        with pytest.raises(ConfigError, match="evaluation.vote=majority has no effect on .*with at least 2 samples"):
            validate(changed(config, **{"evaluation.vote": "majority", **useless}))
    plan = phase_plan(voted(tmp_path, "clr"), sets(loaded(), test=[]))
    assert [(p.name, p.tokens) for p in plan][-1] == ("vote exam", 5 * 4 * 6 * EXAM.max_new_tokens // 2)
    assert json.dumps([p.name for p in plan]) == '["evaluate exam", "vote exam"]'
