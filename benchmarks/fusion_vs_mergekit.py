"""vt-tools fuse against mergekit: equality of the tensors, seconds and peak memory.

    python benchmarks/fusion_vs_mergekit.py --mergekit /tmp/mergekit-env/bin/mergekit-yaml --folder /tmp/fusion

Makes a base model and three specialists of 0.5B parameters (Qwen2.5-0.5B's shapes, random weights) in --folder, each of
1 GB in bfloat16. Each program runs alone, in a process of its own. mergekit computes in float32 and stores in the
models' dtype, as vt-tools does. Peak memory is the largest resident set (VmHWM), which counts mapped pages of the files
too, and the largest anonymous memory, sampled every 20 ms. Install mergekit in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from vt_ray.spectrum_phase.model_folder import ModelFolder

# Qwen2.5-0.5B.
HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, VOCABULARY = 896, 4864, 24, 14, 2, 151936
DENSITY = 0.5


def shapes() -> dict[str, tuple[int, ...]]:
    """{name of a tensor: its shape}, with the output layer tied to the embedding."""
    kv = HIDDEN // HEADS * KV_HEADS
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for name, rows in (("q", HIDDEN), ("k", kv), ("v", kv)):
            found[f"{layer}self_attn.{name}_proj.weight"] = (rows, HIDDEN)
            found[f"{layer}self_attn.{name}_proj.bias"] = (rows,)
        found[f"{layer}self_attn.o_proj.weight"] = (HIDDEN, HIDDEN)
        found[f"{layer}mlp.gate_proj.weight"] = found[f"{layer}mlp.up_proj.weight"] = (INTERMEDIATE, HIDDEN)
        found[f"{layer}mlp.down_proj.weight"] = (HIDDEN, INTERMEDIATE)
        found[f"{layer}input_layernorm.weight"] = found[f"{layer}post_attention_layernorm.weight"] = (HIDDEN,)
    return {**found, "model.norm.weight": (HIDDEN,)}


def make_models(folder: Path, dtype: torch.dtype) -> list[Path]:
    """The base model and three specialists: base + seeded noise of a tenth of its size."""
    folders = [folder / name for name in ("base", "algebra", "calculus", "code")]
    config = {
        **{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": True},
        **{"hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS},
        **{"num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "vocab_size": VOCABULARY},
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    for seed, path in enumerate(folders):
        if (path / "config.json").exists():
            continue
        path.mkdir(parents=True, exist_ok=True)
        base, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
        tensors = {}
        for name, shape in shapes().items():
            values = torch.randn(shape, generator=base) * 0.02
            tensors[name] = (values + 0.002 * torch.randn(shape, generator=own) * (seed > 0)).to(dtype)
        save_file(tensors, path / "model.safetensors", {"format": "pt"})
        (path / "config.json").write_text(json.dumps(config))
    return folders


def methods(folders: list[Path]) -> dict[str, tuple[list[str], dict[str, Any]]]:
    """{method: arguments of vt-tools fuse, settings of mergekit}."""
    base, *three = map(str, folders)
    weighted = [{"model": path, "parameters": {"weight": 1 / 3, "density": DENSITY}} for path in three]
    linear = [{"model": path, "parameters": {"weight": 1 / 3}} for path in three]
    pair = [{"model": path} for path in three[:2]]
    slerp = {"merge_method": "slerp", "base_model": three[0], "parameters": {"t": 0.5}}
    return {
        "linear": (three, {"merge_method": "linear", "models": linear}),
        "ties": (
            [*three, "--method", "ties", "--density", str(DENSITY), "--base", base],
            {"merge_method": "ties", "base_model": base, "models": weighted},
        ),
        "slerp": ([*three[:2], "--method", "slerp"], {**slerp, "models": pair}),
    }


def measured(command: list[str]) -> dict[str, float]:
    """Seconds, CPU seconds, peak resident set and peak anonymous memory in MB of a command."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = {"VmHWM": 0, "RssAnon": 0}
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        for line in status.read_text().splitlines():
            key, _, value = line.partition(":")
            if key in peak:
                peak[key] = max(peak[key], int(value.split()[0]))
        time.sleep(0.02)
    output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{output[-3000:]}")
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "resident_mb": peak["VmHWM"] / 1024,
        "anonymous_mb": peak["RssAnon"] / 1024,
    }


def compared(ours: Path, theirs: Path) -> dict[str, float]:
    """The share of tensors and of elements that are equal bit for bit, and the largest difference."""
    one, two = ModelFolder(ours), ModelFolder(theirs)
    equal = same = count = 0
    largest = 0.0
    for name in one.files:
        a, b = one.tensor(name), two.tensor(name)
        equal += a.equal(b)
        same, count = same + int((a == b).sum()), count + a.numel()
        largest = max(largest, float((a.float() - b.float()).abs().max()))
    assert one.files.keys() == two.files.keys()
    return {"equal_tensors": equal / len(one.files), "equal_elements": same / count, "largest_difference": largest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mergekit", required=True, help="the program mergekit-yaml of an environment with mergekit")
    parser.add_argument("--folder", type=Path, required=True, help="8 GB of disk in bfloat16, 16 GB in float32")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--methods", default="linear,ties,slerp")
    parser.add_argument("--repeat", type=int, default=2, help="the fastest of so many runs counts")
    arguments = parser.parse_args()
    folders = make_models(arguments.folder / arguments.dtype, getattr(torch, arguments.dtype))
    for method in arguments.methods.split(","):
        options, settings = methods(folders)[method]
        recipe = arguments.folder / f"{method}.yaml"
        recipe.write_text(yaml.safe_dump({**settings, "dtype": "float32", "out_dtype": arguments.dtype}))
        ours, theirs = arguments.folder / "ours", arguments.folder / "theirs"
        commands = {
            "vt-tools": (ours, [sys.executable, "-m", "vt_ray.tools", "fuse", *options, "--output", str(ours)]),
            "mergekit": (theirs, [arguments.mergekit, str(recipe), str(theirs)]),
        }
        for name, (output, command) in commands.items():
            runs = []
            for _ in range(arguments.repeat):
                shutil.rmtree(output, ignore_errors=True)
                runs.append(measured(command))
            best = min(runs, key=lambda run: run["seconds"])
            print(
                json.dumps({"method": method, "program": name, **{k: round(v, 1) for k, v in best.items()}}), flush=True
            )
        print(json.dumps({"method": method, **compared(ours, theirs)}), flush=True)


if __name__ == "__main__":
    main()
