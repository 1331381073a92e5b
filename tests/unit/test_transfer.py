"""The models of a finished run, asked benchmarks: their folders, their names, and what moved between them."""

import json

import pytest
from test_config import composed
from test_evaluate_benchmarks import loaded, sets
from test_phases import given, run, settings

from vt_ray.config import Config, ConfigError, EvaluationConfig
from vt_ray.planning.validate import validate
from vt_ray.report import benchmark_table
from vt_ray.report.tables import print_table
from vt_ray.run.milestone_names import model_milestones, named_models
from vt_ray.run.models_of_run import models_of_run
from vt_ray.spectrum_phase.given_checkpoints import refuse_unusable_models


def finished(root, names, best="step_000002"):
    """The folder of a run with these milestones, two SFT checkpoints and one stage, without weights."""
    for folder in ("base", "sft/checkpoints/step_000002", "sft/checkpoints/step_000004", "fused", "rl/math/model"):
        (root / folder).mkdir(parents=True)
    (root / "probe").mkdir()
    (root / "probe" / "probe.json").write_text(json.dumps({"best_pass_at_1": best}))
    (root / "summary.json").write_text(json.dumps({"milestones": [{"name": name} for name in names]}))
    return root


def test_each_milestone_of_a_run_has_its_model(tmp_path):
    root = finished(tmp_path / "lam=0.5", ["base", "sft_last", "sft_best", "fused", "math"])
    found = named_models(models_of_run(root))
    assert [(name, folder.removeprefix(f"{root}/")) for name, folder in found] == [
        *(("base", "base"), ("sft_last", "sft/checkpoints/step_000004"), ("sft_best", "sft/checkpoints/step_000002")),
        *(("fused", "fused"), ("math", "rl/math/model")),
    ]
    config = Config(phases=[], evaluation=EvaluationConfig(models_of=str(root)))
    assert (config.model.source, config.model.path) == ("hf", str(root / "base"))
    assert model_milestones({"model": {"path": config.model.path}, "evaluation": vars(config.evaluation)}) == [
        *("sft_last", "sft_best", "fused", "math"),
    ]
    (root / "summary.json").unlink()
    again = Config(phases=[], model=config.model, evaluation=config.evaluation)
    assert again.evaluation.models == config.evaluation.models, "the list stays when the run is gone"


def test_the_best_checkpoint_is_not_asked_twice(tmp_path):
    root = finished(tmp_path / "r", ["base", "sft_last", "sft_best"], best="step_000004")
    assert [name for name, _ in named_models(models_of_run(root))] == ["base", "sft_last"]


def test_runs_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no summary.json: give the folder of a finished run"):
        Config(evaluation=EvaluationConfig(models_of=str(tmp_path / "none")))
    root = finished(tmp_path / "r", ["base", "code"])
    with pytest.raises(ConfigError, match=r"no model folder of code \(.*rl/code/model\): give the models in"):
        models_of_run(root)
    config = composed("experiment=transfer")
    with pytest.raises(ConfigError, match="evaluation.models_of=RUN"):
        validate(config)


def test_names_of_models():
    entries = ["runs/lam=0.5/model", "mine=/a/b", "plain", "x=runs/lam=0.5/model"]
    assert named_models(entries) == [
        *(("model", "runs/lam=0.5/model"), ("mine", "/a/b"), ("plain", "plain"), ("x", "runs/lam=0.5/model")),
    ]
    for models in ([("a", "1"), ("a", "2")], [("a", "1"), ("base", "2")]):
        with pytest.raises(ConfigError, match="must be unique and not 'base'"):
            refuse_unusable_models(models, None, "float32")


def test_a_result_says_what_moved_since_the_first_model(tmp_path, monkeypatch, capsys):
    folders = [f"{name}={folder}" for name, folder in zip(("fused", "math"), given(tmp_path, 5, 6), strict=True)]
    config = settings(tmp_path, phases=[], **{"evaluation.models": folders, "evaluation.k": 1})
    _, paths, summary = run(config, monkeypatch, sets(loaded(), test=[]))
    base, fused, math = (m["benchmarks"]["exam"] for m in summary["milestones"])
    assert [m["name"] for m in summary["milestones"]] == ["base", "fused", "math"]
    assert base["difference_from_first"] is None
    assert fused["difference_from_first"] == fused["difference"] and math["difference"]["from"] == "fused"
    assert math["difference_from_first"]["from"] == "base"
    print_table(summary)
    assert "From base to math, points of Pass@1: " in capsys.readouterr().out
    assert "What moved: change of Pass@1 from base" in paths.report.read_text()


def test_what_moved_is_said_by_the_intervals():
    def figures(mean, low, high):
        return {"difference_from_first": {"from": "base", "mean": mean, "low": low, "high": high}}

    last = {"up": figures(0.1, 0.05, 0.2), "down": figures(-0.1, -0.2, -0.01), "flat": figures(0.1, -0.1, 0.3)}
    last["other"] = {"difference_from_first": {"from": "base", "not_comparable": "problems"}}
    reached = [{"name": "base", "benchmarks": {}}, {"name": "math", "benchmarks": last}]
    assert benchmark_table.moved_sentence(reached) == (
        "From base to math, points of Pass@1: rose: up +10.0 [+5.0, +20.0]; fell: down -10.0 [-20.0, -1.0]; within "
        "noise: flat."
    )
    assert benchmark_table.moved_sentence(reached[:1]) == benchmark_table.moved_sentence([]) == ""
