"""The whole pipeline in a separate process, with the real Ray, vLLM, DeepSpeed and verifier."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny_run import ONE_STEP, TINY, copy_phases, run_tiny, wait_for

pytestmark = pytest.mark.slow

MILESTONES = ["base", "sft_last", "sft_best", "fused", "math_short", "math_long", "code"]
STAGES = MILESTONES[4:]
ROLLOUT_COLUMNS = {
    "stage",
    "step",
    "question_id",
    "sample",
    "weight_version",
    "text",
    "tokens",
    "rollout_logprobs",
    "verdict",
    "reason",
    "p_c",
    "weight",
    "advantage",
    "seconds",
}


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_run_ends_with_a_table_and_a_report(finished_run):
    run, done = finished_run
    for name in MILESTONES:
        assert name in done.stdout
    assert "WARNING" not in done.stdout + done.stderr
    assert (run / "report.html").stat().st_size > 100_000


def test_summary_has_every_milestone_in_order(finished_run):
    run, _ = finished_run
    summary = json.loads((run / "summary.json").read_text())
    assert [m["name"] for m in summary["milestones"]] == MILESTONES
    for milestone in summary["milestones"]:
        for scores in (milestone, *milestone["by_subdomain"].values()):
            for measure in ("pass_at_1", "pass_at_8"):
                assert 0 <= scores[measure]["low"] <= scores[measure]["mean"] <= scores[measure]["high"] <= 1
        assert set(milestone["by_subdomain"]) == {"algebra", "geometry", "calculus", "statistics", "code"}
    assert summary["lambda"] == 1.0 and summary["seed"] == 0
    assert summary["config_hash"] == json.loads((run / "run.json").read_text())["config_hash"]
    for phase in ("sft", "probe", "evaluate", *(f"rl {s}" for s in STAGES)):
        assert summary["phases"][phase]["seconds"] > 0 and summary["phases"][phase]["tokens"] > 0


def test_summary_has_the_hardware_and_each_step_the_busy_share_of_each_actor(finished_run):
    run, _ = finished_run
    summary = json.loads((run / "summary.json").read_text())
    assert summary["hardware"] == {"cpu_cores": os.cpu_count(), "gpus": 0}
    assert (run / "fused" / "fused_on_probe.json").exists()
    for line in metrics(run):
        busy, seconds = line["busy"], line["seconds"]
        assert set(busy) == {"generator_0", "learner_0", "verifier_0", "verifier_1", "tracker"}
        assert all(0 <= share <= 1 for share in busy.values())
        # Generating is nearly all that a step waits for in "generate", training in "update".
        assert busy["generator_0"] * seconds["total"] > 0.5 * seconds["generate"]
        assert busy["learner_0"] * seconds["total"] > 0.5 * seconds["update"]
        assert line["generators"] == {"generator_0": line["generation"]}
        assert line["generation"]["decode_tokens_per_second"] > 0 and 0 < line["generation"]["running"] <= 16


def test_rollouts_have_one_row_a_completion(finished_run):
    run, _ = finished_run
    for stage in STAGES:
        for step in (1, 2):
            table = pq.read_table(run / "rollouts" / stage / f"step_{step:06d}.parquet")
            assert set(table.column_names) >= ROLLOUT_COLUMNS
            rows = table.to_pylist()
            assert len(rows) == 4 * 4
            assert len({(r["question_id"], r["sample"]) for r in rows}) == 16
            for row in rows:
                assert len(row["tokens"]) == len(row["rollout_logprobs"]) > 0
                assert row["verdict"] in ("correct", "wrong", "unverified")
                assert all(logprob <= 0 for logprob in row["rollout_logprobs"])


def test_versions_rise_by_one_each_step_over_all_stages(finished_run):
    run, _ = finished_run
    assert [line["weight_version"] for line in metrics(run)] == list(range(6))
    assert all(line["sync"]["version"] == line["weight_version"] + 1 for line in metrics(run))


def test_fused_model_is_an_ordinary_checkpoint(finished_run):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run, _ = finished_run
    model = AutoModelForCausalLM.from_pretrained(run / "fused")
    assert len(AutoTokenizer.from_pretrained(run / "fused")) <= model.config.vocab_size


def test_finished_run_is_not_repeated(finished_run):
    run, _ = finished_run
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")}
    again = run_tiny(run.parent)
    assert again.returncode == 0, again.stderr
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")}
    assert len(metrics(run)) == 6


def test_same_folder_with_another_config_is_refused(finished_run):
    run, _ = finished_run
    refused = run_tiny(run.parent, "signal.mgpo.lam=2")
    assert refused.returncode != 0
    assert "signal.mgpo.lam was 1.0, is 2.0" in refused.stderr and "run_name" in refused.stderr


def kill_when(process: subprocess.Popen, condition) -> None:
    """Sends SIGKILL to the driver as soon as `condition()` holds."""
    wait_for(process, condition)
    process.kill()
    process.wait()


def test_killed_run_continues_where_it_stopped(finished_run, tmp_path):
    """kill -9 in the middle of SFT, then in the middle of RL: the third command ends as an undisturbed run does."""
    whole, _ = finished_run
    run = tmp_path / "tiny"
    command = [*TINY, f"runs_dir={tmp_path}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        kill_when(process, lambda: list(tmp_path.glob("phases/sft-*/state/step_000006/manifest.json")))
    with subprocess.Popen(command, **quiet) as process:
        kill_when(process, lambda: (run / "rl/math_long/checkpoints/step_000001/manifest.json").exists())
    # A tracking sink that is switched on when a run continues also gets the metrics of the earlier steps.
    done = run_tiny(tmp_path, "tracking.sinks=[tensorboard]", "tracking.completions_every=2")
    assert done.returncode == 0, done.stdout + done.stderr
    sent = json.loads((run / "tracking.json").read_text())["tensorboard"]["sent"]
    assert sent == 12 + len(MILESTONES) + 6 and list((run / "tensorboard").glob("events*"))
    assert any(b"rl/completions" in file.read_bytes() for file in (run / "tensorboard").glob("events*"))
    sft = [json.loads(line)["step"] for line in (run / "sft/metrics.jsonl").read_text().splitlines()]
    assert sft == list(range(1, 13))
    ours, theirs = metrics(run), metrics(whole)
    assert [(m["stage"], m["step"]) for m in ours] == [(m["stage"], m["step"]) for m in theirs]
    for stage in STAGES:
        files = sorted(p.name for p in (run / "rollouts" / stage).iterdir())
        assert files == ["step_000001.parquet", "step_000002.parquet"]
        for name in files:
            mine, other = (pq.read_table(r / "rollouts" / stage / name).to_pylist() for r in (run, whole))
            assert [(r["question_id"], r["sample"]) for r in mine] == [(r["question_id"], r["sample"]) for r in other]


def test_multirun_shares_one_sft_and_one_fused_model(finished_run):
    """Both members of the sweep take the spectrum phase of the finished run: only lambda differs."""
    run, _ = finished_run
    before = sorted(p.name for p in (run.parent / "phases").iterdir())
    done = run_tiny(run.parent, "-m", "signal.mgpo.lam=0,2", ONE_STEP)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(p.name for p in (run.parent / "phases").iterdir()) == before
    summaries = [
        json.loads((run.parent / f"tiny-signal.mgpo.lam={lam}" / "summary.json").read_text()) for lam in (0, 2)
    ]
    assert [s["lambda"] for s in summaries] == [0, 2]
    assert len({s["config_hash"] for s in summaries}) == 2
    weights = [(run.parent / f"tiny-signal.mgpo.lam={lam}" / "fused/model.safetensors").stat().st_ino for lam in (0, 2)]
    assert weights[0] == weights[1]


def test_the_sft_control_continues_from_the_shared_fused_model(finished_run):
    run, _ = finished_run
    control = run.parent / "tiny_sft"
    done = run_tiny(run.parent, "run_name=tiny_sft", "signal.control=sft", "signal.control_sft_steps=3")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((control / "summary.json").read_text())
    assert [m["name"] for m in summary["milestones"]] == [*MILESTONES[:4], "sft_continued"]
    assert summary["gain"]["to"] == "sft_continued"
    assert (control / "fused/model.safetensors").stat().st_ino == (run / "fused/model.safetensors").stat().st_ino
    assert len((control / "sft_continued/metrics.jsonl").read_text().splitlines()) == 3
    assert not (control / "metrics.jsonl").exists()
    assert summary["phases"]["sft_continued"]["tokens"] > 0
    for command, word in ((["watch", "--once", control], "finished"), (["report", run, control], "SFT continued")):
        shown = subprocess.run([sys.executable, "-m", "vt_ray.tools", *command], capture_output=True, text=True)
        assert shown.returncode == 0 and word in shown.stdout, shown.stdout + shown.stderr


def test_failing_run_exits_non_zero(finished_run, tmp_path):
    copy_phases(finished_run[0], tmp_path)
    failed = run_tiny(tmp_path, "signal.sync.logprob_tolerance=1e-30")
    assert failed.returncode != 0
    assert "SyncError" in failed.stderr and "logprob_tolerance" in failed.stderr
    assert "Traceback" not in failed.stderr and "Traceback" in (tmp_path / "tiny/logs/driver.log").read_text()
