"""One real vLLM engine: several callers share it, and its weights change while requests are in flight."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from vt_ray.config import ConfigError
from vt_ray.engines.generation import EngineSpec
from vt_ray.engines.vllm.engine import VllmEngine
from vt_ray.engines.weights import checkpoint_tensors, pack_bucket
from vt_ray.records import Problem, Prompt, Sampling
from vt_ray.signal_phase.engine_record import SUMS
from vt_ray.spectrum_phase.fusion import fuse, take_tokenizer

pytestmark = pytest.mark.slow

PROBLEM = Problem("q", "algebra", "math", "?")
FINGERPRINT = list(range(5, 37))
# vLLM's CPU build caches prefixes in blocks of 128 tokens.
LONG_PROMPT = tuple(5 + i % 300 for i in range(150))


def spec(folder, **changes):
    values = {"dtype": "float32", "context_tokens": 512, "max_num_seqs": 8, "gpus": 0, "tensor_parallel_size": 1}
    values |= {"kv_cache_gb": 1, "gpu_memory_utilization": 0.5, "threads": 1, "seed": 0}
    return EngineSpec(str(folder), **values | changes)


@pytest.fixture(scope="module")
def fused_model(base_model, tmp_path_factory):
    """The fusion of two models whose average is the base model. All three have several files."""
    folder = tmp_path_factory.mktemp("fusion")
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    for name, factor in (("algebra", 0.5), ("code", 1.5)):
        scaled = {key: value * factor for key, value in model.state_dict().items()}
        model.save_pretrained(folder / name, state_dict=scaled, max_shard_size=f"{60 * factor:.0f}KB")
        take_tokenizer(base_model, folder / name)
    fuse({d: folder / d for d in ("algebra", "code")}, [0.5, 0.5], folder / "fused", shard_bytes=50_000)
    return folder / "fused"


@pytest.fixture(scope="module")
def opened(fused_model):
    """An engine, and its log-probabilities after it has read the fused model."""
    engine = VllmEngine(spec(fused_model))
    yield engine, engine.token_logprobs(FINGERPRINT)
    engine.loop.close()


@pytest.fixture(scope="module")
def engine(opened):
    return opened[0]


@pytest.fixture
def versions(base_model):
    """Buckets of the base model, and of a model with clearly different log-probabilities."""

    def buckets(factor):
        return [pack_bucket((names, tensor * factor) for names, tensor in checkpoint_tensors(base_model))]

    return buckets(1.0), buckets(1.3)


def prompts(count, samples=2, length=20, first=0):
    def prompt(i):
        ids = tuple(5 + (7 * i + j) % 300 for j in range(length))
        return Prompt(PROBLEM, ids, tuple(range(100 * i, 100 * i + samples)), i)

    return [prompt(i) for i in range(first, first + count)]


def sampling(max_tokens):
    return Sampling(1.0, 1.0, 0, max_tokens)


def token_ids(rollouts):
    return {r.step: [c.token_ids.tolist() for c in r.completions] for r in rollouts}


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def wait_for_start(engine):
    wait_until(lambda: engine.loop.in_flight)


def test_vllm_and_transformers_load_a_fused_model_of_several_files(opened, fused_model, base_model):
    assert len([*fused_model.glob("*.safetensors")]) > 2
    fused, base = (
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in (fused_model, base_model)
    )
    for name, tensor in fused.state_dict().items():
        torch.testing.assert_close(tensor, base.state_dict()[name], rtol=1e-6, atol=1e-7)
    ids = torch.tensor([FINGERPRINT])
    with torch.no_grad():
        logprobs = fused(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    assert opened[1] == pytest.approx(logprobs.tolist(), abs=1e-4)


def test_weights_change_under_completions_and_every_token_knows_its_version(engine, versions):
    old, new = versions
    engine.load_weights(old, 0)
    batch = engine.open_batch(sampling(300))
    batch.submit(enumerate([Prompt(PROBLEM, LONG_PROMPT, (1, 2, 3, 4))]))
    batch.close()
    wait_for_start(engine)
    # The engine has worked for this long on the requests: some of their tokens are sampled from the old weights.
    began = engine.loop.busy_seconds
    wait_until(lambda: engine.loop.busy_seconds > began + 0.2)
    held = engine.load_weights(new, 1)
    expected = engine.token_logprobs(FINGERPRINT)
    # The same prompt, with its prefix cached under the old weights.
    after = engine.open_batch(sampling(24))
    after.submit([(0, Prompt(PROBLEM, LONG_PROMPT, (9,)))])
    after.close()
    ((_, fresh),) = after
    ((_, changed),) = batch
    assert any([version for version, _ in c.version_runs] == [0, 1] for c in changed.completions)
    assert all(sum(n for _, n in c.version_runs) == len(c.token_ids) for c in changed.completions)
    assert fresh.completions[0].version_runs == ((1, len(fresh.completions[0].token_ids)),)
    # No request is in flight, so the load empties the prefix cache: the reference uses the new weights alone.
    assert engine.load_weights(new, 2) == held == {e.name: e.checksum for bucket in new for e in bucket.entries}
    assert engine.token_logprobs(FINGERPRINT) == pytest.approx(expected, abs=1e-5)
    ((reference),) = engine.generate([Prompt(PROBLEM, LONG_PROMPT, (9,))], sampling(24))
    assert fresh.completions[0].token_ids.tolist() == reference.completions[0].token_ids.tolist()
    assert fresh.completions[0].rollout_logprobs == pytest.approx(reference.completions[0].rollout_logprobs, abs=1e-5)
    engine.load_weights(old, 3)
    assert max(abs(a - b) for a, b in zip(engine.token_logprobs(FINGERPRINT), expected, strict=True)) > 0.01


def test_a_load_that_fails_midway_samples_nothing_until_the_next_load(engine, versions, base_model):
    old, new = versions
    engine.load_weights(old, 0)
    batch = engine.open_batch(sampling(300))
    batch.submit(enumerate([Prompt(PROBLEM, LONG_PROMPT, (1, 2))]))
    batch.close()
    wait_for_start(engine)

    tensors = list(checkpoint_tensors(base_model))
    # gate_proj without up_proj: vLLM has both in one tensor.
    half = next(i for i, (names, _) in enumerate(tensors) if "gate_proj" in names[0]) + 1

    def lost():
        yield pack_bucket(tensors[:half])
        raise ConnectionError("the learner is gone")

    with pytest.raises(ConnectionError, match="the learner is gone"):
        engine.load_weights(lost(), 1)
    with pytest.raises(RuntimeError, match="the engine is paused"):
        engine.token_logprobs(FINGERPRINT)
    sent = {e.name: e.checksum for bucket in new for e in bucket.entries}
    assert engine.load_weights(new, 2) == sent, "no tensor of the broken load is left"
    ((_, rollouts),) = batch
    assert {version for c in rollouts.completions for version, _ in c.version_runs} <= {0, 2}
    engine.load_weights(old, 3)


def test_callers_share_the_engine_and_a_fingerprint_takes_nothing_from_them(engine):
    alone = [token_ids(engine.generate(prompts(6, first=first), sampling(40))) for first in (0, 6)]
    expected = engine.token_logprobs(FINGERPRINT)
    found = {}

    def generate(first):
        found[first] = token_ids(engine.generate(prompts(6, first=first), sampling(40)))

    callers = [threading.Thread(target=generate, args=(first,)) for first in (0, 6)]
    for caller in callers:
        caller.start()
    wait_for_start(engine)
    meanwhile = engine.token_logprobs(FINGERPRINT)
    assert engine.loop.in_flight > 0
    for caller in callers:
        caller.join()
    assert meanwhile == pytest.approx(expected, abs=1e-5)
    assert [found[0], found[6]] == alone


def test_one_engine_serves_two_limits_at_a_time_and_its_own(engine):
    short, long = engine.open_batch(sampling(4)), engine.open_batch(sampling(40))
    for batch in (short, long):
        batch.submit(enumerate(prompts(3)))
        batch.close()
    lengths = [[len(c.token_ids) for _, r in batch for c in r.completions] for batch in (short, long)]
    assert max(lengths[0]) == 4 and max(lengths[1]) == 40
    (cut,) = engine.generate(prompts(1, samples=1, length=505), sampling(40))
    assert len(cut.completions[0].token_ids) <= 512 - 505


def test_text_is_the_decoded_tokens_without_the_end_token(engine):
    for rollouts in engine.generate(prompts(40, samples=4), sampling(60)):
        for c in rollouts.completions:
            assert len(c.rollout_logprobs) == len(c.token_ids)
            ended = c.token_ids[-1] == engine.tokenizer.eos_token_id
            assert c.finish_reason == ("stop" if ended else "length")
            assert c.text == engine.tokenizer.decode(c.token_ids, skip_special_tokens=True)


def test_tokens_are_the_same_without_log_probabilities(engine):
    for temperature, top_p in ((1.0, 1.0), (0.6, 0.9)):
        asked = Sampling(temperature, top_p, 0, 40)
        without = list(engine.generate(prompts(6), replace(asked, logprobs=False)))
        assert token_ids(without) == token_ids(engine.generate(prompts(6), asked))
        assert all(len(c.rollout_logprobs) == 0 for r in without for c in r.completions)


def test_requests_in_flight_continue_after_sleep(engine):
    undisturbed = token_ids(engine.generate(prompts(4), sampling(200)))
    batch = engine.open_batch(sampling(200))
    batch.submit((p.step, p) for p in prompts(4))
    batch.close()
    wait_for_start(engine)
    engine.sleep()
    engine.wake_up()
    assert token_ids(r for _, r in batch) == undisturbed


def test_abandoned_requests_leave_the_engine(engine):
    groups = engine.generate([*prompts(1, samples=1), *prompts(9, length=30, first=1)], sampling(400))
    next(groups)
    groups.close()
    assert engine.loop.in_flight == 0


def test_the_engine_counts_tokens_and_prefix_hits(engine):
    before, asked = engine.counters(restart_peak=True), prompts(3, samples=4, length=150)
    made = sum(len(c.token_ids) for r in engine.generate(asked, sampling(40)) for c in r.completions)
    after = engine.counters()
    counted = {name: after[name] - before[name] for name in SUMS}
    assert counted["tokens"] == made and counted["preemptions"] == 0
    # Of each prompt's four requests, three find its block of 128 tokens.
    assert (counted["prefix_queries"], counted["prefix_hits"]) == (12 * 150, 9 * 128)
    assert 40 <= counted["engine_steps"] <= made and 0 < counted["step_seconds"] < engine.busy_seconds()
    assert 0 < counted["running_sum"] <= 8 * counted["engine_steps"]
    assert 0 < after["kv_usage_max"] < 0.5 and after["memory_gb_max"] is None
    assert (after["running"], after["waiting"], after["kv_usage"]) == (0, 0, 0)


def test_arguments_reach_vllm_and_a_small_cache_preempts(base_model, engine):
    # 8 blocks of 128 tokens, one of them reserved, hold 3 sequences of 2 blocks.
    small = VllmEngine(spec(base_model, engine_args={"num_gpu_blocks_override": 8, "enable_prefix_caching": False}))
    asked = prompts(2, samples=4, length=100)
    assert token_ids(small.generate(asked, sampling(120))) == token_ids(engine.generate(asked, sampling(120)))
    counted = small.counters()
    small.loop.close()
    assert counted["preemptions"] > 0 and counted["waiting_sum"] > 0 and counted["kv_usage_max"] > 0.8
    assert counted["prefix_hits"] == 0


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "message"),
    [
        (Prompt(PROBLEM, (5,) * 512, (1,)), 8, "512 tokens; an engine with a context of 512 takes 1 to 511"),
        (Prompt(PROBLEM, (), (1,)), 8, "0 tokens"),
        (Prompt(PROBLEM, (5,), (1,)), 0, "max_new_tokens=0 for q"),
        (Prompt(PROBLEM, (5,), ()), 8, "no seeds"),
        (Prompt(PROBLEM, (10**6,), (1,)), 8, "1000000"),
    ],
)
def test_a_prompt_without_room_for_a_completion_is_refused(engine, prompt, max_tokens, message):
    with pytest.raises(Exception, match=message):
        list(engine.generate([prompt], sampling(max_tokens)))
    assert len(list(engine.generate(prompts(1), sampling(2)))) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_cache_gb": 10**6}, "512 tokens cannot have its KV cache with cluster.kv_cache_gb=1000000"),
        ({"engine_args": {"kv_cache_dtype": "fp9"}}, r"cluster.engine_args \(kv_cache_dtype='fp9'\): .*correct them"),
    ],
)
def test_an_engine_that_cannot_start_names_the_key(base_model, changes, message):
    with pytest.raises(ConfigError, match=message):
        VllmEngine(spec(base_model, **changes))
