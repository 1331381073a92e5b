"""Checks of the settings, the presets under conf/, the identity of a run, the names of a sweep's members."""

import copy
import json
import re
import subprocess
import sys

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from vt_ray.algorithms.weights import WEIGHTS
from vt_ray.config import (
    Config,
    ConfigError,
    CurriculumConfig,
    DataConfig,
    DataSource,
    ImportanceConfig,
    StageConfig,
    to_config,
)
from vt_ray.main import CONF, main, member_name, varied
from vt_ray.planning.validate import validate
from vt_ray.planning.validate.machine import refuse_missing_gpus
from vt_ray.run.identity import NOT_IDENTITY, config_hash, differing, identity, is_identity, settings

NAN, INF = float("nan"), float("inf")
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_config(compose("config", overrides=list(overrides)))


def changed(config, **changes):
    """A copy with `{"curriculum.stages.0.steps": 0}` set."""
    config = copy.deepcopy(config)
    for path, value in changes.items():
        *folders, name = path.split(".")
        at = config
        for folder in folders:
            at = at[int(folder)] if folder.isdigit() else getattr(at, folder)
        if isinstance(at, list):
            at[int(name)] = value
        else:
            setattr(at, name, value)
    return config


@pytest.fixture
def good():
    """A valid configuration that does not depend on the presets, whose values may change."""
    made = (("math_short", "algebra", 64), ("math_long", "geometry", 128), ("code", "code", 128))
    stages = [StageConfig(name, [subdomain], max_new_tokens=tokens) for name, subdomain, tokens in made]
    config = Config(data=DataConfig(train_per_subdomain=400), curriculum=CurriculumConfig(stages))
    config.evaluation.max_new_tokens = config.data.max_prompt_tokens = 128
    return config


def at_least(limit, *names):
    return [(name, limit - 1, f"{name}={limit - 1} must be at least {limit}") for name in names]


def above_zero(*names):
    return [(name, bad, f"{name}=") for name in names for bad in (0, -1.0, NAN)]


