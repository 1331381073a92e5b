"""LoRA on real ranks and engines: only adapters train, and every reader of the weights gets the merged ones."""

from __future__ import annotations

import math
import sys
from contextlib import closing
from dataclasses import replace

import pytest
import ray
import torch
from ray import cloudpickle

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import (
    EntropyBonusConfig,
    LearnerConfig,
    LoraConfig,
    MgpoConfig,
    ModelConfig,
    OptimizerConfig,
    SyncConfig,
)
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.training import TrainingEngine
from vt_ray.engines.weights import checkpoint_buckets
from vt_ray.signal_phase.sync import sync_weights

pytestmark = pytest.mark.slow
# Ray's workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

FINGERPRINT = range(5, 25)
SEQUENCES = [
    TrainSequence((5, 6, 7 + i), tuple(range(8 + i, 14 + 2 * i)), 1 / 40, (-1.0) ** i, (-5.0,) * (6 + i))
    for i in range(5)
]
TARGETS = ("q_proj", "down_proj")


def spec(base_model, dtype="float32", with_reference=False, dropout=0.0, **given) -> LearnerSpec:
    lora = LoraConfig(rank=4, alpha=8.0, dropout=dropout, target_modules=list(TARGETS))
    options = {"zero_stage": 1, "row_tokens": 24, "lora": lora} | given
    optimizer = OptimizerConfig(lr=1e-2, warmup_steps=0)
    return LearnerSpec(
        str(base_model), ModelConfig(dtype=dtype), optimizer, LearnerConfig(**options), 10, 0, with_reference
    )


def checksums(engine: TrainingEngine) -> dict[str, int]:
    return {entry.name: entry.checksum for bucket in engine.export_weights(1 << 16) for entry in bucket.entries}


def rows(engine: TrainingEngine, rank: int = 0, ranks: int = 1):
    return engine.rows(SEQUENCES[rank::ranks])


def before_and_after(spec: LearnerSpec, rank: int, ranks: int) -> dict:
    """Checksums and fingerprint before the first step, after two SFT steps, and after two exports."""
    with closing(TrainingEngine(spec)) as engine:
        start = checksums(engine), engine.token_logprobs(FINGERPRINT)
        metrics = [engine.sft_step(rows(engine, rank, ranks)) for _ in range(2)][-1]
        exports = [checksums(engine) for _ in range(2)]
        return {
            "start": start,
            "exports": exports,
            "fingerprint": engine.token_logprobs(FINGERPRINT),
            "metrics": metrics,
        }


def with_kl(spec: LearnerSpec, rank: int, ranks: int) -> list[dict[str, float]]:
    """Metrics of three MGPO steps with a KL term."""
    with closing(TrainingEngine(spec)) as engine:
        loss = engine.mgpo_row_loss(MgpoConfig(kl_coef=0.5), 0.9)
        return [engine.optimizer_step(rows(engine, rank, ranks), loss, 0.9) for _ in range(3)]


def with_bonus(engine: TrainingEngine, rank: int, ranks: int) -> None:
    """An MGPO step with an entropy bonus, whose coefficient is 0, 0.1 and 0.2 in the first three steps."""
    mgpo = MgpoConfig(entropy_bonus=EntropyBonusConfig(target=9.0, step=0.1, max_coef=1.0))
    engine.optimizer_step(rows(engine, rank, ranks), engine.mgpo_row_loss(mgpo, 0.9), 0.9)


def resumed(spec: LearnerSpec, folder, rank: int, ranks: int) -> tuple[dict, dict, set[str]]:
    """Checksums after three steps, without a break and resumed after the second; names of the weights in the state."""
    with closing(TrainingEngine(spec)) as engine:
        for step in range(3):
            if step == 2:
                engine.save_state(folder)
            with_bonus(engine, rank, ranks)
        assert engine.entropy_bonus.coefficient == pytest.approx(0.3)
        whole = checksums(engine)
    with closing(TrainingEngine(spec)) as engine:
        engine.load_state(folder)
        with_bonus(engine, rank, ranks)
        files = [torch.load(file, weights_only=False) for file in folder.rglob("*model_states.pt")]
        return whole, checksums(engine), {name for file in files for name in file["module"]}


def on(ranks, function, *arguments):
    count = len(ranks)
    return ray.get([rank.call.remote(function, *arguments, i, count) for i, rank in enumerate(ranks)])


def of_base(base_model) -> dict[str, int]:
    return {entry.name: entry.checksum for bucket in checkpoint_buckets(base_model) for entry in bucket.entries}


@pytest.fixture(scope="module")
def on_one_rank(one_rank, base_model):
    (found,) = on([one_rank], before_and_after, spec(base_model, zero_stage=0))
    return found


