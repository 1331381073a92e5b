"""The checks of benchmarks/gpu_proof.py with tiny shapes on a CPU: the code that a GPU will run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu_proof.py"


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_check_passes_in_the_rehearsal(tmp_path):
    command = [sys.executable, SCRIPT, "--rehearse", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["check"] for line in lines] == ["machine", "tiny", "tests", "logprobs", "step", "gsm8k"]
    assert {line["status"] for line in lines} == {"passed"}, done.stdout
    assert done.returncode == 0
