"""The operations of a training step and MFU, by hand; warm-up as a share of the steps."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from vt_ray.algorithms.flops import DenseShape, peak_flops, throughput, training_flops
from vt_ray.algorithms.learning_rate import lr_at
from vt_ray.algorithms.packing import TrainSequence, pack
from vt_ray.config import OptimizerConfig
from vt_ray.engines.step_counts import dense_shape

SHAPE = DenseShape(matrix_parameters=1000, layers=2, attention_width=8, output_parameters=500)


def test_the_formula_by_hand():
    # One sequence of 3 tokens attends to 1 + 2 + 3 tokens; 2 tokens are predicted.
    assert training_flops(SHAPE, 3, 6, 2) == 6 * 1000 * 3 + 12 * 2 * 8 * 6 + 6 * 500 * 2


def test_packing_changes_no_operation():
    sequences = [TrainSequence((1, 2), (3, 4, 5), 0.5), TrainSequence((6,), (7,), 0.5)]

    def counted(row_tokens):
        rows = pack(sequences, row_tokens)
        attended = sum(int(row.position_ids.sum()) + len(row.position_ids) for row in rows)
        return (
            len(rows),
            sum(len(r.token_ids) for r in rows),
            attended,
            sum(int((r.token_weights > 0).sum()) for r in rows),
        )

    assert counted(100) == (1, 7, 15 + 3, 4) and counted(1) == (2, 7, 15 + 3, 4)


@pytest.mark.parametrize("tied", [True, False])
def test_the_shape_of_a_model_leaves_out_embeddings_norms_and_biases(tied):
    config = Qwen2Config(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip
    layer = 16 * 16 * 2 + 16 * 8 * 2 + 3 * 16 * 24
    with torch.device("meta"):
        assert dense_shape(Qwen2ForCausalLM(config)) == DenseShape(3 * layer, 3, 16, 50 * 16)


def test_all_experts_of_a_mixture_count():
    config = Qwen3MoeConfig(
        vocab_size=50, hidden_size=16, moe_intermediate_size=8, num_experts=4, num_experts_per_tok=2,
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=4, decoder_sparse_step=1,
    )  # fmt: skip
    layer = 16 * 16 * 2 + 16 * 8 * 2 + 4 * 3 * 16 * 8 + 4 * 16
    with torch.device("meta"):
        assert dense_shape(Qwen3MoeForCausalLM(config)).matrix_parameters == 3 * layer


def test_peaks_are_known_for_bfloat16_on_named_gpus():
    assert peak_flops("NVIDIA H100 80GB HBM3", "bfloat16") == 989e12
    assert peak_flops("NVIDIA H100 PCIe", "bfloat16") == 756e12
    assert peak_flops("NVIDIA H200", "bfloat16") == 989e12 and peak_flops("NVIDIA H20", "bfloat16") == 148e12
    assert peak_flops("NVIDIA H100 80GB HBM3", "float32") == peak_flops("", "bfloat16") == 0.0


def test_throughput_of_a_step():
    counts = {"computed_tokens": 900.0, "padding_tokens": 100.0, "flops": 3e12, "peak_flops": 2e12}
    assert throughput(counts, 3.0) == {"tokens_per_second": 300.0, "padding_share": 0.1, "mfu": 0.5}
    assert throughput({**counts, "peak_flops": 0.0}, 3.0)["mfu"] is None
    assert throughput({"loss": 1.0}, 3.0) == {}


def test_warm_up_as_a_share_is_the_same_as_its_steps():
    by_share = OptimizerConfig(lr=1e-3, min_lr_ratio=0.1, warmup_steps=7, warmup_share=0.05)
    by_steps = OptimizerConfig(lr=1e-3, min_lr_ratio=0.1, warmup_steps=10)
    assert [lr_at(step, 200, by_share) for step in range(200)] == [lr_at(step, 200, by_steps) for step in range(200)]
    assert lr_at(0, 200, OptimizerConfig(lr=1e-3, warmup_steps=7, warmup_share=0.0)) == 1e-3
