"""The commands as a user types them: dry runs, refusals, the three ways to start, the tools."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)


# Presets that evaluate a model of the user's. `made` is the benchmark without a file.
EVALUATIONS = ("evaluate", "robustness", "transfer")
A_MODEL = ("model=smollm2_135m", "evaluation.benchmarks=[made]")


@pytest.mark.parametrize("experiment", sorted(p.stem for p in (ROOT / "conf/experiment").glob("*.yaml")))
def test_every_preset_dry_runs_anywhere(experiment, tmp_path):
    own = A_MODEL if experiment in EVALUATIONS else ()
    done = run(BIN / "vt-ray", f"experiment={experiment}", *own, "dry_run=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("generator", "verifier", "tokens at most", "GPUs in total"):
        assert word in done.stdout
    assert ("learner" in done.stdout) == (experiment not in EVALUATIONS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", ["smollm2_135m", "scratch_qwen2"])
def test_every_model_dry_runs(model, tmp_path):
    done = run(BIN / "vt-ray", f"model={model}", "dry_run=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [[BIN / "vt-ray"], [sys.executable, "-m", "vt_ray.main"], [sys.executable, ROOT / "vt_ray/main.py"]],
    ids=["vt-ray", "module", "script"],
)
def test_three_ways_to_start_are_the_same(command, tmp_path):
    done = run(*command, "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "curriculum:" in done.stdout


def test_impossible_values_are_listed_before_any_work(tmp_path):
    done = run(BIN / "vt-ray", "signal.mgpo.lam=-1", "evaluation.k=99", "seed=-3", cwd=tmp_path)
    assert done.returncode == 1
    for name in ("signal.mgpo.lam=-1", "evaluation.k=99", "seed=-3"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_sweep_with_a_value_that_cannot_work_exits_non_zero(tmp_path):
    done = run(BIN / "vt-ray", "-m", "signal.mgpo.lam=-1,1", f"runs_dir={tmp_path}", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: signal.mgpo.lam=-1.0" in done.stderr and "Traceback" not in done.stderr


def test_sweep_inside_a_cluster_is_named_by_what_it_sweeps(tmp_path):
    where = ("cluster.ray_address=auto", f"runs_dir={tmp_path}", "dry_run=true")
    done = run(BIN / "vt-ray", "-m", *where, "experiment=tiny", "signal.mgpo.lam=0,1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tiny-signal.mgpo.lam=0 " in done.stdout and "tiny-signal.mgpo.lam=1 " in done.stdout


def test_gpus_that_are_not_there_are_refused(tmp_path):
    done = run(BIN / "vt-ray", "cluster.gpus_per_learner=4096", "cluster.num_learners=1", cwd=tmp_path)
    assert done.returncode == 1 and "num_learners" in done.stderr
    done = run(BIN / "vt-ray", "cluster.gpus_per_learner=1", "cluster.num_learners=999", cwd=tmp_path)
    assert done.returncode == 1 and "999" in done.stderr and "this machine has" in done.stderr


def test_unreadable_row_is_named_with_its_file(tmp_path):
    rows = tmp_path / "mine.jsonl"
    rows.write_text('{"problem": "1+1?", "answer": "2"}\n{"problem": "broken\n')
    done = run(BIN / "vt-ray", f"data.test_files=[{{path: {rows}}}]", "dry_run=true", cwd=tmp_path)
    assert done.returncode == 1
    assert "mine.jsonl" in done.stderr and "row 2" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_training_question_in_the_test_set_is_left_out_or_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"problem": "What is 1 + 1?", "answer": "2"}]))
    overrides = [f"data.{s}_files=[{{path: {tmp_path / f}.json}}]" for s, f in (("train", "a"), ("test", "b"))]
    done = run(BIN / "vt-ray", *overrides, "dry_run=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 contains a probing or test question" in " ".join(done.stdout.split())
    done = run(BIN / "vt-ray", *overrides, "data.decontaminate=off", "dry_run=true", cwd=tmp_path)
    assert done.returncode == 1
    assert "test set" in done.stderr and "train set" in done.stderr


def test_tools_show_problems():
    done = run(BIN / "vt-tools", "problems", "geometry", "--count", "2")
    assert done.returncode == 0 and "[checked]" in done.stdout
    assert run(BIN / "vt-tools", "problems", "alchemy").returncode != 0
