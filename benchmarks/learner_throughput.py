"""Tokens a second and MFU of one learner rank on a GPU: MGPO updates of long completions.

    python benchmarks/learner_throughput.py [--shapes 0.6b 1.5b] [--tokens 16384 32768] [--attention torch_varlen]

The models have random weights in the shapes of Qwen3-0.6B and Qwen2.5-1.5B, in bfloat16 with float32 master weights
and ZeRO-1. Rows are full of completions of --sequence tokens (0: one completion as long as the row). A step is the
step of a run: forward, chunked log-probabilities and entropy, MGPO loss, backward, clipping, AdamW. Model FLOPs of a
row of T tokens, with N parameters in matrix products (including the lm_head, without the embedding lookup):

    6 N T + 6 layers * heads * head_dim * sum of (sequence length)^2        causal attention: half of the square

Recomputation is not counted. MFU is relative to the dense bfloat16 peak of the card, 989 TFLOP/s for H100 and H200
(SXM). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import torch  # noqa: E402

from vt_ray.algorithms.packing import TrainSequence  # noqa: E402
from vt_ray.config import LearnerConfig, MgpoConfig, ModelConfig, OptimizerConfig  # noqa: E402
from vt_ray.engines.deepspeed_process import init_process_group  # noqa: E402
from vt_ray.engines.learner_spec import LearnerSpec  # noqa: E402
from vt_ray.engines.training import TrainingEngine  # noqa: E402

PEAK_FLOPS = 989e12
PROMPT_TOKENS = 128
SHAPES = {
    "0.6b": ("qwen3", {"hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16,
                       "num_key_value_heads": 8, "head_dim": 128}),
    "1.5b": ("qwen2", {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
                       "num_key_value_heads": 2}),
    "test": ("qwen2", {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 2,
                       "num_key_value_heads": 1, "num_hidden_layers": 2, "vocab_size": 512}),
}  # fmt: skip


def make_model(shape: str, folder: Path) -> Path:
    """Returns `folder` with a checkpoint of random weights, which is made if it is missing."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if not (folder / "config.json").exists():
        kind, sizes = SHAPES[shape]
        full = {"num_hidden_layers": 28, "vocab_size": 151936, "tie_word_embeddings": True} | sizes
        config = AutoConfig.for_model(kind, max_position_embeddings=65536, rope_theta=1e6, **full)
        torch.manual_seed(0)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.cpu().save_pretrained(folder)
    return folder


def model_flops(network: torch.nn.Module, lengths: list[int]) -> float:
    """Returns the FLOPs of one forward and backward pass, by the formula above."""
    config = network.config
    embedding = 0 if config.tie_word_embeddings else network.get_input_embeddings().weight.numel()
    matrices = sum(p.numel() for p in network.parameters() if p.dim() == 2) - embedding
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = config.num_hidden_layers * config.num_attention_heads * head_dim
    return 6 * matrices * sum(lengths) + 6 * width * sum(n**2 for n in lengths)


def sequences_of(tokens: int, length: int, vocabulary: int, rows: int) -> list[TrainSequence]:
    dice = torch.Generator().manual_seed(0)
    count, size = rows * tokens // length, length - PROMPT_TOKENS
    made = torch.randint(0, vocabulary, (count, length), generator=dice, dtype=torch.int32)
    logprobs = torch.full((size,), -11.9).numpy()
    return [
        TrainSequence(tuple(ids[:PROMPT_TOKENS].tolist()), ids[PROMPT_TOKENS:].numpy(), 1 / count / size,
                      advantage=(-1.0) ** index, rollout_logprobs=logprobs)
        for index, ids in enumerate(made)
    ]  # fmt: skip


def open_engine(folder: Path, tokens: int, given: argparse.Namespace, attention: str) -> TrainingEngine:
    model = ModelConfig(
        source="hf", dtype="bfloat16", attention=attention, gradient_checkpointing=given.gradient_checkpointing
    )
    learner = LearnerConfig(
        zero_stage=given.zero_stage, row_tokens=tokens, logprob_chunk_tokens=given.chunk, compile=given.compile
    )
    return TrainingEngine(LearnerSpec(str(folder), model, OptimizerConfig(), learner, 1000, 0))


def measure(folder: Path, tokens: int, given: argparse.Namespace, attention: str) -> dict[str, Any]:
    engine = open_engine(folder, tokens, given, attention)
    length = given.sequence or tokens
    made = sequences_of(tokens, length, engine.module.config.vocab_size, given.rows)
    began = time.monotonic()
    rows = engine.rows(made)
    packing_s = time.monotonic() - began
    seconds = []
    for _ in range(1 + given.steps):
        _synchronize()
        began = time.monotonic()
        found = engine.optimizer_step(rows, engine.mgpo_row_loss(MgpoConfig(), 1.0))
        _synchronize()
        seconds.append(time.monotonic() - began)
    taken = median(seconds[1:])
    flops = model_flops(engine.module, [len(s) for s in made])
    result = {
        "attention": attention,
        "tokens": tokens,
        "sequence": length,
        "rows": given.rows,
        "step_s": round(taken, 4),
        "least_s": round(min(seconds[1:]), 4),
        "first_s": round(seconds[0], 2),
        "packing_s": round(packing_s, 3),
        "tokens_per_s": round(tokens * given.rows / taken),
        "tflops": round(flops / taken / 1e12, 1),
        "mfu": round(flops / taken / PEAK_FLOPS, 4),
        "entropy": round(found["entropy"], 3),
        "grad_norm": found["grad_norm"],
    }
    if torch.cuda.is_available():
        result["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        torch.cuda.reset_peak_memory_stats()
    result["export_gb_per_s"] = round(export_speed(engine), 2)
    engine.close()
    return result


def export_speed(engine: TrainingEngine) -> float:
    """Returns GB a second of the learner's half of a sync by the object store: gather, checksum, copy to the host."""
    best = 0.0
    for _ in range(2):
        began = time.monotonic()
        num_bytes = sum(bucket.num_bytes for bucket in engine.export_weights(512 << 20))
        best = max(best, num_bytes / (time.monotonic() - began) / 1e9)
    return best


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=["0.6b", "1.5b"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[16384, 32768], help="tokens of a row")
    parser.add_argument(
        "--sequence", type=int, default=0, help="tokens of a completion with its prompt; 0: as many as the row"
    )
    parser.add_argument("--attention", nargs="+", default=["torch_varlen"])
    parser.add_argument("--rows", type=int, default=2, help="rows (micro-batches) of a step")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after one step that is not timed")
    parser.add_argument("--chunk", type=int, default=4096, help="tokens whose logits exist at once")
    parser.add_argument("--zero-stage", type=int, default=1)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def main() -> None:
    given = parsed()
    init_process_group(0, 1, "127.0.0.1", int(os.environ.get("MASTER_PORT", 29541)))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    found = []
    with tempfile.TemporaryDirectory() as models:
        for shape in given.shapes:
            folder = make_model(shape, Path(models) / shape)
            for tokens in given.tokens:
                for attention in given.attention:
                    try:
                        line = {"shape": shape, **measure(folder, tokens, given, attention)}
                    except torch.OutOfMemoryError as error:
                        line = {"shape": shape, "tokens": tokens, "attention": attention, "failed": str(error)[:80]}
                    print(line, flush=True)
                    found.append(line)
    print(json.dumps({"device": device, "peak_tflops": PEAK_FLOPS / 1e12, "measured": found}))


if __name__ == "__main__":
    main()
