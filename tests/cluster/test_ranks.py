"""Gradients do not depend on the number of ranks, the ZeRO stage or the packing: all normalisers are global."""

from __future__ import annotations

import math
import random
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from ray import cloudpickle

from vt_ray.actors.shards import rl_sequences
from vt_ray.algorithms.aggregation import completion_token_weights
from vt_ray.algorithms.packing import TrainSequence, balance
from vt_ray.config import (
    AGGREGATIONS,
    ConfigError,
    EntropyBonusConfig,
    LearnerConfig,
    MgpoConfig,
    ModelConfig,
    OptimizerConfig,
)
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.training import TrainingEngine
from vt_ray.records import Completion, GradedGroup, Problem, Rollouts, Verdict

pytestmark = pytest.mark.slow
# Ray's workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

TEMPERATURE, MAX_NEW_TOKENS = 0.9, 40
Gradients = dict[str, torch.Tensor]


def gradients(
    spec: LearnerSpec, sequences: list[TrainSequence], mgpo: MgpoConfig, counts: dict[str, float]
) -> tuple[Gradients, dict[str, float]]:
    """Gradients and metrics of the first step."""
    with closing(TrainingEngine(spec)) as engine:
        return gradients_of_step(engine, sequences, mgpo, counts)


def gradients_with_bonus(
    spec: LearnerSpec, sequences: list[TrainSequence], mgpo: MgpoConfig
) -> tuple[Gradients, dict[str, float]]:
    """Gradients and metrics of a step in which the entropy bonus acts with a coefficient of 0.05."""
    with closing(TrainingEngine(spec)) as engine:
        engine.entropy_bonus.restore({"entropy_bonus": [0.05, 0.0]})
        return gradients_of_step(engine, sequences, mgpo, {})


def gradients_before_and_after(spec: LearnerSpec, sequences: list[TrainSequence], mgpo: MgpoConfig) -> list[tuple]:
    """Gradients and metrics before the first step, and after two real ones."""
    with closing(TrainingEngine(spec)) as engine:
        before = gradients_of_step(engine, sequences, mgpo, {})
    with closing(TrainingEngine(spec)) as engine:
        for _ in range(2):
            engine.sft_step(engine.rows(sequences))
        return [before, gradients_of_step(engine, sequences, mgpo, {})]


def trained(spec: LearnerSpec, sequences: list[TrainSequence]) -> tuple[list[float], list[str], float]:
    """A fingerprint after two steps, the names of the weights, and the loss of the second."""
    with closing(TrainingEngine(spec)) as engine:
        losses = [engine.sft_step(engine.rows(sequences))["loss"] for _ in range(2)]
        names = [entry.name for bucket in engine.export_weights(1 << 20) for entry in bucket.entries]
        return engine.token_logprobs(range(5, 25)), names, losses[-1]


def after_a_bad_step(
    spec: LearnerSpec, bad: list[TrainSequence], good: list[TrainSequence]
) -> list[tuple[list[float], dict[str, float]]]:
    """A fingerprint before any step, after one of `bad` sequences and after one of `good`, with their metrics."""
    with closing(TrainingEngine(spec)) as engine:
        found = [(engine.token_logprobs(range(5, 25)), {})]
        for sequences in (bad, good):
            metrics = engine.optimizer_step(
                engine.rows(sequences), engine.mgpo_row_loss(MgpoConfig(), TEMPERATURE), TEMPERATURE
            )
            found.append((engine.token_logprobs(range(5, 25)), metrics))
        return found


