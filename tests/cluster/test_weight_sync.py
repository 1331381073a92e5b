"""Each sync is verified on the real engines: a new export repairs a fault once, a second fault is refused."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.request import urlopen

import numpy as np
import pytest
import ray
from sent_weights import Weights

from vt_ray.config import OptimizerConfig, SyncConfig
from vt_ray.engines.weights import LM_HEAD, SyncError
from vt_ray.records import AdvantageConfig, Sampling
from vt_ray.signal_phase.sync import sync_weights

pytestmark = pytest.mark.slow

SHIPPED = OptimizerConfig(lr=1e-6, warmup_steps=0)


@pytest.fixture(scope="module")
def learner(cluster, base_model):
    with cluster.learner(base_model, SHIPPED, total_steps=10) as learner:
        yield learner


@pytest.fixture(scope="module")
def generator(cluster, base_model):
    # Ray's processes report every 10 seconds: the last test of this file finds the figure.
    cluster.publish({"step": 7, "reward_mean": 0.625, "busy": {"generator_0": 0.5}})
    with cluster.generator(base_model) as generator:
        yield generator


@pytest.fixture(scope="module")
def fingerprint(encoder, problems):
    return encoder.fingerprint(problems.train[0], 32)


def train_once(learner, encoder, problems):
    examples = list(encoder.solutions(problems.train[:4], ["steps"]))
    learner.sft_step([replace(e, token_weight=0.01) for e in examples])


def as_sent(weights, buckets, fingerprint_logprobs):
    return Weights(weights.version, buckets, weights.checksums, fingerprint_logprobs, weights.num_bytes)


class Tampering:
    """A generator that loads something else than the learner sent, the first `times` times."""

    def __init__(self, generator, tamper, times):
        self.generator, self.tamper, self.times = generator, tamper, times

    def load(self, weights, fingerprint):
        self.times -= 1
        if self.times < 0:
            return self.generator.load(weights, fingerprint)
        buckets = self.tamper(ray.get(list(weights.buckets)))
        sent = tuple(ray.put(bucket) for bucket in buckets)
        return self.generator.load(as_sent(weights, sent, weights.fingerprint_logprobs), fingerprint)


def keep_lm_head(buckets):
    """The embedding's bytes arrive under its first name alone: the packed lm_head stays the old one."""
    return [replace(b, entries=tuple(e for e in b.entries if e.name != LM_HEAD)) for b in buckets]


