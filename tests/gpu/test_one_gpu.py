"""One GPU for a generator and a learner: each frees it when it sleeps, and the whole pipeline runs.

`pytest tests/gpu -m gpu`; docs/status.md says what has run.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from device import GPU, ONE_GPU, TINY, needs_gpu, needs_gpu_or_rehearsal

pytestmark = pytest.mark.gpu

# Each engine in a process of its own: its memory on the GPU is free when it ends.
SLEEP = """
import json, sys, torch
from vt_ray.config import LearnerConfig, ModelConfig, OptimizerConfig
from vt_ray.engines.generation import EngineSpec
from vt_ray.engines.vllm.engine import VllmEngine
from vt_ray.engines.deepspeed_process import init_process_group
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.training import TrainingEngine

side, model = sys.argv[1:]
gpus = torch.cuda.device_count()
if side == "generator":
    sleeps = {"can_sleep": gpus > 0, "enforce_eager": True}
    engine = VllmEngine(EngineSpec(model, "bfloat16", 128, 8, min(gpus, 1), 1, 1, 0.5, 1, 0, **sleeps))
else:
    init_process_group(0, 1, "127.0.0.1", 29517)
    spec = LearnerSpec(model, ModelConfig(dtype="bfloat16"), OptimizerConfig(), LearnerConfig(), 10, 0)
    engine = TrainingEngine(spec)
tokens, free = list(range(5, 25)), []
before = engine.token_logprobs(tokens)
for step in (None, engine.sleep, engine.wake_up):
    if step is not None:
        step()
    if gpus:
        torch.cuda.synchronize()
        free.append(torch.cuda.mem_get_info()[0])
print(json.dumps({"free": free, "same": engine.token_logprobs(tokens) == before}))
"""


def finished_run(runs, take_turns):
    overrides = [*TINY, *ONE_GPU, f"runs_dir={runs}", f"cluster.take_turns={take_turns}"]
    done = subprocess.run(
        [sys.executable, "-m", "vt_ray.main", *overrides], capture_output=True, text=True, timeout=550
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("both stay awake" in done.stdout) == (take_turns == "never")
    return runs / "tiny"


@needs_gpu_or_rehearsal
def test_whole_pipeline_on_one_gpu_proves_every_sync(tmp_path):
    _check(finished_run(tmp_path, "always"))


@needs_gpu
def test_whole_pipeline_with_both_sides_awake_proves_every_sync(tmp_path):
    _check(finished_run(tmp_path, "never"))


def _check(finished):
    assert len(json.loads((finished / "summary.json").read_text())["milestones"]) == 7
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["sync"]["version"] for line in lines] == [1, 2, 3, 4, 5, 6]


@needs_gpu_or_rehearsal
@pytest.mark.parametrize("side", ["generator", "learner"])
def test_a_side_that_sleeps_frees_the_gpu_and_wakes_up_as_it_was(base_model, side):
    command = [sys.executable, "-c", SLEEP, side, str(base_model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same"]
    if not GPU:
        return
    awake, asleep, again = found["free"]
    # vLLM's half of the GPU is mostly KV cache; the states of a tiny learner are small.
    assert asleep - awake >= (torch.cuda.mem_get_info()[1] * 0.3 if side == "generator" else 1)
    assert again < asleep
