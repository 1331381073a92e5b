"""The plan's estimate of memory decides whether generator and learner alternate on one GPU."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vt_ray.config import ClusterConfig, Config, ConfigError, LearnerConfig, ModelConfig, StageConfig
from vt_ray.planning.learner_memory import awake_learner_gb
from vt_ray.planning.resource_plan import generator_share

QWEN3_0_6B = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "vocab_size": 151936}
QWEN2_1_5B = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "vocab_size": 151936}
PARAMETERS = {1024: 0.596e9, 1536: 1.544e9}


def model_folder(folder, shape):
    """A folder with a model's config and a sparse file of its size."""
    (folder / "config.json").write_text(json.dumps({**shape, "dtype": "bfloat16"}))
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(int(2 * PARAMETERS[shape["hidden_size"]]))
    return folder


def config(tokens=16384, colocate=True, recompute=False, compiled=True, attention="torch_varlen", **cluster) -> Config:
    made = Config(
        model=ModelConfig(dtype="bfloat16", attention=attention, gradient_checkpointing=recompute),
        learner=LearnerConfig(zero_stage=1, row_tokens=tokens, compile=compiled),
        cluster=ClusterConfig(colocate=colocate, gpus_per_generator=1, gpus_per_learner=1, **cluster),
    )
    made.curriculum.stages = [StageConfig(max_new_tokens=tokens // 2)]
    return made


@pytest.mark.parametrize(
    "shape, measured_gb, options",
    [
        (QWEN3_0_6B, 37.8, {}),
        (QWEN3_0_6B, 50.0, {"compiled": False}),
        (QWEN3_0_6B, 60.6, {"tokens": 32768}),
        (QWEN3_0_6B, 65.0, {"compiled": False, "attention": "sdpa"}),
        (QWEN2_1_5B, 65.7, {}),
        (QWEN2_1_5B, 101.0, {"tokens": 32768}),
        (QWEN2_1_5B, 34.0, {"tokens": 32768, "recompute": True}),
    ],
)
def test_the_estimate_covers_what_was_measured_on_an_h200(tmp_path, shape, measured_gb, options):
    """README, a learner rank on one H200: peak GB without a copy of the weights for the sync."""
    alone = config(**{**options, "colocate": False})
    alone.signal.sync.transport = "object_store"
    estimate = awake_learner_gb(alone, model_folder(tmp_path, shape))
    assert 0.98 * measured_gb < estimate < 1.5 * measured_gb


def test_a_1_5b_model_and_a_generator_with_the_remaining_memory_both_stay_awake_on_80_gb(tmp_path):
    folder = model_folder(tmp_path, QWEN2_1_5B)
    c = config(tokens=32768, recompute=True, gpu_memory_utilization=0.75)
    turns, share = generator_share(c, folder, gpu_gb=85.0)
    # (85 - learner - 6) / 85 is above half of 0.75.
    assert not turns
    assert share == pytest.approx((85 - awake_learner_gb(c, folder) - 6) / 85)
    assert 0.375 < share < 0.75
    assert generator_share(c, folder, gpu_gb=500.0) == (False, 0.75)


def test_the_sides_alternate_on_40_gb(tmp_path):
    c = config(tokens=32768, recompute=True, gpu_memory_utilization=0.75)
    assert generator_share(c, model_folder(tmp_path, QWEN2_1_5B), gpu_gb=42.0) == (True, 0.75)


def test_the_copy_for_the_sync_and_a_reference_are_counted(tmp_path):
    folder = model_folder(tmp_path, QWEN2_1_5B)
    with_ipc, without = config(), config()
    without.signal.sync.transport = "object_store"
    copy_gb = awake_learner_gb(with_ipc, folder) - awake_learner_gb(without, folder)
    assert copy_gb == pytest.approx(1.1 * 2 * 1.544)
    with_ipc.signal.mgpo = replace(with_ipc.signal.mgpo, kl_coef=0.1)
    assert awake_learner_gb(with_ipc, folder) - awake_learner_gb(without, folder) == pytest.approx(2 * copy_gb)


def test_take_turns_overrides_the_estimate(tmp_path):
    folder = model_folder(tmp_path, QWEN2_1_5B)
    assert generator_share(config(take_turns="always"), folder, gpu_gb=500.0) == (True, 0.85)
    turns, share = generator_share(config(4096, recompute=True, take_turns="never"), folder, gpu_gb=48.0)
    assert not turns and 0 < share < 0.425
    with pytest.raises(ConfigError, match=r"take_turns=never: the learner needs \d+ GB.*the GPU has 24 GB.*row_tokens"):
        generator_share(config(take_turns="never"), folder, gpu_gb=24.0)


def test_the_sides_alternate_without_a_gpu_but_not_without_colocate(tmp_path):
    rehearsal = Config(cluster=ClusterConfig(colocate=True))
    assert generator_share(rehearsal, tmp_path, gpu_gb=0) == (True, 0.85)
    assert generator_share(Config(), tmp_path, gpu_gb=80) == (False, 0.85)


def test_a_config_with_the_names_of_gpt2_is_estimated_alike(tmp_path):
    names = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer"}
    usual = {key: value for key, value in QWEN3_0_6B.items() if key != "intermediate_size"}
    expected = awake_learner_gb(config(), model_folder(tmp_path, usual))
    renamed = {names.get(key, key): value for key, value in usual.items()}
    (tmp_path / "config.json").write_text(json.dumps({**renamed, "dtype": "bfloat16"}))
    assert awake_learner_gb(config(), tmp_path) == expected