def gradients_of_step(
    engine: TrainingEngine, sequences: list[TrainSequence], mgpo: MgpoConfig, counts: dict[str, float]
) -> tuple[Gradients, dict[str, float]]:
    """Gradients and metrics of a step that leaves the weights as they are."""
    from deepspeed.utils import safe_get_full_grad

    engine.engine.step = lambda: None
    # DeepSpeed takes the norm from the step, which is left out.
    engine.engine.get_global_grad_norm = lambda: 0.0
    metrics = engine.optimizer_step(
        engine.rows(sequences), engine.mgpo_row_loss(mgpo, TEMPERATURE), TEMPERATURE, counts
    )
    plain = engine.spec.learner.zero_stage == 0
    named = engine.module.named_parameters()
    return {n: (p.grad if plain else safe_get_full_grad(p)).detach().clone() for n, p in named}, metrics


def completion(sample: int, ids: tuple[int, ...], logprobs: list[float]) -> Completion:
    arrays = np.array(ids, np.int32), np.array(logprobs, np.float32)
    return Completion(sample, *arrays, "", "stop", ((0, len(ids)),), 0.0)


def graded(num_groups: int = 5, group_size: int = 4) -> list[tuple[GradedGroup, Rollouts, tuple[float, ...]]]:
    """Groups of unlike lengths, the second with a completion that has no verdict; advantages at random."""
    dice = random.Random(0)
    out = []
    for g in range(num_groups):
        prompt = tuple(dice.randrange(4, 200) for _ in range(dice.randrange(3, 12)))
        answers = [tuple(dice.randrange(4, 200) for _ in range(dice.randrange(1, 30))) for _ in range(group_size)]
        completions = tuple(completion(i, ids, [dice.uniform(-7, -5) for _ in ids]) for i, ids in enumerate(answers))
        verdicts = tuple(Verdict("unverified" if (g, i) == (1, 2) else "wrong") for i in range(group_size))
        lengths, cut = tuple(map(len, answers)), (False,) * group_size
        group = GradedGroup(f"algebra/{g}", "algebra", verdicts, len(prompt), lengths, cut, None)
        problem = Problem(f"algebra/{g}", "algebra", "math", "?", "1")
        out.append((group, Rollouts(problem, prompt, completions), tuple(dice.uniform(-2, 2) for _ in answers)))
    return out


def batch(mgpo: MgpoConfig) -> list[TrainSequence]:
    groups = graded()
    weights = completion_token_weights([g for g, _, _ in groups], mgpo.aggregation, MAX_NEW_TOKENS)
    advantages = [a for _, _, a in groups]
    return rl_sequences([r for _, r, _ in groups], list(zip(weights, advantages, strict=True)))[0]


def spec(base_model: Path, **learner) -> LearnerSpec:
    optimizer = OptimizerConfig(lr=1e-3, warmup_steps=0, max_grad_norm=1e9)
    # A few chunks for each micro-batch.
    given = {"zero_stage": 1, "row_tokens": 96, "rows_per_batch": 2, "logprob_chunk_tokens": 40} | learner
    return LearnerSpec(str(base_model), ModelConfig(), optimizer, LearnerConfig(**given), 10, 0)


def unlike(sequences: list[TrainSequence]) -> list[list[TrainSequence]]:
    """Two ranks' shares; the second has fewer rows on purpose and fills up with empty ones."""
    first, second = balance([len(s) for s in sequences], 2)
    return [[sequences[i] for i in share] for share in (first + second[3:], second[:3])]


def worst_difference(a: Gradients, b: Gradients) -> float:
    """Relative to the largest gradient of the tensor."""
    assert a.keys() == b.keys()
    return max(((a[k] - b[k]).abs().max() / a[k].abs().max().clamp(min=1e-8)).item() for k in a)


def assert_same(found, reference) -> None:
    gradients, metrics = reference
    for others, their_metrics in found:
        assert worst_difference(gradients, others) < 2e-5
        for name in ("loss", "tokens", "entropy", "rollout_kl", "logprob_gap_max"):
            assert their_metrics[name] == pytest.approx(metrics[name], rel=1e-4, abs=1e-6), name