BAD = [
    *[("run_name", name, "run_name=") for name in ("", "a/b", "..", ".", "phases", "a b", "a\n")],
    ("run_name", "a" * 201, "a... has 201 bytes, the limit is 200: choose a shorter one"),
    ("run_name", "é" * 101, "has 202 bytes"),
    *[(key, seed, f"{key}=") for key in ("seed", "signal.seed") for seed in (-1, 2**31)],
    ("signal.control", "placebo", "signal.control"),
    ("signal.control", "sft", "signal.control_sft_steps"),
    *[(f"model.{name}", "other", f"model.{name}='other' must be one of") for name in ("source", "dtype", "attention")],
    ("model.source", "hf", "model.path is empty"),
    ("model.attention", "flash_attention_2", "model.attention=flash_attention_2 needs"),
    ("model.dtype", "bfloat16", "signal.sync.logprob_tolerance=0.001"),
    *[("model.num_heads", heads, f"model.num_heads={heads}") for heads in (3, 8, 0)],
    *[("model.hidden_size", size, f"model.hidden_size={size}") for size in (120, 0)],
    ("model.num_layers", 0, "model.num_layers=0"),
    ("model.vocab_size", 263, "model.vocab_size=263"),
    ("model.max_position_embeddings", 255, "data.max_prompt_tokens + the longest completion = 256"),
    ("spectrum.sft.max_tokens", 2000, "spectrum.sft.max_tokens=2000 exceeds model.max_position_embeddings=1024"),
    *[("model.rope_theta", bad, f"model.rope_theta={bad} must be above 0 and finite") for bad in (0.0, -1.0, INF, NAN)],
    ("data.subdomains", ["algebra", "poetry"], "data.subdomains='poetry' must be one of algebra"),
    *[("data.levels", levels, "data.levels") for levels in ([4], [])],
    *at_least(0, *(f"data.{split}_per_subdomain" for split in ("train", "probe", "test"))),
    *[(f"data.{s}_per_subdomain", 0, f"give problems for the {s} set") for s in ("train", "probe", "test")],
    *at_least(8, "data.max_prompt_tokens"),
    *[("data.solved_share", bad, f"data.solved_share={bad} must be in (0, 1]") for bad in (0, -0.1, 1.01, NAN)],
    *at_least(1, *(f"cluster.num_{kind}" for kind in ("generators", "learners", "verifiers"))),
    *at_least(1, "cluster.tensor_parallel_size", "cluster.kv_cache_gb", "cluster.max_num_seqs"),
    *at_least(1, "cluster.generator_threads", "cluster.learner_threads"),
    *at_least(0, "cluster.gpus_per_generator", "cluster.gpus_per_learner"),
    *at_least(1, "cluster.num_nodes"),
    *at_least(0, "cluster.gpus_per_node"),
    *above_zero("cluster.resources_timeout_s", "cluster.startup_timeout_s", "cluster.hang_timeout_s"),
    ("cluster.gpus_per_learner", 2, "a rank drives one GPU"),
    ("cluster.tensor_parallel_size", 3, "cluster.tensor_parallel_size=3 must divide model.num_heads=4"),
    ("cluster.gpus_per_generator", 2, "cluster.gpus_per_generator=2"),
    ("signal.control_sft_like", "runs/demo", "needs signal.control=sft"),
    ("signal.control_sft_steps", 5, "needs signal.control=sft"),
    ("signal.sync.transport", "rdma", "signal.sync.transport='rdma' must be one of auto, object_store, nccl, ipc"),
    *[("signal.sync.transport", gpu, f"{gpu} carries weights from GPU to GPU") for gpu in ("nccl", "ipc")],
    *[("cluster.gpu_memory_utilization", bad, "cluster.gpu_memory_utilization=") for bad in (0, 1.01, NAN)],
    ("learner.zero_stage", 4, "learner.zero_stage=4"),
    *at_least(1, *(f"learner.{n}" for n in ["row_tokens", "rows_per_batch", "logprob_chunk_tokens"])),
    *at_least(1, "learner.sequence_parallel_size"),
    ("learner.sequence_parallel_size", 2, "does not divide cluster.num_learners=1"),
    ("learner.offload_parameters", True, "needs learner.zero_stage=3, not 1"),
    *at_least(0, "learner.lora.rank"),
    *above_zero("learner.lora.alpha"),
    ("learner.lora.alpha", INF, "learner.lora.alpha=inf must be above 0 and finite"),
    *[("learner.lora.dropout", bad, "learner.lora.dropout=") for bad in (-0.1, 1, NAN)],
    ("learner.lora.target_modules", ["q_proj"], "learner.lora.rank=0 trains all weights"),
    ("learner.lora.rank", 129, "learner.lora.rank=129 is above 128"),
    ("signal.optimizer.schedule", "step", "signal.optimizer.schedule='step' must be one of cosine, linear, constant"),
    *at_least(1, *(f"spectrum.sft.{name}" for name in ["steps", "batch_size", "checkpoint_every", "max_tokens"])),
    *[("spectrum.sft.heldout_share", bad, f"heldout_share={bad} must lie in [0, 1)") for bad in (-0.1, 1, NAN)],
    ("spectrum.sft.keep", "best", "spectrum.sft.keep='best' must be one of all, specialists"),
    *at_least(0, "spectrum.second_stage.steps", "spectrum.second_stage.min_tokens"),
    *at_least(1, "spectrum.second_stage.rollouts", "spectrum.second_stage.checkpoint_every"),
    *[("spectrum.second_stage.epochs", bad, f"second_stage.epochs={bad} must be above 0") for bad in (0, -1, NAN)],
    *[("spectrum.second_stage.min_error_rate", bad, f"min_error_rate={bad} must lie in [0, 1]") for bad in (-0.1, 1.1)],
    (
        "spectrum.second_stage.epochs",
        1.0,
        "min_tokens=5000 is above spectrum.sft.max_tokens=256",
    ),
    ("spectrum.sft.styles", ["direct", "rhymed"], "spectrum.sft.styles='rhymed'"),
    *[("spectrum.probe.k", bad, f"spectrum.probe.k={bad}") for bad in (0, 9)],
    *[("spectrum.probe.ks", [1, bad], f"spectrum.probe.ks=[1, {bad}]: {bad} must lie in 1..") for bad in (0, 9)],
    *[("spectrum.probe.racing", bad, f"spectrum.probe.racing={bad} must lie in [0, 1)") for bad in (-0.1, 1, NAN)],
    ("spectrum.probe.criterion", "loss", "must be one of pass_at_k, pass_at_1, heldout_loss, diversity"),
    ("spectrum.probe.criterion", "heldout_loss", "SFT has no held-out examples; set spectrum.sft.heldout_share=0.05"),
    ("spectrum.probe.groups", {"algebra": " "}, "spectrum.probe.groups has no group for 'algebra'"),
    *[("spectrum.fusion.weights", bad, "must be 5 numbers") for bad in ([0.5, 0.5], [0.3] * 5, [NAN, *[0.25] * 4])],
    *[("signal.mgpo.lam", bad, "signal.mgpo.lam=") for bad in (-0.1, INF, NAN)],
    *[("signal.mgpo.clip_low", bad, "signal.mgpo.clip_low=") for bad in (0, 1, -0.2, NAN)],
    *[("signal.mgpo.clip_high", bad, "clip_high=") for bad in (0, -0.2, NAN)],
    *at_least(1, "signal.checkpoint_every", "signal.keep_checkpoints", "signal.sync.bucket_mb"),
    *at_least(2, "signal.sync.fingerprint_tokens"),
    *above_zero("signal.sync.logprob_tolerance"),
    ("curriculum.stages", [], "curriculum.stages is empty"),
    *[("curriculum.stages.0.name", bad, f"name {bad!r}") for bad in ("base", "fused", "code", "a b", "")],
    ("curriculum.stages.1.subdomains", ["poetry"], "curriculum.stages[math_long]."),
    ("curriculum.stages.0.group_size", 1, "curriculum.stages[math_short].group_size=1"),
    ("curriculum.stages.0.top_p", 0.9, "top_p=0.9: the importance ratio needs untruncated sampling"),
    ("curriculum.stages.2.prompts_per_step", 401, "exceeds its pool of 400 "),
    ("curriculum.stages.0.optimizer_state", "keep", "the first stage has none before it"),
    ("curriculum.stages.1.optimizer_state", "forget", "must be one of reset, keep"),
    ("curriculum.stages.0.truncated", "drop", "must be one of zero, mask"),
    ("curriculum.stages.0.sampling", "random", "must be one of shuffle, tracker"),
    ("curriculum.stages.0.lam", -1.0, "curriculum.stages[math_short].lam=-1.0"),
    ("curriculum.stages.0.lr", 0.0, "curriculum.stages[math_short].lr=0.0"),
    ("curriculum.stages.0.length_reward", 1.0, "0.2 is Long2Short's"),
    ("curriculum.stages.0.filter_samples", 1, "take 8, or 0 for none"),
    ("curriculum.stages.0.refill_rounds", -1, "refill_rounds=-1"),
    ("curriculum.stages.0.gate.target", 0.5, "eval_every=0 never measures it"),
    ("curriculum.stages.0.gate.window", 0, "gate.window=0"),
    ("curriculum.stages.0.gate.max_truncated_share", 1.5, "must lie in [0, 1]"),
    ("signal.mgpo.ratio", "word", "must be one of token, sequence"),
    ("signal.mgpo.ratio", "sequence", "GSPO's are clip_low=3e-4 and clip_high=4e-4"),
    *[("signal.mgpo.clip_dual", bad, "must be 0 (off) or above 1 + clip_high=1.2") for bad in (-1, 1, 1.2, INF, NAN)],
    ("signal.mgpo.aggregation", "sum", "must be one of sequence_mean, token_mean, fixed_length"),
    ("signal.mgpo.advantage_norm", "max", "must be one of std, none"),
    ("signal.mgpo.loss", "ppo", "signal.mgpo.loss='ppo' must be one of mgpo, cispo, or"),
    ("signal.mgpo.weight", "gspo", "signal.mgpo.weight='gspo' must be one of mgpo, none, maxrl, dgpo, mcpo, or"),
    ("signal.mgpo.weight", "no_such_module:weight", "install its package on every machine"),
    ("curriculum.stages.0.overlong_buffer", -1, "overlong_buffer=-1 must lie in 0..max_new_tokens=64"),
    ("curriculum.stages.0.overlong_buffer", 65, "overlong_buffer=65 must lie in 0..max_new_tokens=64"),
    *[("curriculum.stages.0.pass_k", bad, f"pass_k={bad} must be 0 (Pass@1) or lie in 2..") for bad in (-1, 1, 9)],
    ("signal.mgpo.loss", "no_such_module:loss", "install its package on every machine"),
    ("spectrum.fusion.method", "tie", "spectrum.fusion.method='tie' must be one of weights, uniform, "),
    ("spectrum.fusion.on_loss", "retry", "spectrum.fusion.on_loss='retry' must be one of stop, best, continue"),
    *[("spectrum.fusion.density", bad, "must lie in (0, 1]") for bad in (0.0, -1.0, 1.5, NAN)],
    *[("spectrum.fusion.scale", bad, "must be finite and above 0") for bad in (0.0, -1.0, INF, NAN)],
    *[("spectrum.fusion.temperature", bad, "must be finite and above 0") for bad in (0.0, INF, NAN)],
    (
        "cluster.generation_engine",
        "sglang",
        "cluster.generation_engine=sglang is not vllm, nor the import path of an engine",
    ),
    *[
        ("cluster.engine_args", {name: value}, f"cluster.engine_args.{name}={value!r}: {message}")
        for name, value, message in (
            ("kv_cache_typ", "fp8", "vLLM has no argument of this name: do you mean kv_cache_dtype?"),
            ("no_such_thing", 1, "vLLM has no argument of this name: see"),
            ("max_num_seqs", 8, "set cluster.max_num_seqs instead"),
            ("quantization", "fp8", "quantised weights are not the learner's weights"),
            ("data_parallel_size", 2, "a generator is one engine"),
            ("kv_cache_memory_bytes", 1 << 30, "set cluster.gpu_memory_utilization (on a CPU: cluster.kv_cache_gb)"),
            ("device_ids", [0], "Ray gives each generator its GPUs"),
            ("scheduling_policy", "fcfs", "the fingerprint of a sync goes first"),
            ("enable_prefix_caching", "flase", "vLLM takes bool or None"),
            ("block_size", True, "vLLM takes int or None"),
            ("watermark", [0.1], "vLLM takes float"),
            ("compilation_config", 3, "an engine on a CPU runs eagerly"),
        )
    ],
    ("signal.mgpo.kl_coef", -0.1, "signal.mgpo.kl_coef=-0.1"),
    ("signal.mgpo.importance.kind", "mask", "kind='mask' must be one of none, truncate, mask_token, mask_sequence"),
    ("signal.mgpo.importance.mean", "harmonic", "must be one of geometric, arithmetic"),
    ("signal.mgpo.importance.mean", "arithmetic", "mean=arithmetic has no effect with kind=none"),
    *[("signal.mgpo.importance.high", bad, "have no effect with kind=none") for bad in (-1.0, 2.0, INF, NAN)],
    *[
        ("signal.mgpo.importance", ImportanceConfig(kind, low, high), text)
        for kind, low, high, text in (
            *[("truncate", 0.0, bad, "no lower bound; high=2 is usual") for bad in (0.0, -1.0, INF, NAN)],
            ("truncate", 0.5, 2.0, "low=0.5 must be 0"),
            *[("mask_token", bad, 5.0, "0.5 and 5.0 are the defaults") for bad in (-0.1, 1.0, 7.0, NAN)],
            *[("mask_sequence", 0.1, bad, "since a ratio of 1 must pass") for bad in (0.0, 1.0, INF, NAN)],
        )
    ],
    *[("signal.mgpo.entropy_bonus.target", bad, "entropy_bonus.target=") for bad in (-0.1, INF, NAN)],
    *[("signal.mgpo.entropy_bonus.step", bad, "entropy_bonus.step=") for bad in (0.0, -1.0, 0.1, NAN)],
    *[("signal.mgpo.entropy_bonus.max_coef", bad, "max_coef=") for bad in (0.0, INF, NAN)],
    ("signal.schedule", "async", "must be one of on_policy, pipelined"),
    ("signal.max_staleness", 0, "signal.max_staleness=0"),
    ("tracker.estimator", "mean", "must be one of group, history"),
    *[("tracker.decay", bad, "tracker.decay=") for bad in (0.0, 1.1)],
    ("tracker.prior", 0.0, "tracker.prior=0.0"),
    *[("evaluation.k", bad, f"evaluation.k={bad}") for bad in (0, 9)],
    ("evaluation.code_temperature", 0, "evaluation (code).temperature=0"),
    *[("verify." + n, bad, f"verify.{n}={bad}") for n in ("memory_mb", "output_kb") for bad in (0, -1)],
    *above_zero("verify.test_timeout_s", "verify.completion_timeout_s", "verify.math_timeout_s"),
    *[
        (f"{at}.{name}", bad, f"{at}.{name}=")
        for at in ("spectrum.sft.optimizer", "signal.optimizer")
        for name, values in {
            "lr": (0, 1, -1e-3, NAN),
            "min_lr_ratio": (-0.1, 1.1, NAN),
            "betas": ([0.9], [0.9, 1.0], [-0.1, 0.9], [0.9, 0.9, 0.9], [0.9, NAN]),
            "warmup_steps": (-1,),
            "warmup_share": (-0.1, 1, NAN),
            "weight_decay": (-0.1, NAN),
            "max_grad_norm": (0, -1, NAN),
        }.items()
        for bad in values
    ],
    *[
        (f"{at}.{name}", bad, f".{name}={bad}")
        for at in ("spectrum.probe", "evaluation", "curriculum.stages.0")
        for name, values in {"temperature": (0, -1.0, INF, NAN), "top_p": (0, 1.1, NAN), "max_new_tokens": (0,)}.items()
        for bad in values
    ],
    *[(f"curriculum.stages.1.{n}", 0, f"curriculum.stages[math_long].{n}=0") for n in ("steps", "prompts_per_step")],
]


