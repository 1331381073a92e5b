"""Floating-point operations of a training step, and the share of the hardware's peak that they use (MFU).

    6 * P * tokens  +  12 * L * A * attended  +  6 * V * H * predicted

P: parameters of the layers' matrices, L: layers, A: heads * head size, V * H: size of the output matrix. `attended`
sums, over all tokens, the tokens that each attends to, itself included. `predicted` counts the tokens whose logits are
computed. A multiplication and an addition are two operations, and the backward pass costs twice the forward pass: hence
6 = 2 * 3 and 12 = 4 * 3 (PaLM, arXiv 2204.02311, appendix B, with causal attention counted exactly). A frozen matrix
(LoRA) has no gradient of its own, which saves 2 of the 6. Activations that are computed again, padding and the
optimizer do not count. The formula is for dense models: of a mixture of experts it counts all experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Peak of dense bfloat16 matrix products, in operations per second, by a part of the name that CUDA gives the GPU. The
# first match counts. Source: the makers' data sheets, SXM versions where there are several.
BFLOAT16_PEAKS = {
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


@dataclass(frozen=True)
class DenseShape:
    """The sizes of a whole model in the formula: P, L, A and V * H."""

    matrix_parameters: int
    layers: int
    attention_width: int
    output_parameters: int
    # The part of `matrix_parameters` that does not train, and whether the output matrix does not.
    frozen_parameters: int = 0
    frozen_output: bool = False


def training_flops(shape: DenseShape, tokens: int, attended: int, predicted: int) -> float:
    """Operations of forward and backward over `tokens` tokens: the formula above."""
    of_layers = (6 * shape.matrix_parameters - 2 * shape.frozen_parameters) * tokens
    of_attention = 12 * shape.layers * shape.attention_width * attended
    of_output = (4 if shape.frozen_output else 6) * shape.output_parameters * predicted
    return float(of_layers + of_attention + of_output)


def peak_flops(gpu: str, dtype: str) -> float:
    """The peak of the GPU with this name, in operations per second. 0 if it is not known: on a CPU, for another GPU,
    and in float32."""
    if dtype != "bfloat16":
        return 0.0
    return next((peak for name, peak in BFLOAT16_PEAKS.items() if name in gpu), 0.0)


# The learner's metrics that `throughput` reads.
COUNTS = ("computed_tokens", "padding_tokens", "flops", "peak_flops")


def throughput(metrics: Mapping[str, float], seconds: float) -> dict[str, float | None]:
    """{tokens_per_second, padding_share, mfu} of a step of `seconds`, from COUNTS summed over the learner's ranks.

    `mfu` is None without a known peak. Empty without counts.
    """
    if not (tokens := metrics.get("computed_tokens")):
        return {}
    padding, peak = metrics["padding_tokens"], metrics["peak_flops"]
    return {
        "tokens_per_second": tokens / seconds,
        "padding_share": padding / (tokens + padding),
        "mfu": metrics["flops"] / (seconds * peak) if peak else None,
    }
