"""The gain of the signal phase over the milestones before it, with numbers computed by hand."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from vt_ray import pipeline
from vt_ray.config import Config
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.evaluation.milestones import copy_scores, gain_over_best, milestone_summaries
from vt_ray.report.milestones import gain_sentence, headline
from vt_ray.report.run_summary import measured_cost
from vt_ray.run.milestone_names import planned
from vt_ray.run.paths import RunPaths


def scores(folder, name, correct):
    """One problem for each count, with 4 samples each; the first half is algebra, the rest is code."""
    half = len(correct) // 2
    rows = [
        {
            "question_id": f"q{i}",
            "subdomain": "algebra" if i < half else "code",
            "correct": c,
            "valid": 4,
            "samples": 4,
            "truncated": 0,
            "tokens": 9,
        }
        for i, c in enumerate(correct)
    ]
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"name": name, "seconds": 1.0, "scores": rows}))
    return path


def test_the_gain_is_taken_from_the_better_start(tmp_path):
    sft, fused = scores(tmp_path, "sft_best", [0, 2, 0, 2]), scores(tmp_path, "fused", [2, 2, 0, 1])
    end = scores(tmp_path, "code", [2, 3, 4, 3])
    gain = gain_over_best([sft, fused], end)
    assert (gain["from"], gain["to"]) == ("fused", "code")
    assert gain["mean"] == pytest.approx((0 + 1 + 4 + 2) / 16)
    assert gain["by_subdomain"]["algebra"]["mean"] == pytest.approx(1 / 8)
    assert gain["by_subdomain"]["code"]["mean"] == pytest.approx(6 / 8)
    assert gain_over_best([sft], end)["mean"] == pytest.approx(8 / 16)


def test_a_gain_that_may_be_chance_is_said_to_be(tmp_path):
    start = scores(tmp_path, "fused", [0, 4] * 8)
    same = gain_sentence({"gain": gain_over_best([start], scores(tmp_path, "code", [1, 3] * 8))})
    better = gain_sentence({"gain": gain_over_best([start], scores(tmp_path, "code", [3, 4] * 8))})
    assert "code against fused" in same and "within noise" in same
    assert "within noise" not in better and "+37.5" in better
    assert gain_sentence({}) == ""


def test_the_headline_ends_with_the_gain_where_it_is_known():
    milestones = [
        {"name": n, "pass_at_1": {"mean": m, "low": m, "high": m}} for n, m in (("fused", 0.4), ("code", 0.5))
    ]
    assert headline(milestones, "The gain.").endswith("rose from 40.0% to 50.0%. The gain.")


def test_sft_that_goes_on_stands_in_the_place_of_the_stages():
    config = {"curriculum": {"stages": [{"name": "math"}, {"name": "code"}]}, "signal": {"control": ""}}
    assert planned(config)[3:] == ["fused", "math", "code"]
    assert planned({**config, "signal": {"control": "shuffled_rewards"}})[3:] == ["fused", "math", "code"]
    assert planned({**config, "signal": {"control": "sft"}})[3:] == ["fused", "sft_continued"]


def test_the_scores_of_an_equal_model_are_copied_with_its_benchmarks_and_cost_nothing(tmp_path):
    last = scores(tmp_path, "sft_last", [0, 2, 0, 2])
    (tmp_path / "sft_last").mkdir()
    (tmp_path / "sft_last" / "gsm8k.jsonl").write_text("{}\n")
    copy_scores(tmp_path, "sft_last", "sft_best")
    best = tmp_path / "sft_best.json"
    assert (tmp_path / "sft_best" / "gsm8k.jsonl").read_text() == "{}\n"
    assert measured_cost(last) == (1.0, 4 * 9)
    assert measured_cost(best) == (0.0, 0)
    first, second = milestone_summaries([last, best], 1)
    assert second["name"] == "sft_best"
    assert second["pass_at_1"] == first["pass_at_1"]
    assert second["difference"]["mean"] == 0


def test_a_checkpoint_with_two_milestones_is_evaluated_once(tmp_path, monkeypatch):
    loaded, evaluated = [], []
    generator = SimpleNamespace(load_checkpoint=lambda model, version: loaded.append(model.name))
    actors = SimpleNamespace(generator=lambda base: nullcontext(generator), verifier=lambda: nullcontext())

    def phase(name, inputs, work, after):
        work(tmp_path)
        return tmp_path

    def evaluate(e, name, generator, verifier, folder):
        evaluated.append(name)
        scores(folder, name, [0, 2, len(evaluated), 2])

    monkeypatch.setattr(pipeline, "evaluate", evaluate)
    monkeypatch.setattr(pipeline, "last_before_rl", lambda e: tmp_path)
    run = SimpleNamespace(phase=phase, paths=RunPaths(tmp_path / "run"))
    run.paths.evaluation.parent.mkdir()
    e = SimpleNamespace(config=Config(), cluster=actors, run=run, base=tmp_path, problems=ProblemSets([], [], []))
    models = {"base": "base", "sft_last": "step_7", "sft_best": "step_7", "fused": "fused"}
    pipeline.evaluate_spectrum(e, {name: tmp_path / model for name, model in models.items()})
    assert loaded == ["base", "step_7", "fused"]
    assert evaluated == ["base", "sft_last", "fused"]
    records = {name: json.loads(run.paths.scores(name).read_text()) for name in models}
    assert [record["name"] for record in records.values()] == [*models]
    assert records["sft_best"]["scores"] == records["sft_last"]["scores"] != records["fused"]["scores"]