def test_a_new_learner_holds_the_base_model_bit_for_bit(one_rank, base_model, on_one_rank):
    assert on_one_rank["start"][0] == of_base(base_model)
    (full,) = on([one_rank], before_and_after, spec(base_model, lora=LoraConfig()))
    assert on_one_rank["start"] == full["start"]
    assert full["metrics"]["trainable_share"] == 1
    assert 0 < on_one_rank["metrics"]["trainable_share"] < 0.2
    assert on_one_rank["metrics"]["memory_gb_max"] > 0.1


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_only_the_named_layers_change_and_every_zero_stage_agrees(two_ranks, base_model, on_one_rank, zero_stage):
    first, second = on(two_ranks, before_and_after, spec(base_model, zero_stage=zero_stage))
    before, after = first["start"][0], first["exports"][0]
    assert before == of_base(base_model)
    assert first["exports"][1] == after, "an export changed the weights"
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {name for name in before if any(f"{target}.weight" in name for target in TARGETS)}
    assert second["exports"][0] == {}
    assert first["fingerprint"] == second["fingerprint"]
    assert first["fingerprint"] == pytest.approx(on_one_rank["fingerprint"], abs=1e-5)
    for name in ("loss", "grad_norm", "trainable_share"):
        assert first["metrics"][name] == pytest.approx(on_one_rank["metrics"][name], rel=1e-4), name


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_bfloat16_trains_in_every_kind_of_optimizer(two_ranks, base_model, zero_stage):
    first, _ = on(two_ranks, before_and_after, spec(base_model, "bfloat16", zero_stage=zero_stage))
    before, after = first["start"][0], first["exports"][0]
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {name for name in before if any(f"{target}.weight" in name for target in TARGETS)}
    assert math.isfinite(first["metrics"]["loss"])


@pytest.mark.parametrize("zero_stage", [0, 1, 3])
def test_the_kl_reference_is_the_model_without_its_adapters(two_ranks, base_model, zero_stage):
    opened = spec(base_model, with_reference=True, zero_stage=zero_stage)
    first, second = on(two_ranks, with_kl, opened)
    copied = with_copied_reference(two_ranks, opened)
    for step, (found, expected) in enumerate(zip(first, copied, strict=True)):
        for name in ("loss", "grad_norm", "reference_kl"):
            assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), (step, name)
    assert first[0]["reference_kl"] == pytest.approx(0, abs=1e-5)
    assert first[2]["reference_kl"] > 1e-3


def with_copied_reference(ranks, opened) -> list[dict[str, float]]:
    return on(ranks, with_kl_of_a_copy, opened)[0]


def with_kl_of_a_copy(spec: LearnerSpec, rank: int, ranks: int) -> list[dict[str, float]]:
    """As `with_kl`, but with a frozen copy of the start model, as without adapters."""
    from vt_ray.engines.deepspeed_process import open_reference

    with closing(TrainingEngine(spec)) as engine:
        full = replace(spec, learner=replace(spec.learner, lora=LoraConfig()))
        engine.reference = open_reference(full, engine.device)
        loss = engine.mgpo_row_loss(MgpoConfig(kl_coef=0.5), 0.9)
        return [engine.optimizer_step(rows(engine, rank, ranks), loss, 0.9) for _ in range(3)]


@pytest.mark.parametrize(("zero_stage", "dropout"), [(0, 0.3), (1, 0.0), (2, 0.3), (3, 0.3)])
def test_a_resumed_learner_continues_bit_for_bit(two_ranks, base_model, tmp_path, zero_stage, dropout):
    first, _ = on(two_ranks, resumed, spec(base_model, zero_stage=zero_stage, dropout=dropout), tmp_path / "state")
    whole, after_resume, names = first
    assert whole == after_resume
    assert whole != of_base(base_model)
    # DeepSpeed keeps a frozen tensor that has two names.
    assert names
    assert all("lora_" in name for name in names - {"network.lm_head.weight"})


def test_merged_weights_arrive_at_generator_and_disk(cluster, base_model, encoder, problems, tmp_path, monkeypatch):
    lora = LoraConfig(rank=4, alpha=8.0)
    monkeypatch.setattr(cluster.config.learner, "lora", lora)
    fingerprint = encoder.fingerprint(problems.train[0], 32)
    examples = [replace(e, token_weight=0.01) for e in encoder.solutions(problems.train[:4], ["steps"])]
    with cluster.generator(base_model) as generator:
        with cluster.learner(base_model, OptimizerConfig(lr=1e-2, warmup_steps=0), total_steps=10) as learner:
            for version in (31, 32):
                learner.sft_step(examples)
                report = sync_weights(learner, generator, version, fingerprint, SyncConfig(logprob_tolerance=1e-3))
                assert report.logprob_gap < 1e-5
                assert not report.retried
            sent = learner.export_weights(33, fingerprint, 1 << 26)
            learner.save_hf(tmp_path / "model")
        assert of_base(tmp_path / "model") == sent.checksums
        assert sent.checksums.keys() == of_base(base_model).keys()
        generator.load_checkpoint(tmp_path / "model", 34)
        (ack,) = generator.load(sent, fingerprint)
        assert ack.checksums == sent.checksums
        # The next stage starts from the saved model, with new adapters.
        with cluster.learner(tmp_path / "model", OptimizerConfig(), total_steps=10) as learner:
            assert learner.export_weights(35, fingerprint, 1 << 26).checksums == sent.checksums