@pytest.mark.parametrize(("path", "value", "message"), BAD, ids=[f"{path}={value}" for path, value, _ in BAD])
def test_a_bad_value_is_refused_by_name(good, path, value, message):
    with pytest.raises(ConfigError) as refused:
        validate(changed(good, **{path: value}))
    assert message in str(refused.value)


GPUS = {"cluster.gpus_per_generator": 1, "cluster.gpus_per_learner": 1, "cluster.gpus_per_node": 8}


@pytest.mark.parametrize(
    ("values", "transport"),
    [
        ({}, "object_store"),
        ({"cluster.colocate": True}, "object_store"),
        (GPUS, "nccl"),
        ({**GPUS, "cluster.colocate": True}, "ipc"),
        ({**GPUS, "signal.sync.transport": "object_store"}, "object_store"),
        ({**GPUS, "cluster.gpus_per_generator": 2, "cluster.tensor_parallel_size": 2}, "nccl"),
        ({"cluster.tensor_parallel_size": 2}, "object_store"),
    ],
)
def test_the_automatic_transport_follows_the_gpus(good, values, transport):
    config = changed(good, **values)
    validate(config)
    assert config.weight_transport == transport


def test_a_transport_that_cannot_reach_the_generators_is_refused(good):
    with pytest.raises(ConfigError, match="transport=ipc without cluster.colocate"):
        validate(changed(good, **GPUS, **{"signal.sync.transport": "ipc"}))
    with pytest.raises(ConfigError, match="transport=nccl with cluster.colocate"):
        validate(changed(good, **GPUS, **{"signal.sync.transport": "nccl", "cluster.colocate": True}))
    with pytest.raises(ConfigError, match="tensor_parallel_size=1 must equal the generator's GPUs"):
        validate(changed(good, **{**GPUS, "cluster.gpus_per_generator": 2}))


