"""The gate of a stage: its decision on made histories, and stages that it ends."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import test_loop

from vt_ray.config import GateConfig, StageConfig
from vt_ray.report.run_record import read_run
from vt_ray.run.metrics_log import MetricsLog, Tail
from vt_ray.signal_phase.gate import due, end_reason
from vt_ray.signal_phase.stage_end import StageHistory

STAGE = StageConfig("math", ["algebra"], 6, 2, 4, 8)


@pytest.mark.parametrize(
    ("gate", "steps", "probe_accuracy", "truncated", "reason"),
    [
        (GateConfig(), 900, [1.0] * 9, [1.0] * 900, None),
        (GateConfig(target=0.5), 10, [0.3, 0.49], [], None),
        (GateConfig(target=0.5), 10, [0.3, 0.5], [], "target"),
        (GateConfig(target=0.5, min_steps=11), 10, [0.9], [], None),
        (GateConfig(plateau_evals=2), 10, [0.3, 0.3], [], None),
        (GateConfig(plateau_evals=2), 10, [0.3, 0.3, 0.3], [], "plateau"),
        (GateConfig(plateau_evals=2), 10, [0.3, 0.2, 0.31], [], None),
        (GateConfig(plateau_evals=2, plateau_delta=0.02), 10, [0.3, 0.2, 0.31], [], "plateau"),
        (GateConfig(plateau_evals=2), 10, [0.3, 0.4, 0.3, 0.35], [], "plateau"),
        (GateConfig(max_truncated_share=0.4, window=3), 2, [], [0.9, 0.9], None),
        (GateConfig(max_truncated_share=0.4, window=3), 4, [], [0.9, 0.1, 0.5, 0.6], None),
        (GateConfig(max_truncated_share=0.4, window=3), 4, [], [0.0, 0.3, 0.5, 0.5], "truncation"),
    ],
)
def test_the_reason_for_the_end_of_a_history(gate, steps, probe_accuracy, truncated, reason):
    found = end_reason(gate, steps, probe_accuracy, truncated)
    assert found is None if reason is None else found.startswith(reason)


def test_the_gate_probes_every_eval_every_steps():
    assert [step for step in range(1, 10) if due(GateConfig(eval_every=3), step)] == [3, 6, 9]
    assert not any(due(GateConfig(), step) for step in range(1, 10))


def stage_end(root):
    return json.loads((root / "rl/math/stage.json").read_text())


def test_a_stage_ends_at_its_gate_and_the_next_continues_its_version(tmp_path):
    # The accuracies do not rise by 1, so the second probe is a plateau.
    gated = replace(STAGE, gate=GateConfig(eval_every=2, plateau_evals=1, plateau_delta=1.0))
    code = StageConfig("code", ["code"], 1, 2, 4, 8)
    test_loop.train(tmp_path, test_loop.World(), stages=[gated, code], probe=test_loop.PROBLEMS[:3])
    assert stage_end(tmp_path)["steps"] == 4 and stage_end(tmp_path)["ended"].startswith("plateau")
    lines = test_loop.metrics(tmp_path)
    assert ["probe_accuracy" in line for line in lines] == [False, True, False, True, False]
    assert [line["weight_version"] for line in lines] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("crash_at", range(20, 90, 7))
def test_a_crash_does_not_change_the_step_of_the_gate(tmp_path, crash_at):
    gated = replace(STAGE, gate=GateConfig(eval_every=1, plateau_evals=2, samples=8))
    probe = test_loop.PROBLEMS[:3]
    test_loop.train(tmp_path / "whole", test_loop.World(), stages=[gated], probe=probe)
    try:
        test_loop.train(tmp_path / "crashed", test_loop.World(crash_at), stages=[gated], probe=probe)
    except ConnectionAbortedError:
        test_loop.train(tmp_path / "crashed", test_loop.World(), stages=[gated], probe=probe)
    assert stage_end(tmp_path / "crashed") == stage_end(tmp_path / "whole")


@pytest.mark.parametrize("name", ["probe_accuracy", "held_out"])
def test_a_resumed_gate_counts_the_probes_of_an_older_run(tmp_path, name):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step, accuracy in enumerate([0.5, None, 0.4], start=1):
        log.write({"phase": "rl", "stage": STAGE.name, "step": step, "truncated_share": 0.0, name: accuracy})
    gated = replace(STAGE, steps=9, gate=GateConfig(eval_every=1, plateau_evals=1))
    history = StageHistory.read(SimpleNamespace(stage=gated, log=log), 3)
    assert history.probe_accuracy == [0.5, 0.4] and history.ended.startswith("plateau")
    assert [line["probe_accuracy"] for line in read_run(tmp_path).rl] == [0.5, None, 0.4]
    assert [line["probe_accuracy"] for line in Tail(log.path).read()] == [0.5, None, 0.4]
