"""Bare cost of the parts of one step: the lower bounds of the figures of step_vs_trl.py.

    python benchmarks/step_floors.py job.json        (started by step_vs_trl.py)

    generate   a plain vLLM engine decodes as many tokens of the same prompts, without log-probabilities and seeds
    update     forward and backward of transformers over the same tokens, whole batch or quarters, the faster one
    sync       one copy of all weights

Prints a line of JSON with the seconds of each.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    floors = {"generate": decode(job), **bare_update(job)}
    print(json.dumps(floors), file=answers, flush=True)


def decode(job: dict[str, Any]) -> float:
    """Returns the seconds that a plain engine needs for completions with the lengths of the step."""
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_CPU_OMP_THREADS_BIND="nobind",
        VLLM_CPU_KVCACHE_SPACE="1",
        VLLM_LOGGING_LEVEL="ERROR",
        VLLM_NO_USAGE_STATS="1",
        HF_HUB_OFFLINE="1",
    )
    from vllm import LLM, SamplingParams, TokensPrompt

    engine = LLM(
        job["model"],
        dtype=job["dtype"],
        max_model_len=job["context_tokens"],
        max_num_batched_tokens=4096,
        distributed_executor_backend="uni",
        enforce_eager=True,
        generation_config="vllm",
        disable_log_stats=True,
    )
    prompts = [TokensPrompt(prompt_token_ids=s["prompt"]) for s in job["sequences"]]
    params = [
        SamplingParams(temperature=1.0, max_tokens=len(s["completion"]), ignore_eos=True, detokenize=False)
        for s in job["sequences"]
    ]
    # The first call compiles.
    engine.generate(prompts, SamplingParams(temperature=1.0, max_tokens=2, ignore_eos=True), use_tqdm=False)

    def once() -> None:
        engine.reset_prefix_cache()
        engine.generate(prompts, params, use_tqdm=False)

    return seconds_of(once)


def bare_update(job: dict[str, Any]) -> dict[str, float]:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"]))
    sequences = [s["prompt"] + s["completion"] for s in job["sequences"]]
    longest = max(map(len, sequences))
    ids = torch.tensor([s + [0] * (longest - len(s)) for s in sequences])
    targets = torch.full_like(ids, -100)
    for row, s in enumerate(job["sequences"]):
        lead, tail = len(s["prompt"]), len(s["completion"])
        targets[row, lead - 1 : lead - 1 + tail] = torch.tensor(s["completion"])
    # Logits only from the first position that predicts a completion token.
    begin = min(len(s["prompt"]) for s in job["sequences"]) - 1

    def forward_backward(micro_batch: int) -> None:
        for rows, wanted in zip(ids.split(micro_batch), targets[:, begin:].split(micro_batch), strict=True):
            hidden = model.model(input_ids=rows, use_cache=False).last_hidden_state[:, begin:]
            logits = model.lm_head(hidden).float().flatten(0, 1)
            torch.nn.functional.cross_entropy(logits, wanted.flatten(), reduction="sum").backward()

    forward_backward_of = (len(ids), max(len(ids) // 4, 1))
    model(input_ids=ids[:2], use_cache=False)
    update = min(seconds_of(lambda size=size: forward_backward(size)) for size in forward_backward_of)
    weights = [p.detach() for p in model.parameters()]
    copies = [torch.zeros_like(p) for p in weights]
    copied = seconds_of(lambda: [c.copy_(p) for c, p in zip(copies, weights, strict=True)])
    return {"update": update, "sync": copied}


def seconds_of(work: Callable[[], Any]) -> float:
    """Returns the least time of the tries that fit into 3 seconds: the time on a machine without other load."""
    tries: list[float] = []
    while sum(tries) < 3 and len(tries) < 10:
        began = time.monotonic()
        work()
        tries.append(time.monotonic() - began)
    return min(tries)


if __name__ == "__main__":
    main()