def test_values_that_do_not_fit_together_are_refused(good):
    with pytest.raises(ConfigError, match="offload_optimizer=true needs ZeRO"):
        validate(changed(good, **{"learner.offload_optimizer": True, "learner.zero_stage": 0}))
    control = {"signal.control": "sft", "signal.control_sft_steps": 5, "spectrum.sft.optimizer.min_lr_ratio": 0.0}
    with pytest.raises(ConfigError, match="control would learn nothing"):
        validate(changed(good, **control))
    validate(changed(good, **control, **{"spectrum.sft.optimizer.schedule": "constant"}))
    with pytest.raises(ConfigError, match=r"data.test_files: '/nowhere/test.parquet' is no file"):
        validate(composed("data.test_files=[{path: /nowhere/test.parquet}]"))


@pytest.mark.parametrize("cluster", sorted(path.stem for path in (CONF / "cluster").glob("*.yaml")))
def test_every_cluster_preset_is_valid_for_the_reports_run(cluster):
    validate(composed("experiment=vibethinker_1_5b", f"cluster={cluster}", "model.attention=sdpa"))


def test_gpus_that_do_not_fit_on_the_nodes_are_refused(good):
    gpus = {"cluster.num_learners": 9, "cluster.gpus_per_learner": 1, "cluster.num_nodes": 2}
    with pytest.raises(ConfigError, match="num_nodes=2 with cluster.gpus_per_node=0: say how many"):
        validate(changed(good, **gpus))
    with pytest.raises(ConfigError, match="no node has 1 GPU left for learner_8.*1 generators x 0 GPU"):
        validate(changed(good, **gpus, **{"cluster.gpus_per_node": 4}))
    validate(changed(good, **gpus, **{"cluster.gpus_per_node": 5}))


