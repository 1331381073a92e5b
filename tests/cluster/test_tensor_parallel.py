"""An engine over two processes: the same completions as one. Weights do not reach it yet (`validate` refuses it)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

# A process of its own: vLLM's workers import the main module again.
GENERATE = """
import json, os, sys
from vt_ray.engines.generation import EngineSpec, GenerationEngine
from vt_ray.records import Problem, Prompt, Sampling

if __name__ == "__main__":
    folder, ranks = sys.argv[1], int(sys.argv[2])
    engine = GenerationEngine(EngineSpec(folder, "float32", 128, 8, 0, ranks, 1, 0.5, 1, 0))
    prompts = [Prompt(Problem("q", "algebra", "math", "?"), tuple(range(5, 30)), (1, 2))]
    ((rollouts),) = engine.generate(prompts, Sampling(1.0, 1.0, 0, 16))
    probe = engine.token_logprobs(list(range(5, 25)))
    print(json.dumps([[c.token_ids for c in rollouts.completions], probe]), flush=True)
    engine.loop.close()
    engine.llm.llm_engine.engine_core.shutdown()
"""


def test_two_ranks_generate_what_one_does(base_model, tmp_path):
    script = tmp_path / "generate.py"
    script.write_text(GENERATE)

    def generated(ranks):
        command = [sys.executable, script, base_model, str(ranks)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr[-3000:]
        # vLLM has its own to say on stdout.
        return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[[")))

    (alone, alone_probe), (shared, shared_probe) = generated(1), generated(2)
    assert shared_probe == pytest.approx(alone_probe, abs=1e-4)
    assert shared == alone
