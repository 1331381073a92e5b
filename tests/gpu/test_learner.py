"""One learner rank with all options for a GPU updates as a plain rank does: `pytest tests/gpu -m gpu`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from device import needs_gpu_or_rehearsal

pytestmark = [pytest.mark.gpu, needs_gpu_or_rehearsal]

# Two chunks of different sizes in the head, three temperatures, sleep before each step, and a step without rows.
STEPS = """
import json, sys, torch
from vt_ray.algorithms.losses import sft_loss
from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import LearnerConfig, ModelConfig, OptimizerConfig
from vt_ray.engines.deepspeed_process import init_process_group
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.training import TrainingEngine

model, options = sys.argv[1], sys.argv[2] == "options"
gpu = torch.cuda.is_available()
init_process_group(0, 1, "127.0.0.1", 29518 + options)
attention = "torch_varlen" if options and gpu else "sdpa"
learner = {"zero_stage": 2 if options else 1, "compile": options and gpu, "row_tokens": 256, "logprob_chunk_tokens": 64}
spec = LearnerSpec(
    model,
    ModelConfig(dtype="bfloat16", attention=attention, gradient_checkpointing=options),
    OptimizerConfig(lr=1e-3, warmup_steps=0),
    LearnerConfig(**learner),
    10,
    0,
)
engine = TrainingEngine(spec)
ids = torch.randint(4, 250, (4, 90), generator=torch.Generator().manual_seed(0), dtype=torch.int32).numpy()
sequences = [TrainSequence((5, 6, 7), row[: 90 - 20 * i], 1 / 200) for i, row in enumerate(ids)]
found = []
for temperature in (1.0, 0.6, 1.0, 1.3):
    if options:
        engine.sleep()
        engine.wake_up()
    rows = engine.rows(sequences) if temperature < 1.3 else []
    metrics = engine.optimizer_step(rows, lambda logprobs, _, row: sft_loss(logprobs, row.token_weights), temperature)
    found.append([metrics["loss"], metrics["grad_norm"], metrics["skipped"]])
print(json.dumps(found))
"""


def steps(model, kind):
    command = [sys.executable, "-c", STEPS, str(model), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_all_options_together_update_as_none_does(base_model):
    plain, with_options = steps(base_model, "plain"), steps(base_model, "options")
    assert plain[0][1] > 0.1 and plain[0][0] > plain[2][0], "the steps learn"
    # The loss and the norm of the gradients; bfloat16 rounds both.
    for one, other in zip(plain, with_options, strict=True):
        assert other == pytest.approx(one, rel=0.03, abs=1e-3)
