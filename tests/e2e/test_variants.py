"""Whole pipelines in other settings: two ranks under ZeRO-3, a pretrained model, an interrupt from the keyboard."""

from __future__ import annotations

import json
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest
from tiny_run import TINY, run_tiny, wait_for

pytestmark = pytest.mark.nightly


def summary_of(runs: Path, *overrides: str) -> dict:
    done = run_tiny(runs, *overrides, timeout_s=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((runs / "tiny/summary.json").read_text())


@pytest.mark.timeout(1600)
def test_two_learner_ranks_two_generators_zero_3(tmp_path):
    summary = summary_of(
        tmp_path,
        "cluster.num_learners=2",
        "cluster.num_generators=2",
        "learner.zero_stage=3",
        "cluster.learner_threads=1",
        "cluster.generator_threads=1",
    )
    assert len(summary["milestones"]) == 7


@pytest.mark.timeout(1600)
def test_pretrained_model_in_bfloat16(tmp_path):
    summary = summary_of(tmp_path, "model=smollm2_135m", "spectrum.sft.steps=2", "spectrum.sft.checkpoint_every=1")
    assert len(summary["milestones"]) == 7


def test_one_shared_gpu_rehearsed_without_one(tmp_path):
    """Generator and learner take turns; vLLM refuses work while asleep, so a wrong turn would never end."""
    assert len(summary_of(tmp_path, "cluster.colocate=true")["milestones"]) == 7


def test_interrupt_from_the_keyboard_says_how_to_continue(tmp_path):
    command = [*TINY, f"runs_dir={tmp_path}"]
    # A shell starts its background jobs with SIGINT ignored, and their children inherit this.
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, preexec_fn=listening, **pipes) as process:
        wait_for(process, lambda: list(tmp_path.glob("phases/sft-*/metrics.jsonl")))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "the same command continues" in errors
    assert len(summary_of(tmp_path)["milestones"]) == 7