def test_a_shared_gpu_takes_pairs_and_zero_1_or_2(good):
    shared = changed(good, **{"cluster.colocate": True})
    validate(shared)
    validate(changed(shared, **{"cluster.gpus_per_generator": 1, "cluster.gpus_per_learner": 1}))
    for unlike in ({"cluster.num_learners": 2}, {"cluster.gpus_per_learner": 1}):
        with pytest.raises(ConfigError, match="cluster.colocate pairs a generator with a learner rank"):
            validate(changed(shared, **unlike))
    for stage in (0, 3):
        with pytest.raises(ConfigError, match=f"learner.zero_stage={stage} with cluster.colocate"):
            validate(changed(shared, **{"learner.zero_stage": stage}))


@pytest.mark.parametrize("attention", ["flash_attention_2", "torch_varlen"])
def test_flash_attention_on_several_rows_at_once_is_refused(good, attention):
    # These attentions separate packed sequences by their positions, only in a batch of one row.
    bfloat16 = {"model.dtype": "bfloat16", "signal.sync.logprob_tolerance": 0.1, "cluster.gpus_per_learner": 1}
    flash = changed(good, **bfloat16, **{"model.attention": attention})
    validate(changed(flash, **{"learner.rows_per_batch": 1}))
    with pytest.raises(ConfigError, match=f"learner.rows_per_batch=2 with model.attention={attention}"):
        validate(changed(flash, **{"learner.rows_per_batch": 2}))


def test_shared_prompts_on_several_rows_at_once_are_refused(good):
    shared = changed(good, **{"learner.share_prompts": True, "learner.rows_per_batch": 1})
    validate(shared)
    with pytest.raises(ConfigError, match="learner.share_prompts=true with .*learner.rows_per_batch=2"):
        validate(changed(shared, **{"learner.rows_per_batch": 2}))


def test_a_sequence_ratio_needs_the_clips_of_gspo(good):
    clips = {"signal.mgpo.clip_low": 3e-4, "signal.mgpo.clip_high": 4e-4}
    validate(changed(good, **clips, **{"signal.mgpo.ratio": "sequence"}))
    with pytest.raises(ConfigError, match="clip_low=0.2 and clip_high=0.0004"):
        validate(changed(good, **{"signal.mgpo.ratio": "sequence", "signal.mgpo.clip_high": 4e-4}))


HF = ("model=hf", "model.path=/nowhere")


@pytest.mark.parametrize(
    ("overrides", "cap", "tolerance"),
    [
        ((), 0.0, 1e-3),
        (HF, 0.0, 1e-3),
        ((*HF, "model.dtype=bfloat16"), 2.0, 0.1),
        (("experiment=vibethinker_1_5b",), 2.0, 0.1),
        (("experiment=vibethinker_3b",), 2.0, 0.1),
        (("model=smollm2_135m",), 2.0, 0.3),
        (("model=smollm2_135m", "signal.mgpo.importance.kind=none"), 0.0, 0.3),
        ((*HF, "model.dtype=bfloat16", "signal.sync.logprob_tolerance=0.02"), 2.0, 0.02),
        (("signal=pipelined",), 2.0, 1e-3),
    ],
)
def test_importance_and_sync_tolerance_follow_the_dtype(overrides, cap, tolerance):
    signal = composed(*overrides).signal
    kind = "truncate" if cap else "none"
    assert signal.mgpo.importance == ImportanceConfig(kind, 0.0, cap, "geometric")
    assert signal.sync.logprob_tolerance == tolerance


def test_the_bounds_of_a_mask_are_filled_in_and_cispo_has_no_correction():
    for kind, low, high in (("mask_token", 0.5, 5.0), ("mask_sequence", 0.1, 10.0)):
        found = composed(f"signal.mgpo.importance.kind={kind}").signal.mgpo.importance
        assert (found.low, found.high) == (low, high)
    config = composed(
        "model=smollm2_135m", "signal.mgpo.loss=cispo", "signal.mgpo.clip_low=1", "signal.mgpo.clip_high=4"
    )
    assert config.signal.mgpo.importance.kind == "none"
    validate(config)


def test_the_replaced_setting_names_the_new_one(monkeypatch):
    for argument in ("signal.mgpo.importance_cap=2", "++signal.mgpo.importance_cap=0"):
        monkeypatch.setattr(sys, "argv", ["vt-ray", "experiment=tiny", argument])
        with pytest.raises(SystemExit, match=r"importance_cap=\d: .* no longer exists: it is .*importance.kind"):
            main()
    with pytest.raises(ConfigError, match="importance.kind=none for a cap of 0"):
        to_config(OmegaConf.create({"signal": {"mgpo": {"importance_cap": 2.0}}}))


def test_what_cispo_and_masks_of_sequences_cannot_do_is_refused(good):
    cispo = {"signal.mgpo.loss": "cispo", "signal.mgpo.clip_low": 1.0, "signal.mgpo.clip_high": 4.0}
    validate(changed(good, **cispo))
    validate(changed(good, **cispo, **{"signal.mgpo.clip_dual": 0.0}))
    mask = ImportanceConfig("mask_sequence", 0.1, 10.0)
    shared = {"learner.sequence_parallel_size": 2, "cluster.num_learners": 2, "learner.share_prompts": False}
    shared["learner.rows_per_batch"] = 1
    for changes, text in (
        ({**cispo, "signal.mgpo.importance": mask}, "CISPO bounds the same ratio itself"),
        ({**cispo, "signal.mgpo.ratio": "sequence"}, "CISPO has a ratio for each token"),
        ({**cispo, "signal.mgpo.clip_dual": 6.0}, "clip_dual=6.0 has no effect with loss=cispo: leave it out"),
        ({"signal.mgpo.clip_low": 1.0}, "must lie in"),
        ({**shared, "signal.mgpo.importance": mask}, "a slice of each sequence; take kind=mask_token"),
    ):
        with pytest.raises(ConfigError, match=text):
            validate(changed(good, **changes))


