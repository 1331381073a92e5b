"""The depth of the call stack in the driver, from the pipeline to the learner's update."""

import json
import sys
from types import SimpleNamespace

import pytest
import test_loop
import test_pipelined

from vt_ray import pipeline
from vt_ray.config import Config
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.data.prompts import PromptEncoder
from vt_ray.experiment import Experiment
from vt_ray.run.paths import RunPaths


def package_frames():
    """The functions of vt_ray on the call stack, outermost first."""
    names, frame = [], sys._getframe()
    while frame is not None:
        if frame.f_globals["__name__"].startswith("vt_ray."):
            names.insert(0, frame.f_code.co_name)
        frame = frame.f_back
    return names


@pytest.mark.parametrize(("schedule", "world"), [("on_policy", test_loop.World), ("pipelined", test_pipelined.World)])
def test_four_frames_lie_between_the_pipeline_and_the_update(tmp_path, monkeypatch, schedule, world):
    found = []

    class Cluster(world):
        def update(self, *arguments):
            found.append(package_frames())
            return super().update(*arguments)

        def hardware(self):
            return None

    config = Config()
    config.signal.schedule, config.curriculum.stages = schedule, [test_loop.STAGES[0]]
    (tmp_path / "model.json").write_text(json.dumps(1))
    run, problems = SimpleNamespace(root=tmp_path, paths=RunPaths(tmp_path)), ProblemSets(test_loop.PROBLEMS, [], [])
    encoder = PromptEncoder(test_loop.Tokenizer(), config.data)
    experiment = Experiment(config, Cluster(), run, problems, tmp_path, encoder)
    monkeypatch.setattr(pipeline, "prepare", lambda *arguments: experiment)
    monkeypatch.setattr(pipeline, "train_sft", lambda *arguments: [tmp_path])
    monkeypatch.setattr(pipeline, "probe_checkpoints", lambda *arguments: {"best_pass_at_1": tmp_path.name})
    monkeypatch.setattr(pipeline, "fuse_specialists", lambda *arguments: tmp_path)
    for output in ("evaluate", "evaluate_spectrum", "write_summary", "print_table", "write_report"):
        monkeypatch.setattr(pipeline, output, lambda *arguments: None)
    pipeline.run_pipeline(config, experiment.cluster, run, problems)
    assert found == [["run_pipeline", "run_phases", "run_curriculum", "run_stage", "mgpo_step"]] * 2
