"""The steps of each stage and the reason for its end, from new and older run folders."""

from dataclasses import replace

import pytest
import test_loop
from test_loop import STAGES

from vt_ray.config import Config, CurriculumConfig, GateConfig, StageConfig
from vt_ray.report.run_page import curves
from vt_ray.report.run_summary import stages_run
from vt_ray.run.checkpoint import write_json
from vt_ray.run.stage_ends import early_end, sentences, stage_end, steps_of

WHY = "target: probe accuracy 0.812 reached 0.8"


@pytest.mark.parametrize("torn", ["", "[1]", '{"steps": '])
def test_a_file_that_cannot_be_read_tells_nothing(tmp_path, torn):
    assert stage_end(tmp_path, "short") == {}
    (tmp_path / "rl" / "short").mkdir(parents=True)
    (tmp_path / "rl" / "short" / "stage.json").write_text(torn)
    assert stage_end(tmp_path, "short") == {}


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ({}, ""),
        ({"steps": 12, "ended": "steps"}, ""),
        # A gate that is reached at the last planned step has not ended the stage early.
        ({"steps": 12, "ended": WHY}, ""),
        ({"steps": 7, "ended": WHY}, WHY),
        ({"stage": "short", "weight_version": 7}, ""),
    ],
)
def test_only_a_gate_ends_a_stage_early(end, why):
    assert early_end(end, 12) == why


def test_steps_are_said_of_those_planned():
    assert [steps_of(7, 12), steps_of(12, 12), steps_of(7, None)] == ["7 of 12 steps", "12 steps", "7 steps"]


def test_the_summary_has_the_stage_ends_of_the_curriculum(tmp_path):
    """No accuracy can rise by more than 1: the first stage ends at its second measurement."""
    gate = GateConfig(eval_every=1, samples=2, plateau_evals=1, plateau_delta=1.0)
    stages = [replace(STAGES[0], steps=5, gate=gate), *STAGES[1:]]
    test_loop.train(tmp_path, test_loop.World(), stages=stages, probe=test_loop.PROBLEMS[:3])
    found = stages_run(tmp_path, Config(curriculum=CurriculumConfig(stages)))
    assert [(s["name"], s["steps"], s["planned_steps"]) for s in found] == [("math", 2, 5), ("code", 1, 1)]
    assert found[0]["ended"].startswith("plateau: ") and found[1]["ended"] == "steps"
    (said,) = sentences({"stages": found})
    assert said.startswith("math ended after 2 of 5 steps (plateau: ")


def test_a_stage_that_has_not_ended_and_an_older_one(tmp_path):
    stages = [StageConfig("short", ["algebra"], 4), StageConfig("long", ["algebra"], 2)]
    (tmp_path / "rl" / "short").mkdir(parents=True)
    write_json(tmp_path / "rl" / "short" / "stage.json", {"stage": "short", "weight_version": 4})
    assert stages_run(tmp_path, Config(curriculum=CurriculumConfig(stages))) == [
        {"name": "short", "steps": 4, "planned_steps": 4, "ended": "steps"}
    ]
    assert sentences({}) == []


def test_held_out_accuracies_stand_at_their_steps_and_ends_are_marked():
    """Every second step of two stages of four and two steps; the second stage has not ended."""
    lines = [{"stage": "short", "probe_accuracy": 0.1 * i} if i % 2 == 0 else {"stage": "short"} for i in range(1, 5)]
    lines += [{"stage": "long", "probe_accuracy": None}, {"stage": "long", "probe_accuracy": 0.5}]
    figure = curves.probe_accuracy_curve(lines, {"short": {"steps": 4, "ended": WHY}})
    assert [list(trace.x) for trace in figure.data] == [[2, 4], [6]]
    assert figure.data[0].y == pytest.approx([0.2, 0.4])
    assert [
        (shape.x0, note.text) for shape, note in zip(figure.layout.shapes, figure.layout.annotations, strict=True)
    ] == [(4.5, "target")]
    assert curves.probe_accuracy_curve([{"stage": "short", "probe_accuracy": None}, {"stage": "short"}], {}) is None
