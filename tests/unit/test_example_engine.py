"""docs/examples/transformers_engine.py implements the Protocol of a generation engine."""

from __future__ import annotations

import inspect
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_config import composed

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs/examples"))
from transformers_engine import TransformersBatch, TransformersEngine

from vt_ray.engines.base_model import prepare_base_model
from vt_ray.engines.generation import EngineSpec, GenerationBatch, GenerationEngine, engine_class
from vt_ray.engines.weights import checkpoint_buckets, pack_bucket
from vt_ray.records import Problem, Prompt, Sampling

SAMPLING = Sampling(temperature=0.7, top_p=1.0, top_k=0, max_tokens=5)


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    config = composed("experiment=tiny")
    folder = tmp_path_factory.mktemp("base")
    prepare_base_model(config.model, ["1 + 2 = 3", "3 + 4 = 7"], 0, folder, 64)
    return folder


@pytest.fixture
def engine(base_model):
    spec = EngineSpec(
        str(base_model), "float32", 64, 4, 0, 1, 1, 0.5, 1, 0, engine="transformers_engine:TransformersEngine"
    )
    engine = engine_class(spec.engine)(spec)
    assert isinstance(engine, TransformersEngine)
    return engine


def prompt(name, *seeds):
    return Prompt(Problem(name, "algebra", "math", "1 + 2?"), (5, 6, 7), seeds)


def completed(engine, *prompts, sampling=SAMPLING):
    batch = engine.open_batch(sampling)
    batch.submit(enumerate(prompts))
    batch.close()
    return dict(batch)


@pytest.mark.parametrize(
    ("protocol", "implementation"), [(GenerationEngine, TransformersEngine), (GenerationBatch, TransformersBatch)]
)
def test_it_has_every_member_of_the_protocol(engine, protocol, implementation):
    members = {n: m for n, m in vars(protocol).items() if not n.startswith("_") or n == "__iter__"}
    assert len(members) >= 4
    for name, member in members.items():
        if isinstance(member, property):
            assert hasattr(engine, name)
        else:
            parameters = [list(inspect.signature(f).parameters) for f in (member, getattr(implementation, name))]
            assert parameters[0] == parameters[1], name


def test_groups_come_with_their_seeds_versions_and_logprobs_after_temperature(engine, base_model):
    engine.load_weights(checkpoint_buckets(base_model), 3)
    found = completed(engine, prompt("a", 1, 2, 1), prompt("b", 9))
    first, second, again = found[0].completions
    assert [c.sample for c in found[0].completions] == [0, 1, 2] and found[1].seeds == (9,)
    assert first.token_ids.tolist() == again.token_ids.tolist() != second.token_ids.tolist()
    assert first.version_runs == ((3, len(first.token_ids)),)
    with torch.no_grad():
        logits = engine.model(torch.tensor([[5, 6, 7, *first.token_ids]])).logits[0, 2:-1]
    expected = torch.log_softmax(logits / 0.7, -1)[range(len(first.token_ids)), first.token_ids.tolist()]
    assert first.rollout_logprobs.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_best_token_alone_is_left_by_a_small_nucleus(engine):
    greedy = [
        completed(engine, prompt("a", 1, 2), sampling=replace(SAMPLING, **few))
        for few in ({"top_k": 1}, {"top_p": 1e-9})
    ]
    tokens = [c.token_ids.tolist() for found in greedy for c in found[0].completions]
    assert tokens == [tokens[0]] * 4


def test_it_proves_the_weights_that_it_holds_and_stops_on_others(engine, base_model):
    buckets = list(checkpoint_buckets(base_model))
    sent = {entry.name: entry.checksum for bucket in buckets for entry in bucket.entries}
    before = engine.token_logprobs([5, 6, 7])
    assert engine.load_weights(buckets, 1) == sent and engine.proven and engine.weight_version == 1
    assert engine.token_logprobs([5, 6, 7]) == before and len(before) == 2
    changed = [pack_bucket([(("model.norm.weight",), torch.full_like(engine.model.model.norm.weight, 2.0))])]
    assert engine.load_weights(changed, 2) != sent and engine.proven
    assert engine.token_logprobs([5, 6, 7]) != before
    torn = [replace(b, entries=tuple(replace(e, checksum=e.checksum + 1) for e in b.entries)) for b in changed]
    engine.load_weights(torn, 3)
    assert not engine.proven
    with pytest.raises(RuntimeError, match="other weights"):
        engine.token_logprobs([5, 6, 7])


def test_an_abandoned_batch_ends(engine):
    batch = engine.open_batch(SAMPLING)
    batch.submit([("a", prompt("a", 1)), ("b", prompt("b", 1))])
    for ticket, _ in batch:
        assert ticket == "a"
        batch.abandon()


def test_it_waits_while_asleep_and_counts_its_work(engine):
    completed(engine, prompt("a", 1))
    assert engine.busy_seconds() > 0 and engine.stuck_seconds() == 0
    engine.sleep()
    engine.wake_up()
    assert len(completed(engine, prompt("a", 1))) == 1
