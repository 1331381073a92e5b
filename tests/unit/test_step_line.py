"""StepLine names every key that a training step writes, and the table of metrics names only such keys."""

from typing import get_type_hints

import test_loop

from vt_ray.report.metrics import METRICS
from vt_ray.report.run_page.curves import RL_CURVES
from vt_ray.report.watch import screen, step_panel
from vt_ray.run.step_line import EvaluationFigures, StepLine, StepSeconds, SyncFigures, VerifyFigures

NESTED = {"seconds": StepSeconds, "sync": SyncFigures, "verify": VerifyFigures}
NOT_IN_EVERY_STEP = {"evaluation": EvaluationFigures}


def test_a_step_writes_the_keys_of_step_line(tmp_path):
    test_loop.train(tmp_path, test_loop.World())
    for line in test_loop.metrics(tmp_path):
        assert StepLine.__required_keys__ | {"skipped_steps"} <= line.keys() <= get_type_hints(StepLine).keys()
        for part, keys in NESTED.items():
            assert line[part].keys() == get_type_hints(keys).keys()


def test_every_metric_is_a_key_of_step_line():
    nested = {f"{part}/{name}" for part, keys in (NESTED | NOT_IN_EVERY_STEP).items() for name in get_type_hints(keys)}
    known = get_type_hints(StepLine).keys() | nested
    assert METRICS.keys() <= known
    assert {key for metric in METRICS.values() for key in (metric.low, metric.high) if key} <= known


def test_every_metric_is_shown_somewhere():
    shown = {metric.key for metric in RL_CURVES} | set(screen.RL_CURVES) | set(step_panel.FIGURES)
    assert METRICS.keys() == shown