@pytest.fixture(scope="module")
def reference(one_rank, base_model):
    """{objective: gradients and metrics} of one rank, ZeRO 0, one sequence a row, one row a micro-batch."""
    plain = spec(base_model, zero_stage=0, row_tokens=1, rows_per_batch=1, logprob_chunk_tokens=4096)

    def of(mgpo: MgpoConfig):
        return ray.get(one_rank.call.remote(gradients, plain, batch(mgpo), mgpo, {}))

    return of


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_two_ranks_with_uneven_packed_rows_give_the_gradients_of_one(reference, two_ranks, base_model, zero_stage):
    mgpo = MgpoConfig()
    digests = [2.0**32 - 1, 5.0]
    calls = [
        rank.call.remote(gradients, spec(base_model, zero_stage=zero_stage), share, mgpo, {"consumed_digest": digest})
        for rank, share, digest in zip(two_ranks, unlike(batch(mgpo)), digests, strict=True)
    ]
    found = ray.get(calls)
    assert_same(found, reference(mgpo))
    assert [metrics["consumed_digest"] for _, metrics in found] == [2**32 + 4] * 2


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_every_aggregation_and_ratio_is_the_same_over_ranks(reference, two_ranks, base_model, aggregation, ratio):
    mgpo = MgpoConfig(aggregation=aggregation, ratio=ratio)
    shares = unlike(batch(mgpo))
    calls = [
        r.call.remote(gradients, spec(base_model), share, mgpo, {}) for r, share in zip(two_ranks, shares, strict=True)
    ]
    assert_same(ray.get(calls), reference(mgpo))


def test_packing_and_checkpointing_do_not_change_the_gradients(reference, one_rank, base_model):
    mgpo = MgpoConfig()
    for row_tokens, rows_per_batch, checkpointing in ((64, 3, False), (4096, 1, False), (64, 2, True), (1, 16, False)):
        packed = spec(base_model, row_tokens=row_tokens, rows_per_batch=rows_per_batch)
        packed = replace(packed, model=ModelConfig(gradient_checkpointing=checkpointing))
        assert_same([ray.get(one_rank.call.remote(gradients, packed, batch(mgpo), mgpo, {}))], reference(mgpo))


@pytest.mark.parametrize(("zero_stage", "checkpointing"), [(1, True), (3, False), (3, True)])
def test_two_ranks_that_share_each_row_give_the_gradients_of_one(
    reference, two_ranks, base_model, zero_stage, checkpointing
):
    mgpo = MgpoConfig(kl_coef=0.0)
    shared = spec(base_model, zero_stage=zero_stage, rows_per_batch=1, sequence_parallel_size=2)
    shared = replace(shared, model=ModelConfig(gradient_checkpointing=checkpointing))
    found = ray.get(
        [r.call.remote(gradients, shared, batch(mgpo), mgpo, {"updated_completions": 19}) for r in two_ranks]
    )
    assert_same(found, reference(mgpo))
    assert [metrics["updated_completions"] for _, metrics in found] == [19, 19]


def test_ranks_that_share_rows_fingerprint_alone_and_refuse_a_ratio_of_sequences(one_rank, two_ranks, base_model):
    sequences = batch(MgpoConfig())
    shared = spec(base_model, rows_per_batch=1, sequence_parallel_size=2)
    alone = ray.get(one_rank.call.remote(trained, spec(base_model), sequences))
    for rank, (fingerprint, names, loss) in enumerate(
        ray.get([r.call.remote(trained, shared, sequences) for r in two_ranks])
    ):
        assert fingerprint == pytest.approx(alone[0], abs=1e-4)
        # Rank 0 alone keeps the bytes.
        assert names == ([] if rank else alone[1])
        assert loss == pytest.approx(alone[2], rel=1e-4)
    by_sequence = MgpoConfig(ratio="sequence")
    with pytest.raises(ConfigError, match="ratio=sequence.*sequence_parallel_size=2"):
        ray.get([r.call.remote(gradients, shared, sequences, by_sequence, {}) for r in two_ranks])


