"""A run that enters the pipeline after SFT, with the checkpoints of another run."""

from __future__ import annotations

import json

import pytest
from tiny_run import ONE_STEP, run_tiny

pytestmark = pytest.mark.slow


def test_checkpoints_of_another_run_are_probed_and_fused_and_start_rl(finished_run, tmp_path):
    finished, _ = finished_run
    checkpoints = sorted((finished / "sft/checkpoints").glob("step_*"))
    doors = ["phases=[probe,fuse,rl]", f"spectrum.checkpoints=[{','.join(map(str, checkpoints))}]", ONE_STEP]
    within = ["signal.save_hf_every=1", "signal.evaluate_every=1"]
    done = run_tiny(tmp_path, "run_name=entered", *doors, *within)
    assert done.returncode == 0, done.stdout + done.stderr
    run, stage = tmp_path / "entered", tmp_path / "entered/rl/short"
    summary = json.loads((run / "summary.json").read_text())
    assert [m["name"] for m in summary["milestones"]] == ["base", "sft_best", "fused", "short"]
    # Equal checkpoints, seeds and problems: the other run has measured the same.
    probed, other = (json.loads((root / "probe/probe.json").read_text()) for root in (run, finished))
    assert probed["checkpoints"] == other["checkpoints"] and probed["specialists"] == other["specialists"]
    (line,) = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert line["evaluation"]["pass_at_1"] == summary["milestones"][-1]["pass_at_1"]["mean"]
    saved, model = stage / "models/step_000001", stage / "model"
    assert sorted(file.name for file in saved.iterdir()) == sorted(file.name for file in model.iterdir())
    assert (saved / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    page = (run / "report.html").read_text()
    assert 'id="probe"' in page and 'id="sft"' not in page