def test_clips_beside_a_correction_of_the_mismatch_are_refused(good):
    """The ratio that they bound is 1 there. In bfloat16 a correction is the default: DAPO clips would do nothing."""
    validate(changed(good, **{"signal.mgpo.clip_high": 0.28, "signal.mgpo.importance.kind": "none"}))
    for kind, name, value in (("truncate", "clip_high", 0.28), ("mask_token", "clip_low", 0.1)):
        bounds = dict(zip(("low", "high"), {"truncate": (0.0, 2.0), "mask_token": (0.5, 5.0)}[kind], strict=True))
        importance = ImportanceConfig(kind, **bounds)
        validate(changed(good, **{"signal.mgpo.importance": importance, "signal.mgpo.clip_dual": 0.0}))
        with pytest.raises(ConfigError, match=f"{name}={value} has no effect with .*importance.kind={kind}"):
            validate(changed(good, **{"signal.mgpo.importance": importance, f"signal.mgpo.{name}": value}))


def test_compilation_with_zero_3_is_refused(good):
    validate(changed(good, **{"learner.compile": True}))
    with pytest.raises(ConfigError, match="learner.compile=true with learner.zero_stage=3"):
        validate(changed(good, **{"learner.compile": True, "learner.zero_stage": 3}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"signal.mgpo.weight": "none", "signal.mgpo.lam": 2.0}, "lam=2.0 has no effect with signal.mgpo.weight=none"),
        ({"signal.mgpo.weight": "maxrl", "curriculum.stages.1.lam": 0.0}, "stages[math_long].lam=0.0 has no effect"),
        ({"signal.mgpo.weight": "dgpo", "signal.mgpo.advantage_norm": "none"}, "leave out advantage_norm"),
        ({"curriculum.stages.0.pass_k": 4, "signal.mgpo.advantage_norm": "none"}, "leave out advantage_norm"),
        ({"curriculum.stages.0.pass_k": 4, "curriculum.stages.0.length_reward": 0.2}, "Pass@K needs binary rewards"),
        ({"curriculum.stages.0.pass_k": 4, "curriculum.stages.0.overlong_buffer": 8}, "with overlong_buffer=8"),
        ({"curriculum.stages.0.pass_k": 4, "signal.mgpo.weight": "mcpo"}, "both define the advantage"),
    ],
)
def test_weights_and_rewards_that_do_not_fit_together_are_refused(good, values, message):
    with pytest.raises(ConfigError) as refused:
        validate(changed(good, **values))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        *[{"signal.mgpo.weight": weight} for weight in ("none", "maxrl", "dgpo", "mcpo")],
        {"signal.mgpo.weight": "none", "signal.mgpo.advantage_norm": "none"},
        {"curriculum.stages.0.pass_k": 8, "signal.mgpo.weight": "none"},
        {"curriculum.stages.0.overlong_buffer": 64, "curriculum.stages.0.length_reward": 0.2},
    ],
)
def test_weights_and_rewards_that_fit_together_are_valid(good, values):
    validate(changed(good, **values))


def test_an_unknown_subdomain_of_a_stage_is_refused(good):
    with pytest.raises(ConfigError, match="algebar"):
        validate(changed(good, **{"curriculum.stages.0.subdomains": ["algebar", "geometry"]}))


def test_a_group_on_the_command_line_overrides_the_experiments_group():
    assert [stage.name for stage in composed("curriculum=single_stage").curriculum.stages] == ["all"]


def test_all_errors_are_listed_at_once(good):
    with pytest.raises(ConfigError) as refused:
        validate(changed(good, **{"seed": -1, "learner.zero_stage": 9, "signal.mgpo.lam": -1.0}))
    assert all(part in str(refused.value) for part in ("seed=-1", "zero_stage=9", "lam=-1.0"))


def test_more_gpus_than_this_machine_has_are_refused_unless_ray_has_them(good):
    many = changed(good, **{"cluster.gpus_per_generator": 1, "cluster.num_generators": 4096})
    with pytest.raises(ConfigError, match="4096 generators x 1 GPU"):
        refuse_missing_gpus(many)
    refuse_missing_gpus(changed(many, **{"cluster.ray_address": "auto"}))
    refuse_missing_gpus(good)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_shipped_experiments_compose_and_are_valid(experiment):
    # An evaluation needs a model that is not made from scratch.
    config = composed(
        f"experiment={experiment}",
        *(["model=smollm2_135m"] if experiment in ("evaluate", "robustness", "transfer") else []),
    )
    validate(config)
    assert config.run_name == experiment
    assert composed() == composed("experiment=demo")


def test_the_ablation_of_weights_has_all_of_them_and_each_is_valid():
    swept = yaml.safe_load((CONF / "experiment/ablation_weight.yaml").read_text())["hydra"]["sweeper"]["params"]
    weights = swept["signal.mgpo.weight"].split(",")
    assert weights == ["mgpo", *WEIGHTS]
    config = composed("experiment=ablation_weight")
    for weight in weights:
        validate(changed(config, **{"signal.mgpo.weight": weight}))


@pytest.mark.parametrize("experiment", ["demo", "tiny"])
@pytest.mark.parametrize("model", [["model=smollm2_135m"], ["model=hf", "model.path=Qwen/Qwen2.5-Math-1.5B"]])
def test_shipped_models_compose_with_the_small_experiments(experiment, model):
    config = composed(f"experiment={experiment}", *model)
    validate(config)
    assert config.model.source in model[0]


