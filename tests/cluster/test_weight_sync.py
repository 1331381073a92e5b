"""Every sync proves itself on the real engines, and each way of going wrong in silence is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import ray

from vt_ray.config import OptimizerConfig, SyncConfig
from vt_ray.engines.weights import Bucket, SyncError, fill_buckets, open_bucket
from vt_ray.records import Sampling, Weighing
from vt_ray.signal_phase.sync import sync_weights

pytestmark = pytest.mark.slow

SHIPPED = OptimizerConfig(lr=1e-6, warmup_steps=0)


@pytest.fixture(scope="module")
def learner(cluster, base_model):
    with cluster.learner(base_model, SHIPPED, total_steps=10) as learner:
        yield learner


@pytest.fixture(scope="module")
def generator(cluster, base_model):
    with cluster.generator(base_model) as generator:
        yield generator


@pytest.fixture(scope="module")
def probe(encoder, problems):
    return encoder.text_probe(problems.train[0], 32)


def train_once(learner, encoder, problems):
    examples = encoder.solutions(problems.train[:4], ["steps"])
    learner.sft_step([replace(e, token_weight=0.01) for e in examples])


class TamperingLearner:
    """Sends something else than it says it sends."""

    def __init__(self, learner, tamper):
        self.learner, self.tamper = learner, tamper

    def export_weights(self, version, probe, bucket_bytes):
        weights = self.learner.export_weights(version, probe, bucket_bytes)
        buckets = [self.tamper(ray.get(handle)) for handle in weights.buckets]
        return replace(weights, buckets=tuple(ray.put(bucket) for bucket in buckets))


def test_sync_arrives_byte_for_byte(learner, generator, probe, encoder, problems):
    train_once(learner, encoder, problems)
    report = sync_weights(learner, generator, 1, probe, SyncConfig())
    assert report.version == 1
    assert report.logprob_gap < 1e-5
    assert report.num_bytes > 4 * 100_000


def test_small_buckets_carry_the_same_weights(learner, generator, probe):
    weights = learner.export_weights(2, probe, bucket_bytes=50_000)
    assert len(weights.buckets) > 5
    (ack,) = generator.load(weights, probe)
    assert ack.checksums == weights.checksums
    assert {"lm_head.weight", "model.embed_tokens.weight"} <= ack.checksums.keys()


def test_stale_tied_lm_head_is_refused(learner, generator, probe, encoder, problems):
    def without_lm_head(bucket):
        kept = ((n, t.clone()) for n, t in open_bucket(bucket) if n != "lm_head.weight")
        return next(fill_buckets(kept, 1 << 30))

    train_once(learner, encoder, problems)
    with pytest.raises(SyncError, match=r"version 3.*lm_head.weight"):
        sync_weights(TamperingLearner(learner, without_lm_head), generator, 3, probe, SyncConfig())
    # The next honest sync mends it.
    assert sync_weights(learner, generator, 4, probe, SyncConfig()).logprob_gap < 1e-5


def test_skipped_sync_is_refused_at_the_shipped_learning_rate(learner, generator, probe, encoder, problems):
    """One step at 1e-6 moves log-probabilities less than any tolerance: the checksums see it all the same."""
    old = learner.export_weights(5, probe, 1 << 26)
    train_once(learner, encoder, problems)

    class SkippingGenerator:
        def load(self, weights, probe):
            return generator.load(replace(old, version=weights.version), probe)

    with pytest.raises(SyncError, match=r"version 5.*differ"):
        sync_weights(learner, SkippingGenerator(), 5, probe, SyncConfig(logprob_tolerance=10.0))


def test_flipped_bit_is_refused(learner, generator, probe):
    def flip(bucket):
        data = np.array(bucket.data)
        data[len(data) // 2] ^= 1
        return Bucket(bucket.entries, data)

    with pytest.raises(SyncError, match=r"version 6.*1 tensors differ"):
        sync_weights(TamperingLearner(learner, flip), generator, 6, probe, SyncConfig(logprob_tolerance=10.0))


def test_log_probabilities_beyond_the_tolerance_are_refused(learner, generator, probe):
    class ShiftedLearner:
        def export_weights(self, version, probe, bucket_bytes):
            weights = learner.export_weights(version, probe, bucket_bytes)
            return replace(weights, probe_logprobs=tuple(p - 0.01 for p in weights.probe_logprobs))

    with pytest.raises(SyncError, match=r"version 7.*0.01 nats"):
        sync_weights(ShiftedLearner(), generator, 7, probe, SyncConfig(logprob_tolerance=1e-3))


def test_checkpoint_on_disk_is_loaded_byte_for_byte(learner, generator, tmp_path, probe):
    learner.save_hf(tmp_path / "model")
    generator.load_checkpoint(tmp_path / "model", 8)
    (ack,) = generator.load(learner.export_weights(9, probe, 1 << 26), probe)
    assert ack.version == 9


def test_rollout_and_trainer_log_probabilities_agree_at_another_temperature(
    cluster, learner, generator, encoder, problems, probe, tiny_config
):
    """vLLM's log-probabilities after temperature 0.7 against the learner's, token by token, through a real update."""
    temperature = 0.7
    sync_weights(learner, generator, 10, probe, SyncConfig())
    prompts = encoder.prompts(problems.train[:6], 4, ("agreement",))
    with cluster.verifier() as verifier, cluster.tracker(tiny_config.tracker) as tracker:
        handles = generator.generate(prompts, Sampling(temperature, 1.0, 0, 24))
        groups = list(verifier.grade(handles))
        weights = [replace(w, advantages=(1.0, -1.0, 0.5, -0.5)) for w in tracker.weigh(groups, 10, Weighing(1.0))]
        metrics = learner.mgpo_step(groups, weights, tiny_config.signal.mgpo, temperature, 24)
    assert metrics["tokens"] == sum(n for g in groups for n in g.completion_tokens)
    assert metrics["logprob_gap_max"] < 1e-4
    assert metrics["clipped_tokens"] == 0


def test_same_seed_gives_the_same_completion(generator, encoder, problems):
    prompts = encoder.prompts(problems.train[:3], 2, ("repeat",))
    sampling = Sampling(1.0, 1.0, 0, 16)
    first, second = (
        {r.problem.question_id: [c.token_ids.tolist() for c in r.completions] for r in ray.get(list(handles))}
        for handles in (generator.generate(prompts, sampling), generator.generate(prompts, sampling))
    )
    assert first == second
