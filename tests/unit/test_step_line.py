"""StepLine names every key that a training step writes, and the table of metrics names only such keys."""

from typing import get_type_hints

import test_loop

from vt_ray.report.metrics import METRICS
from vt_ray.report.run_page.curves import RL_CURVES
from vt_ray.report.run_page.machines_section import MACHINE_CURVES
from vt_ray.report.watch import screen, step_panel
from vt_ray.run.step_line import EngineFigures, EvaluationFigures, StepLine, StepSeconds, SyncFigures, VerifyFigures

NESTED = {"seconds": StepSeconds, "sync": SyncFigures, "verify": VerifyFigures, "generation": EngineFigures}
NOT_IN_EVERY_STEP = {"evaluation": EvaluationFigures}


def test_a_step_writes_the_keys_of_step_line(tmp_path):
    world = test_loop.train(tmp_path, test_loop.World())
    lines = test_loop.metrics(tmp_path)
    assert [line["step"] for line in world.published] == [line["step"] for line in lines]
    for line in lines:
        assert line["generators"] == {"generator_0": line["generation"]}
        assert StepLine.__required_keys__ | {"skipped_steps"} <= line.keys() <= get_type_hints(StepLine).keys()
        for part, keys in NESTED.items():
            assert line[part].keys() == get_type_hints(keys).keys()


def test_every_metric_is_a_key_of_step_line():
    nested = {f"{part}/{name}" for part, keys in (NESTED | NOT_IN_EVERY_STEP).items() for name in get_type_hints(keys)}
    known = get_type_hints(StepLine).keys() | nested
    assert METRICS.keys() <= known
    assert {key for metric in METRICS.values() for key in (metric.low, metric.high) if key} <= known


def test_every_metric_is_shown_somewhere():
    shown = {metric.key for metric in (*RL_CURVES, *MACHINE_CURVES)} | set(screen.RL_CURVES) | set(step_panel.FIGURES)
    assert METRICS.keys() == shown