def test_a_stretched_context_that_is_too_short_is_refused():
    stretched = ["model=hf", "model.path=/model", "model.rope_theta=1e6", "spectrum.sft.max_tokens=8192"]
    validate(composed(*stretched, "model.max_position_embeddings=8192"))
    validate(composed("model=hf", "model.path=/model", "spectrum.sft.max_tokens=8192"))  # the model has its own context
    with pytest.raises(ConfigError, match=r"max_tokens=8192 exceeds model\.max_position_embeddings=4096"):
        validate(composed(*stretched, "model.max_position_embeddings=4096"))


def test_a_hub_model_without_a_path_is_refused():
    with pytest.raises(ConfigError, match=r"model\.path"):
        validate(composed("model=hf"))


@pytest.mark.parametrize("experiment", ["demo", "tiny"])
def test_files_replace_the_generated_problems(tmp_path, experiment):
    files = []
    for split in ("train", "probe", "test"):
        (tmp_path / f"{split}.jsonl").write_text("{}")
        files.append(f"data.{split}_files=[{{path: '{tmp_path / split}.jsonl'}}]")
    config = composed(f"experiment={experiment}", "data=files", *files, "model.max_position_embeddings=4096")
    validate(config)
    assert [getattr(config.data, f"{split}_per_subdomain") for split in ("train", "probe", "test")] == [0, 0, 0]


@pytest.mark.parametrize(
    "bad", ["signal.mgpo.lamda=1", "sginal.mgpo.lam=1", "+signal.mgpo.lamda=1", "curriculum.stages=[{setps: 3}]"]
)
def test_an_unknown_key_is_refused(bad):
    with pytest.raises((HydraException, ConfigError)):
        composed(bad)


@pytest.mark.parametrize(
    "bad", ["signal.mgpo.lam=high", "seed=1.5", "data.levels=[one]", "cluster.num_generators=many", "dry_run=perhaps"]
)
def test_a_value_of_another_type_is_refused(bad):
    with pytest.raises((HydraException, ConfigError)):
        composed(bad)


def other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, dict):
        return {"other": "x"}
    return value + 1 if isinstance(value, (int, float)) else [1] if isinstance(value, list) else f"{value}x"


# Settings that are part of a run's identity. All other settings are in vt_ray.run.identity.NOT_IDENTITY, because their
# values change neither the objective nor the data nor the order of chance. A section stands for all its settings.
DECIDED_KEYS = """
seed phases data tracker curriculum.stages rejection self_distil evaluation spectrum.fusion spectrum.checkpoints
model.source model.path model.chat_template model.dtype model.rope_theta model.max_position_embeddings
model.vocab_size model.hidden_size
model.intermediate_size model.num_layers model.num_heads
spectrum.sft.steps spectrum.sft.epochs spectrum.sft.batch_size spectrum.sft.checkpoint_every
spectrum.sft.max_tokens spectrum.sft.styles spectrum.sft.heldout_share spectrum.sft.optimizer
spectrum.second_stage spectrum.probe
signal.schedule signal.max_staleness signal.seed signal.control signal.control_sft_steps signal.optimizer signal.mgpo
verify.test_timeout_s verify.completion_timeout_s verify.memory_mb verify.output_kb verify.math_timeout_s
verify.function_timeout_s verify.kinds cluster.generation_engine cluster.engine_args
learner.lora
"""
DECIDED = DECIDED_KEYS.split()


def within(key, names):
    return any(f"{key}.".startswith(f"{name}.") for name in names)


def test_every_setting_is_listed_as_identity_or_as_not_identity(good):
    for key, _, _ in settings(good):
        assert within(key, DECIDED) == is_identity(key), f"decide on {key}: see DECIDED"
    assert not [name for name in NOT_IDENTITY if not any(within(key, [name]) for key, _, _ in settings(good))]


def test_the_hash_covers_every_value_of_a_runs_identity(good):
    good.data.train_files = [DataSource("mine.jsonl")]
    for key, value, _ in settings(good):
        if key not in ("curriculum.stages", "data.train_files"):
            same = config_hash(changed(good, **{key: other(value)})) == config_hash(good)
            assert same == (not within(key, DECIDED)), key


def test_the_number_of_stages_is_part_of_the_identity():
    hashes = {config_hash(Config(curriculum=CurriculumConfig([StageConfig()] * n))) for n in range(3)}
    assert len(hashes) == 3


# Settings of memory and time, and the settings that error messages tell the user to change.
KNOB_KEYS = """
cluster.startup_timeout_s cluster.gpu_memory_utilization cluster.max_num_seqs cluster.object_store_gb
cluster.resources_timeout_s cluster.learner_threads cluster.generator_threads cluster.hang_timeout_s cluster.kv_cache_gb
cluster.num_generators cluster.num_verifiers cluster.enforce_eager cluster.ray_address cluster.gpu_hour_price
learner.row_tokens learner.rows_per_batch learner.logprob_chunk_tokens learner.offload_optimizer
learner.offload_parameters learner.zero_stage learner.sequence_parallel_size learner.share_prompts learner.compile
model.gradient_checkpointing model.attention signal.keep_checkpoints signal.checkpoint_every signal.sync.bucket_mb
signal.sync.logprob_tolerance verify.sandbox.backend verify.sandbox.recycle_after
"""


@pytest.mark.parametrize("key", KNOB_KEYS.split())
def test_memory_time_and_checkpoint_settings_do_not_change_the_identity(good, key):
    value = next(value for name, value, _ in settings(good) if name == key)
    assert config_hash(changed(good, **{key: other(value)})) == config_hash(good)