@pytest.mark.parametrize("learner", [{"zero_stage": 3}, {"sequence_parallel_size": 2, "rows_per_batch": 1}])
def test_the_entropy_bonus_is_the_same_over_ranks(reference, one_rank, two_ranks, base_model, learner):
    mgpo = MgpoConfig(entropy_bonus=EntropyBonusConfig(target=9.0, step=0.01, max_coef=0.1))
    plain = spec(base_model, zero_stage=0, row_tokens=1, rows_per_batch=1, logprob_chunk_tokens=4096)
    alone = ray.get(one_rank.call.remote(gradients_with_bonus, plain, batch(mgpo), mgpo))
    shares = unlike(batch(mgpo)) if "zero_stage" in learner else [batch(mgpo)] * 2
    calls = [
        r.call.remote(gradients_with_bonus, spec(base_model, **learner), share, mgpo)
        for r, share in zip(two_ranks, shares, strict=True)
    ]
    found = ray.get(calls)
    assert_same(found, alone)
    assert worst_difference(alone[0], reference(mgpo)[0]) > 1e-3  # the bonus has not acted in the reference
    for name in ("entropy_coef", *(f"{of}_q{i}" for of in ("entropy", "tokens") for i in (1, 2, 3, 4))):
        assert [metrics[name] for _, metrics in found] == pytest.approx([alone[1][name]] * 2, rel=1e-4), name


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_the_kl_gradient_is_zero_at_the_start_and_pulls_back_after(one_rank, two_ranks, base_model, zero_stage):
    mgpo = MgpoConfig(kl_coef=0.5)
    # Without advantages the gradient is that of the KL term.
    still = [replace(s, advantage=0.0) for s in batch(mgpo)]
    opened = replace(spec(base_model, zero_stage=zero_stage), with_reference=True)
    calls = [
        r.call.remote(gradients_before_and_after, opened, share, mgpo)
        for r, share in zip(two_ranks, unlike(still), strict=True)
    ]
    for (before, start), (after, later) in ray.get(calls):
        assert max(g.abs().max() for g in before.values()) < 1e-6
        assert start["reference_kl"] == pytest.approx(0, abs=1e-5)
        assert max(g.abs().max() for g in after.values()) > 1e-4
        assert later["reference_kl"] > 1e-3
    with pytest.raises(ConfigError, match="kl_coef=0.5.*without a reference"):
        ray.get(one_rank.call.remote(gradients, spec(base_model), [], mgpo, {}))


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_a_step_that_is_not_finite_on_one_rank_changes_no_weight_on_any(two_ranks, base_model, zero_stage):
    good = batch(MgpoConfig())
    bad = [replace(good[0], advantage=math.nan), *good[1:]]
    given = spec(base_model, zero_stage=zero_stage)
    halves = zip(unlike(bad), unlike(good), strict=True)
    calls = [rank.call.remote(after_a_bad_step, given, *half) for rank, half in zip(two_ranks, halves, strict=True)]
    for before, after_bad, after_good in ray.get(calls):
        assert after_bad[0] == before[0]
        assert after_bad[1]["skipped"] == 1
        assert math.isnan(after_bad[1]["loss"])
        assert not math.isfinite(after_bad[1]["grad_norm"])
        assert after_good[0] != before[0]
        assert after_good[1]["skipped"] == 0
        assert math.isfinite(after_good[1]["grad_norm"])


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_a_step_without_any_gradient_works_on_all_ranks(two_ranks, base_model, zero_stage):
    idle = spec(base_model, zero_stage=zero_stage)
    for found, metrics in ray.get([r.call.remote(gradients, idle, [], MgpoConfig(), {}) for r in two_ranks]):
        assert not any(g.any() for g in found.values())
        assert metrics["tokens"] == metrics["loss"] == metrics["entropy"] == metrics["logprob_gap_max"] == 0