def flip_a_bit(buckets):
    first, *rest = buckets
    data = [np.array(array) for array in first.data]
    data[-1][len(data[-1]) // 2] ^= 1
    return [replace(first, data=tuple(data)), *rest]


def swap_two_tensors(buckets):
    """Two tensors of the same shape in one layer."""
    names = {"model.layers.0.input_layernorm.weight": "model.layers.0.post_attention_layernorm.weight"}
    names |= {new: old for old, new in names.items()}
    return [replace(b, entries=tuple(replace(e, name=names.get(e.name, e.name)) for e in b.entries)) for b in buckets]


def drop_a_tensor(buckets):
    name = "model.layers.1.mlp.down_proj.weight"
    return [replace(b, entries=tuple(e for e in b.entries if e.name != name)) for b in buckets]


def drop_the_first_bucket(buckets):
    """Of this small model it is the only one: nothing is loaded, and the old weights stay."""
    return buckets[1:]


WRONG = {
    keep_lm_head: "lm_head.weight",
    flip_a_bit: "1 tensors differ",
    swap_two_tensors: "2 tensors differ",
    drop_a_tensor: "down_proj",
    drop_the_first_bucket: "are missing",
}


def test_sync_arrives_byte_for_byte(learner, generator, fingerprint, encoder, problems):
    train_once(learner, encoder, problems)
    report = sync_weights(learner, generator, 1, fingerprint, SyncConfig(logprob_tolerance=1e-3))
    assert report.version == 1
    assert report.logprob_gap < 1e-5
    assert report.num_bytes > 4 * 100_000


def test_small_buckets_carry_the_same_weights(learner, generator, fingerprint):
    weights = learner.export_weights(2, fingerprint, bucket_bytes=50_000)
    assert len(weights.buckets) > 5
    (ack,) = generator.load(weights, fingerprint)
    assert ack.checksums == weights.checksums
    assert {"lm_head.weight", "model.embed_tokens.weight"} <= ack.checksums.keys()


@pytest.mark.parametrize("tamper", WRONG)
def test_a_fault_in_one_load_is_repaired_by_a_new_export(learner, generator, fingerprint, encoder, problems, tamper):
    train_once(learner, encoder, problems)
    report = sync_weights(learner, Tampering(generator, tamper, 1), 3, fingerprint, SyncConfig(logprob_tolerance=10.0))
    assert report.retried
    assert report.logprob_gap < 1e-5
    assert not sync_weights(learner, generator, 4, fingerprint, SyncConfig(logprob_tolerance=1e-3)).retried


@pytest.mark.parametrize("tamper", WRONG)
def test_a_fault_in_two_loads_is_refused_by_name(learner, generator, fingerprint, encoder, problems, tamper):
    train_once(learner, encoder, problems)
    with pytest.raises(SyncError, match=rf"version 3: generator_0.*{WRONG[tamper]}.*twice"):
        sync_weights(learner, Tampering(generator, tamper, 2), 3, fingerprint, SyncConfig(logprob_tolerance=10.0))
    assert sync_weights(learner, generator, 4, fingerprint, SyncConfig(logprob_tolerance=1e-3)).logprob_gap < 1e-5


def test_one_generator_of_two_that_holds_something_else_is_named(learner, generator, fingerprint):
    class Both:
        """One engine under two names: generator_0 loads what the learner sent, generator_1 something else."""

        def __init__(self, times):
            self.second = Tampering(generator, flip_a_bit, times)

        def load(self, weights, fingerprint):
            first = generator.load(weights, fingerprint)
            return [*first, *(replace(ack, holder="generator_1") for ack in self.second.load(weights, fingerprint))]

    with pytest.raises(SyncError, match=r"version 5: generator_1.*1 tensors differ"):
        sync_weights(learner, Both(2), 5, fingerprint, SyncConfig(logprob_tolerance=10.0))
    assert sync_weights(learner, Both(1), 6, fingerprint, SyncConfig(logprob_tolerance=1e-3)).retried
    assert not sync_weights(learner, Both(0), 7, fingerprint, SyncConfig(logprob_tolerance=1e-3)).retried


def test_skipped_sync_is_refused_at_the_shipped_learning_rate(learner, generator, fingerprint, encoder, problems):
    """One step at 1e-6 moves log-probabilities less than any tolerance: the checksums see it all the same."""
    old = learner.export_weights(5, fingerprint, 1 << 26)
    generator.load(old, fingerprint)
    train_once(learner, encoder, problems)

    class SkippingGenerator:
        def load(self, weights, fingerprint):
            return generator.load(old, fingerprint)

    with pytest.raises(SyncError, match=r"version 5.*differ"):
        sync_weights(learner, SkippingGenerator(), 5, fingerprint, SyncConfig(logprob_tolerance=10.0))


def test_log_probabilities_beyond_the_tolerance_are_refused(learner, generator, fingerprint):
    class ShiftedLearner:
        def export_weights(self, version, fingerprint, bucket_bytes):
            sent = learner.export_weights(version, fingerprint, bucket_bytes)
            shifted = tuple(p - 0.01 for p in sent.fingerprint_logprobs)
            return as_sent(sent, sent.buckets, shifted)

    with pytest.raises(SyncError, match=r"version 7.*0.01 nats"):
        sync_weights(ShiftedLearner(), generator, 7, fingerprint, SyncConfig(logprob_tolerance=1e-3))


def wrong_logprobs(weights):
    """The same bytes with wrong log-probabilities."""
    return as_sent(weights, weights.buckets, tuple(p - 1.0 for p in weights.fingerprint_logprobs))


def corrupt(weights):
    buckets = flip_a_bit(ray.get(list(weights.buckets)))
    return as_sent(weights, tuple(ray.put(bucket) for bucket in buckets), weights.fingerprint_logprobs)


@pytest.mark.parametrize("spoil", [corrupt, wrong_logprobs])
def test_requests_in_flight_wait_until_the_weights_are_verified(
    learner, generator, fingerprint, encoder, problems, spoil
):
    """After a good load decoding continues. After a bad load no group is finished and no token has its version."""
    generator.load(learner.export_weights(20, fingerprint, 1 << 26), fingerprint)
    spoiled = spoil(learner.export_weights(21, fingerprint, 1 << 26))
    prompts = encoder.prompts(problems.train[:16], 4, ("standing still",))
    with ThreadPoolExecutor(1) as thread:
        handles = thread.submit(list, generator.generate(prompts, Sampling(1.0, 1.0, 0, 100)))
        time.sleep(0.1)
        generator.load(spoiled, fingerprint)
        time.sleep(0.1)
        before = generator.busy_seconds()["generator_0"]
        time.sleep(1.0)
        worked_s, done = generator.busy_seconds()["generator_0"] - before, handles.done()
        generator.load(learner.export_weights(22, fingerprint, 1 << 26), fingerprint)
        groups = ray.get(handles.result(timeout=60))
    assert worked_s < 0.1 and not done
    runs = [dict(c.version_runs) for group in groups for c in group.completions]
    assert any(22 in versions for versions in runs)
    if spoil is corrupt:
        assert not any(21 in versions for versions in runs)


def test_checkpoint_on_disk_is_loaded_byte_for_byte(learner, generator, tmp_path, fingerprint):
    learner.save_hf(tmp_path / "model")
    generator.load_checkpoint(tmp_path / "model", 8)
    (ack,) = generator.load(learner.export_weights(9, fingerprint, 1 << 26), fingerprint)
    assert ack.version == 9


def test_rollout_and_trainer_log_probabilities_agree_at_another_temperature(
    cluster, learner, generator, encoder, problems, fingerprint, tiny_config
):
    """vLLM's log-probabilities after temperature 0.7 against the learner's, token by token, through a real update."""
    temperature = 0.7
    sync_weights(learner, generator, 10, fingerprint, SyncConfig(logprob_tolerance=1e-3))
    prompts = encoder.prompts(problems.train[:6], 4, ("agreement",))
    with cluster.verifier() as verifier, cluster.tracker(tiny_config.tracker) as tracker:
        handles = generator.generate(prompts, Sampling(temperature, 1.0, 0, 24))
        groups = list(verifier.grade(handles))
        weights = [
            replace(w, advantages=(1.0, -1.0, 0.5, -0.5))
            for w in tracker.compute_advantages(groups, 10, AdvantageConfig(1.0))
        ]
        metrics = learner.update(groups, weights, tiny_config.signal.mgpo, temperature, 24)
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


def test_figures_of_steps_and_engines_reach_prometheus(cluster, generator, encoder, problems):
    list(generator.generate(encoder.prompts(problems.train[:1], 2, ("count",)), Sampling(1.0, 1.0, 0, 4)))
    assert cluster.engine_counters()["generator_0"]["tokens"] > 0
    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + 60
    found = {}
    while not {("step_reward_mean", "driver"), ("engine_tokens_total", "generator_0")} <= found.keys():
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
        text = urlopen(address, timeout=10).read().decode()
        lines = re.findall(r'^ray_vt_ray_(\w+)\{.*actor="(\w+)".*run="tiny".*\} (\S+)$', text, re.MULTILINE)
        found = {(name, actor): float(value) for name, actor, value in lines}
    assert found["step_reward_mean", "driver"] == 0.625
    assert found["engine_tokens_total", "generator_0"] > 0