def test_a_difference_has_its_key_and_both_values(good):
    now = changed(good, **{"signal.mgpo.lam": 2.0, "curriculum.stages.1.steps": 7, "learner.row_tokens": 9})
    assert differing(identity(good), identity(now), now) == [
        "curriculum.stages.1.steps was 10, is 7",
        "signal.mgpo.lam was 1.0, is 2.0",
    ]
    fewer = changed(good)
    fewer.curriculum.stages.pop()
    assert "curriculum.stages was ['math_short', 'math_long', 'code'], is ['math_short', 'math_long']" in differing(
        identity(good), identity(fewer), fewer
    )


def test_a_removed_setting_is_a_difference(good):
    assert differing({**identity(good), "signal.gone": 3}, identity(good), good) == ["signal.gone was 3, is unknown"]


def test_a_run_with_the_old_cap_on_the_importance_ratio_continues(good):
    def older(config, cap):
        known = {key: value for key, value in identity(config).items() if "importance" not in key}
        return {**known, "signal.mgpo.importance_cap": cap}

    low = changed(good, **{"signal.mgpo.importance": ImportanceConfig("truncate", 0.0, 2.0)})
    assert differing(older(good, 0.0), identity(good), good) == []
    assert differing(older(low, 2.0), identity(low), low) == []
    assert differing(older(good, 3.0), identity(low), low) == ["signal.mgpo.importance.high was 3.0, is 2.0"]
    assert differing(older(good, 0.0), identity(low), low) == [
        "signal.mgpo.importance.high was 0.0, is 2.0",
        "signal.mgpo.importance.kind was none, is truncate",
    ]


def test_a_setting_missing_from_an_older_run_counts_as_its_default(good):
    older = {key: value for key, value in identity(good).items() if key != "signal.mgpo.kl_coef"}
    assert differing(older, identity(good), good) == []
    now = changed(good, **{"signal.mgpo.kl_coef": 0.1})
    assert differing(older, identity(now), now) == ["signal.mgpo.kl_coef was 0.0, is 0.1"]


def test_the_longest_sequence_is_the_prompt_and_the_longest_completion_of_any_phase():
    config = Config(data=DataConfig(max_prompt_tokens=100))
    config.spectrum.probe.max_new_tokens, config.evaluation.max_new_tokens = 30, 40
    assert config.context_tokens == 140
    config.curriculum.stages = [StageConfig(max_new_tokens=20), StageConfig(max_new_tokens=70)]
    assert config.context_tokens == 170


def test_settings_that_do_not_work_with_pipelining_are_refused(good):
    ahead = {"signal.schedule": "pipelined"}
    validate(changed(good, **ahead))
    with pytest.raises(ConfigError, match="cannot generate while it learns"):
        validate(changed(good, **ahead, **{"cluster.colocate": True}))
    with pytest.raises(ConfigError, match="sampling=tracker with signal.schedule=pipelined"):
        validate(changed(good, **ahead, **{"curriculum.stages.0.sampling": "tracker"}))


# --- the names of a sweep's members --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "member", "names"),
    [
        (["-m", "signal.mgpo.lam=0,1", "seed=3"], ["signal.mgpo.lam=1", "seed=3"], ["signal.mgpo.lam=1"]),
        (["seed=range(0,3)", "data=files", "-m"], ["seed=2", "data=files"], ["seed=2"]),
        (["+data.x=choice(1,2)", "-m"], ["+data.x=1"], ["+data.x=1"]),
        (["-m", "cluster=local", "model=glob(*)"], ["cluster=local", "model=hf"], ["model=hf"]),
        (["-m", "data.train_files=[{path: a},{path: b}]", "seed=0,1"], ["data.train_files=[]", "seed=1"], ["seed=1"]),
        (["-m", "run_name=a,b", "seed=0,1"], ["run_name=b", "seed=1"], ["seed=1"]),
        (["-m", "seed=0"], ["seed=0"], []),
    ],
)
def test_a_member_is_named_by_what_the_sweep_varies(arguments, member, names):
    assert varied(arguments, member) == names


def test_a_member_of_a_sweep_has_a_readable_name():
    assert member_name("tiny", ["signal.mgpo.lam=0.5", "seed=1"]) == "tiny-signal.mgpo.lam=0.5-seed=1"
    assert member_name("tiny", []) == "tiny"


@given(st.sets(st.text(min_size=1, max_size=400).filter(lambda t: t.isprintable()), min_size=2, max_size=4))
def test_members_of_a_sweep_have_different_valid_folder_names(values):
    names = [member_name("run", [f"model.path={value}"]) for value in values]
    assert len(set(names)) == len(values)
    for name in names:
        assert len(name.encode()) <= 200
        assert re.fullmatch(r"[\w.=,+\[\]{}:@%-]+", name)


def test_a_sweep_over_long_paths_composes(tmp_path):
    """Three paths of 150 letters, fixed, and a lambda that varies: only lambda is in the names."""
    folder = tmp_path / ("l" * 150)
    folder.mkdir()
    sets = []
    for i, split in enumerate(("train", "probe", "test")):
        row = {"problem": f"{i} + 3?", "answer": i + 3, "solution": f"{i + 3}"}
        (folder / f"{split}.jsonl").write_text(json.dumps(row))
        sets.append(f"data.{split}_files=[{{path: {folder}/{split}.jsonl}}]")
    command = [
        sys.executable,
        "-m",
        "vt_ray.main",
        "-m",
        "experiment=tiny",
        "dry_run=true",
        "signal.mgpo.lam=0,1",
        *sets,
    ]
    done = subprocess.run([*command, f"runs_dir={tmp_path}"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    for lam in (0, 1):
        assert f"tiny-signal.mgpo.lam={lam}  config" in done.stdout
