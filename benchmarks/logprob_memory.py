"""Memory of the log-probabilities of a long row: in chunks, and with the whole logits and their gradient.

    python benchmarks/logprob_memory.py [--tokens 32768] [--vocabulary 152064] [--hidden 16] [--chunk 2048]

Each measurement is the peak resident memory of a fresh process minus its memory before, for forward and backward
through an lm_head in float32. The whole logits are measured for --whole-tokens tokens only and compared with a
formula; the formula then gives the figure for all tokens. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

from vt_ray.algorithms.logprobs import chunked_logprobs, entropy, selected_logprobs


def measure(way: str, tokens: int, vocabulary: int, hidden: int, chunk: int) -> dict[str, float]:
    """Returns the peak bytes beyond the inputs and their gradients, and the CPU seconds."""
    torch.manual_seed(0)
    states = torch.randn(tokens, hidden).requires_grad_()
    weight = (torch.randn(vocabulary, hidden) / hidden**0.5).requires_grad_()
    states.grad, weight.grad = torch.zeros_like(states), torch.zeros_like(weight)
    targets = torch.randint(0, vocabulary, (tokens,))
    before, began = peak_bytes(), time.process_time()
    if way == "chunked":
        logprobs, _ = chunked_logprobs(states, weight, None, targets, 0.9, chunk)
    else:
        logits = states @ weight.T
        logprobs = selected_logprobs(logits, targets, 0.9)
        with torch.no_grad():
            entropy(logits, 0.9)
    logprobs.mean().backward()
    return {"bytes": peak_bytes() - before, "seconds": time.process_time() - began}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_a_fresh_process(*arguments: object) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, "--only", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("tokens", 32768), ("vocabulary", 152064), ("hidden", 16), ("chunk", 2048)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--whole-tokens", type=int, default=2048)
    parser.add_argument("--only", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        way, *sizes = given.only
        print(json.dumps(measure(way, *map(int, sizes))))
        return
    shape = (given.vocabulary, given.hidden, given.chunk)
    chunked = in_a_fresh_process("chunked", given.tokens, *shape)
    whole = in_a_fresh_process("whole", given.whole_tokens, *shape)
    # Bytes of the logits and their gradient in float32.
    formula = 2 * 4 * given.vocabulary
    print(f"chunks of {given.chunk}: {chunked['bytes'] / 1e9:.2f} GB for {given.tokens} tokens")
    print(f"whole: at least {given.tokens * formula / 1e9:.2f} GB by formula for {given.tokens} tokens;")
    print(f"       {whole['bytes'] / 1e9:.2f} GB measured for {given.whole_tokens}, for which the formula gives")
    print(f"       {given.whole_tokens * formula / 1e9:.2f} GB")
    result = {
        "tokens": given.tokens,
        "vocabulary": given.vocabulary,
        "hidden": given.hidden,
        "chunk_tokens": given.chunk,
        "chunked_peak_bytes": chunked["bytes"],
        "chunked_cpu_seconds": round(chunked["seconds"], 2),
        "whole_formula_bytes": given.tokens * formula,
        "whole_checked_tokens": given.whole_tokens,
        "whole_checked_peak_bytes": whole["bytes"],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
