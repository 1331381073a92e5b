"""The probing phase with a stand-in for the engines: one round, racing, an interruption, groups."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import test_loop

from vt_ray.config import Config
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.data.prompts import PromptEncoder
from vt_ray.experiment import Experiment
from vt_ray.records import GradedGroup, Verdict
from vt_ray.run.checkpoint import write_json
from vt_ray.spectrum_phase.probing import probe_model, run_probe

PROBLEMS = [
    replace(test_loop.PROBLEMS[0], question_id=f"{d}/{i}", subdomain=d, question=f"{d} {i}?", source="file", row=1)
    for i in range(48)
    for d in ("algebra", "code")
]
# The accuracy of each checkpoint in percent.
CHECKPOINTS = {"step_000001": 5, "step_000002": 60, "step_000003": 90, "step_000004": 20}


class World(test_loop.World):
    """A model that is one number: the share of its samples that are correct, in percent."""

    def grade(self, rollouts):
        for r in rollouts:
            self.record("grade", r.problem.question_id)
            right = [int(c.text) % 100 < self.held for c in r.completions]
            verdicts = tuple(Verdict("correct" if ok else "wrong") for ok in right)
            size = len(verdicts)
            yield GradedGroup(r.problem.question_id, r.problem.subdomain, verdicts, 2, (3,) * size, (False,) * size, r)


def experiment(tmp_path, world, **settings):
    config = Config()
    config.spectrum.probe = replace(config.spectrum.probe, samples=4, k=2, **settings)
    config.phases = ["probe"]
    run = SimpleNamespace()
    return Experiment(
        config, world, run, ProblemSets([], PROBLEMS, []), tmp_path, PromptEncoder(test_loop.Tokenizer(), config.data)
    )


def checkpoints(tmp_path):
    for name, accuracy in CHECKPOINTS.items():
        (tmp_path / "sft" / name).mkdir(parents=True, exist_ok=True)
        write_json(tmp_path / "sft" / name / "model.json", accuracy)
    return [tmp_path / "sft" / name for name in CHECKPOINTS]


def probe(tmp_path, name="probe", world=None, others=(), **settings):
    """Runs the phase, with the samples of the phases `others`. Returns the world and probe.json."""
    world = world or World()
    (tmp_path / name).mkdir(exist_ok=True)
    e = experiment(tmp_path, world, **settings)
    run_probe(e, checkpoints(tmp_path), tmp_path / name, [tmp_path / other for other in others])
    return world, json.loads((tmp_path / name / "probe.json").read_text())


def test_without_racing_each_checkpoint_is_loaded_once_and_asked_everything_in_order(tmp_path):
    world, table = probe(tmp_path)
    assert len(world.calls["load_checkpoint"]) == len(CHECKPOINTS)
    assert [q for (q,) in world.calls["generate"]] == [p.question_id for p in PROBLEMS] * len(CHECKPOINTS)
    assert table["specialists"] == {"algebra": "step_000003", "code": "step_000003"} and "racing" not in table
    assert table["problems"]["code"] == [48] * 4


def test_racing_chooses_the_same_with_fewer_samples(tmp_path):
    _, whole = probe(tmp_path, "whole")
    world, table = probe(tmp_path, "race", racing=0.05)
    assert table["specialists"] == whole["specialists"] and table["best_pass_at_1"] == whole["best_pass_at_1"]
    assert table["racing"]["samples"] == 4 * len(world.calls["generate"]) < 0.8 * 4 * 48 * 2 * 4
    assert table["racing"]["samples_without_racing"] == 4 * 48 * 2 * 4
    assert table["racing"]["stopped"]["code"].keys() >= {"step_000001", "step_000004"}
    # The specialist has answered every problem, with the same samples.
    assert table["problems"]["code"][2] == 48
    assert table["pass_at_k"]["code"][2] == pytest.approx(whole["pass_at_k"]["code"][2], abs=1e-12)


@pytest.mark.parametrize("crash_at", [1, 60, 250, 400])
def test_an_interrupted_race_ends_with_the_same_table(tmp_path, crash_at):
    _, whole = probe(tmp_path, "whole", racing=0.05)
    with pytest.raises(ConnectionAbortedError):
        probe(tmp_path, "race", World(crash_at), racing=0.05)
    _, table = probe(tmp_path, "race", racing=0.05)
    assert table["specialists"] == whole["specialists"] and table["racing"] == whole["racing"]
    assert table["pass_at_k"] == {d: pytest.approx(row, abs=1e-12) for d, row in whole["pass_at_k"].items()}


def test_each_group_gets_a_specialist_and_the_fused_model_has_the_same_groups(tmp_path):
    world, table = probe(tmp_path, groups={"algebra": "all", "code": "all"})
    assert table["specialists"] == {"all": "step_000003"} and table["problems"] == {"all": [96] * 4}
    e = experiment(tmp_path, world, groups={"algebra": "all"})
    probe_model(e, world, world, tmp_path / "fused.json", lambda: None)
    scores = json.loads((tmp_path / "fused.json").read_text())["scores"]
    assert {s["subdomain"] for s in scores} == {"all", "code"} and len(scores) == 96


def test_a_finished_probe_is_not_measured_again(tmp_path):
    probe(tmp_path)
    world, _ = probe(tmp_path)
    assert not world.calls["generate"] and not world.calls["load_checkpoint"]


def test_seconds_of_all_rounds_are_added(tmp_path):
    probe(tmp_path, racing=0.05)
    record = json.loads((tmp_path / "probe" / "step_000003.json").read_text())
    assert record["seconds"] > 0 and len(record["scores"]) == 96
    assert len({s["question_id"] for s in record["scores"]}) == 96


def scores_of(folder, name):
    return {s["question_id"]: s for s in json.loads((folder / f"{name}.json").read_text())["scores"]}


def test_another_criterion_takes_all_samples_and_starts_no_engine(tmp_path):
    probe(tmp_path)
    _, fresh = probe(tmp_path, "fresh", criterion="pass_at_1", ks=[1])
    world = World()
    world.generator = world.verifier = None  # cannot be called
    _, table = probe(tmp_path, "other", world, ["probe"], criterion="pass_at_1", ks=[1])
    assert table == fresh and table["criterion"] == "pass_at_1"
    records = [json.loads((tmp_path / name / "step_000001.json").read_text()) for name in ("probe", "other")]
    assert records[0] == records[1]


def test_a_race_takes_only_the_samples_that_it_would_have_drawn(tmp_path):
    probe(tmp_path, "whole")
    _, fresh = probe(tmp_path, "fresh", racing=0.05)
    world, table = probe(tmp_path, "race", others=["whole"], racing=0.05)
    assert not world.calls["generate"] and table == fresh
    for name in CHECKPOINTS:
        assert scores_of(tmp_path / "race", name) == scores_of(tmp_path / "fresh", name)


def test_a_probe_draws_what_a_race_before_it_has_left_out(tmp_path):
    race, _ = probe(tmp_path, "race", racing=0.05)
    _, fresh = probe(tmp_path, "fresh")
    world, table = probe(tmp_path, "whole", others=["race"])
    assert len(race.calls["generate"]) + len(world.calls["generate"]) == len(PROBLEMS) * len(CHECKPOINTS)
    assert table["specialists"] == fresh["specialists"] and table["problems"] == fresh["problems"]
    assert scores_of(tmp_path / "whole", "step_000001") == scores_of(tmp_path / "fresh", "step_000001")


def test_scores_that_are_taken_get_the_groups_of_the_new_probe(tmp_path):
    probe(tmp_path)
    world, table = probe(tmp_path, "grouped", others=["probe"], groups={"algebra": "all", "code": "all"})
    assert not world.calls["generate"] and table["problems"] == {"all": [96] * 4}
