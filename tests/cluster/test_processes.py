"""The environment of each process of a run before PyTorch is loaded: how threads wait, and the visible GPUs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PRINT_VISIBLE_GPUS = """
import os, sys
from pathlib import Path
import ray
from vt_ray.actors.start_ray import start_ray
from vt_ray.actors.process import begin_process
from vt_ray.config import ClusterConfig

start_ray(ClusterConfig(object_store_gb=0.1))

@ray.remote(num_cpus=0, num_gpus=0)
def visible(hidden_by_ray):
    if not hidden_by_ray:
        os.environ["CUDA_VISIBLE_DEVICES"] = "0,1"
        begin_process(Path(sys.argv[1]) / "log")
    return os.environ.get("CUDA_VISIBLE_DEVICES")

print("visible:", [ray.get(visible.remote(hidden)) for hidden in (True, False)])
"""

# For each line of input, the steps per second of a small network within the seconds that the line gives.
TRAIN = """
import sys, time
import vt_ray.engines.training
import torch
torch.manual_seed(0)
def layer(): return torch.nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
net = torch.nn.Sequential(torch.nn.Embedding(512, 128), *[layer() for _ in range(4)], torch.nn.Linear(128, 512))
optimizer, ids = torch.optim.AdamW(net.parameters()), torch.randint(512, (16, 256))
def step():
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net(ids).flatten(0, 1), ids.flatten()).backward()
    optimizer.step()
step()
for seconds in sys.stdin:
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < float(seconds):
        step()
        steps += 1
    print(steps / (time.perf_counter() - began), flush=True)
"""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_an_actor_that_asks_for_no_gpu_sees_none(tmp_path):
    """Both on a Ray that the run starts and on a Ray that was started elsewhere, which hides no GPUs."""
    done = python(PRINT_VISIBLE_GPUS, str(tmp_path), CUDA_VISIBLE_DEVICES="0,1")
    assert "visible: ['', '']" in done.stdout


@pytest.mark.parametrize(
    "chosen, policy, spins",
    [
        ({}, "ACTIVE", "1000"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "PASSIVE", "0"),
        ({"GOMP_SPINCOUNT": "77"}, "PASSIVE", "77"),
    ],
)
def test_openmp_spins_shortly_unless_the_user_says_otherwise(monkeypatch, chosen, policy, spins):
    # An engine that another test has opened in this process leaves an LD_PRELOAD with libgomp, which would be loaded
    # before Python runs. In a run the variables are in the environment by then.
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    # The package sets the variables before it imports PyTorch.
    shown = python("import vt_ray.algorithms.losses", OMP_DISPLAY_ENV="VERBOSE", **chosen).stderr
    assert f"GOMP_SPINCOUNT = '{spins}'" in shown
    # ACTIVE: the spin is not shorter in a process with more OpenMP threads than cores.
    assert f"OMP_WAIT_POLICY = '{policy}'" in shown


def test_busy_processes_take_no_more_than_their_share():
    """There are as many busy processes as cores, so a fair share is 0.5. With long spinning the share is far below."""
    alone, beside = [], []
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", TRAIN], text=True, **pipes) as training:

        def steps_per_second() -> float:
            training.stdin.write("3\n")
            training.stdin.flush()
            return float(training.stdout.readline())

        for _ in range(2):
            alone.append(steps_per_second())
            busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
            try:
                beside.append(steps_per_second())
            finally:
                for process in busy:
                    process.kill()
                    process.wait()
    assert max(beside) > 0.2 * max(alone), (alone, beside)
