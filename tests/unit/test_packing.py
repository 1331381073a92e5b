"""Packed rows give the same log-probabilities and gradients of a real model as rows with one sequence each."""

import random
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.actors.shards import computed_weights, rl_sequences
from vt_ray.algorithms.ledger import completion_digest
from vt_ray.algorithms.logprobs import selected_logprobs
from vt_ray.algorithms.losses import mgpo_loss
from vt_ray.algorithms.packing import (
    TrainSequence,
    balance,
    empty_batch,
    make_row,
    pack,
    sequence_ids,
    slice_of_row,
    stack,
)
from vt_ray.config import MgpoConfig
from vt_ray.records import Completion, Problem, Rollouts

VOCAB = 64
PROBLEM = Problem("algebra/1", "algebra", "math", "1 + 1?", "2")
MGPO = MgpoConfig(clip_low=0.2, clip_high=0.28)


@pytest.fixture(scope="module")
def model():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.2,
    )
    config._attn_implementation = "sdpa"
    return Qwen2ForCausalLM(config).float().train()


def sequences(count=9, seed=0):
    dice = random.Random(seed)
    out = []
    for _ in range(count):
        prompt = tuple(dice.randrange(VOCAB) for _ in range(dice.randint(1, 6)))
        completion = tuple(dice.randrange(VOCAB) for _ in range(dice.randint(1, 10)))
        weight = 1 / (count * len(completion))
        # Off by up to half a nat from a typical value, so that some tokens are clipped and some are not.
        logprobs = tuple(-4.2 + dice.uniform(-0.5, 0.5) for _ in completion)
        out.append(TrainSequence(prompt, completion, weight, dice.choice([-1.3, 0.7, 2.0]), logprobs))
    return out


def logits_of(model, batch):
    """As the learner calls the model: only positions separate the sequences."""
    return model(input_ids=batch.token_ids, position_ids=batch.position_ids, use_cache=False).logits


def gradient(model, batches):
    model.zero_grad()
    loss = torch.zeros(())
    for batch in batches:
        logprobs = selected_logprobs(logits_of(model, batch), batch.targets, 0.8)
        part, _ = mgpo_loss(logprobs, batch.rollout_logprobs, batch.advantages, batch.token_weights, MGPO)
        part.backward()
        loss += part.detach()
    return loss, {name: p.grad.clone() for name, p in model.named_parameters()}


def one_a_batch(sequences):
    return stack([make_row([s]) for s in sequences], 1)


def logprobs_by_sequence(model, batches):
    """{tokens of the sequence: its completion's log-probabilities}, cut out of the rows where positions restart."""
    found = {}
    for batch in batches:
        logprobs = selected_logprobs(logits_of(model, batch), batch.targets, 1.0).detach()
        for row in range(len(batch.token_ids)):
            positions, ids, weights = batch.position_ids[row], batch.token_ids[row], batch.token_weights[row]
            starts = [*torch.nonzero(positions == 0).flatten().tolist(), len(ids)]
            for a, b in zip(starts, starts[1:], strict=False):
                if weights[a:b].any():
                    # Behind its last token: what fills the row up.
                    b = a + int(weights[a:b].nonzero().max()) + 2
                    found[tuple(ids[a:b].tolist())] = logprobs[row, a:b][weights[a:b] > 0]
    return found


def padded_logprobs(model, batch):
    """The same from one right-padded batch with an attention mask."""
    longest = max(map(len, batch))
    ids = torch.tensor([[*s.prompt_ids, *s.completion_ids] + [0] * (longest - len(s)) for s in batch])
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in batch])
    log_p = torch.log_softmax(model(input_ids=ids, attention_mask=mask, use_cache=False).logits.detach(), -1)
    found = {}
    for i, s in enumerate(batch):
        at = range(len(s.prompt_ids), len(s))
        found[s.prompt_ids + s.completion_ids] = torch.stack([log_p[i, t - 1, ids[i, t]] for t in at])
    return found


@pytest.mark.parametrize("rows_per_batch", [1, 2, 16])
def test_packed_equals_separate_equals_padded_logprobs(model, rows_per_batch):
    batch = sequences()
    rows = pack(batch, 30)
    assert 2 < len(rows) < len(batch)
    packed = logprobs_by_sequence(model, stack(rows, rows_per_batch))
    separate = logprobs_by_sequence(model, one_a_batch(batch))
    padded = padded_logprobs(model, batch)
    assert packed.keys() == separate.keys() == padded.keys()
    for tokens in packed:
        torch.testing.assert_close(packed[tokens], separate[tokens], rtol=0, atol=1e-5)
        torch.testing.assert_close(packed[tokens], padded[tokens], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows_per_batch", [1, 2, 16])
def test_packed_and_separate_rows_give_the_same_mgpo_loss_and_gradient(model, rows_per_batch):
    batch = sequences(seed=1)
    loss, packed = gradient(model, stack(pack(batch, 30), rows_per_batch))
    expected, separate = gradient(model, one_a_batch(batch))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert max(g.abs().max() for g in separate.values()) > 1e-2
    for name in separate:
        torch.testing.assert_close(packed[name], separate[name], rtol=0, atol=1e-5)


def test_an_empty_batch_has_weight_zero(model):
    loss, grads = gradient(model, [empty_batch()])
    assert loss == 0
    assert all(not g.any() for g in grads.values())


def test_a_row_by_hand():
    a = TrainSequence((1, 2), (3, 4, 5), 0.5, -1.0, (-0.1, -0.2, -0.3))
    b = TrainSequence((6,), (7,), 0.25, 2.0, (-0.4,))
    row = make_row([a, b])
    assert row.token_ids.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert row.position_ids.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert row.token_weights.tolist() == [0, 0.5, 0.5, 0.5, 0, 0.25, 0]
    assert row.rollout_logprobs.tolist() == pytest.approx([0, -0.1, -0.2, -0.3, 0, -0.4, 0])
    weighs = row.token_weights > 0
    assert row.targets[weighs].tolist() == [3, 4, 5, 7]
    assert row.advantages[weighs].tolist() == [-1, -1, -1, 2]


def test_a_micro_batch_by_hand():
    rows = [make_row([TrainSequence((1,), (2,) * n, 1.0, 2.0, (-0.5,) * n)]) for n in (3, 1, 3, 2, 4)]
    first, second, third = stack(rows, 2)
    assert first.token_ids.tolist() == [[1, 2, 2, 2], [1, 2, 0, 0]]
    # What fills a row up weighs nothing and runs on behind the last sequence: one sequence a row, no mask.
    assert first.position_ids.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert first.token_weights.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert second.position_ids.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert third.token_weights.tolist() == [[1, 1, 1, 1, 0]]
    assert all(len({column.shape for column in columns_of(batch)}) == 1 for batch in (first, second, third))
    assert stack([], 4) == []


def columns_of(batch):
    return [getattr(batch, name) for name in type(batch).__slots__]


lengths = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=30)


@given(lengths, st.integers(2, 40))
def test_every_token_once_and_no_row_over_the_budget(shapes, budget):
    batch = [TrainSequence((i,) * p, (i,) * c, 1.0) for i, (p, c) in enumerate(shapes)]
    rows = pack(batch, budget)
    packed = sorted(t for row in rows for t in row.token_ids.tolist())
    assert packed == sorted(t for s in batch for t in (*s.prompt_ids, *s.completion_ids))
    for row in rows:
        alone = int((row.position_ids == 0).sum()) == 1
        assert len(row.token_ids) <= budget or alone
    assert sum(int((row.token_weights > 0).sum()) for row in rows) == sum(c for _, c in shapes)


def test_a_sequence_over_the_budget_gets_a_row_of_its_own():
    rows = pack([TrainSequence((1,), (1,) * 30, 1.0), TrainSequence((2,), (2,), 1.0)], 8)
    assert [row.token_ids.unique().tolist() for row in rows] == [[1], [2]]


@given(lengths.filter(bool), st.integers(1, 5))
def test_slices_join_to_the_row_and_padding_has_weight_zero(shapes, count):
    row = make_row([TrainSequence((i,) * p, (i,) * c, 1.0, 2.0, (-0.5,) * c) for i, (p, c) in enumerate(shapes)])
    slices = [slice_of_row(row, i, count) for i in range(count)]
    assert len({len(part.token_ids) for part in slices}) == 1
    whole = [torch.cat(columns) for columns in zip(*map(columns_of, slices), strict=True)]
    length = len(row.token_ids)
    assert length <= len(whole[0]) < length + count
    for column, expected in zip(whole, columns_of(row), strict=True):
        assert column[:length].tolist() == expected.tolist()
    weights, positions = whole[3], whole[1]
    assert not weights[length:].any()
    assert torch.diff(positions[length - 1 :]).eq(1).all()


def test_sequence_ids_by_hand():
    positions = torch.tensor([[0, 1, 2, 0, 1], [0, 0, 1, 2, 3]])
    assert sequence_ids(positions).tolist() == [[0, 0, 0, 1, 1], [2, 3, 3, 3, 3]]
    assert sequence_ids(positions[0]).tolist() == [0, 0, 0, 1, 1]


@given(st.lists(st.integers(1, 100), max_size=40), st.integers(1, 5))
def test_balance_gives_each_index_once_to_ranks_of_equal_load(sizes, ranks):
    shares = balance(sizes, ranks)
    assert len(shares) == ranks
    assert sorted(i for share in shares for i in share) == list(range(len(sizes)))
    loads = [sum(sizes[i] for i in share) for share in shares]
    # Longest first to the least loaded: no two ranks are further apart than one sequence.
    assert max(loads) - min(loads) <= max(sizes, default=0)


def rollouts(batch):
    completions = [
        Completion(
            sample=i,
            token_ids=np.array(s.completion_ids, np.int32),
            rollout_logprobs=np.array(s.rollout_logprobs, np.float32),
            text="",
            finish_reason="stop",
            version_runs=((0, len(s.completion_ids)),),
            seconds=0.0,
        )
        for i, s in enumerate(batch)
    ]
    return Rollouts(PROBLEM, batch[0].prompt_ids, tuple(completions))


def test_skipping_completions_without_a_gradient_changes_no_denominator_and_no_gradient(model):
    group = rollouts(sequences(6, seed=2))
    advantages = (1.5, 0.0, 0.0, -0.5, 0.0, -1.0)
    # Four groups in the batch, five valid completions in this one: the third has no verdict.
    weights = tuple(0.0 if i == 2 else 1 / (4 * 5 * len(c.token_ids)) for i, c in enumerate(group.completions))
    computed = computed_weights(weights, advantages, kl_coef=0.0)
    assert computed == (weights[0], 0, 0, weights[3], 0, weights[5])
    kept, counts = rl_sequences([group], [(computed, advantages)])
    assert [s.completion_ids.tolist() for s in kept] == [group.completions[i].token_ids.tolist() for i in (0, 3, 5)]
    digests = [completion_digest("algebra/1", i, group.completions[i].token_ids) for i in (5, 0, 3)]
    assert counts == {"consumed_digest": sum(digests), "updated_completions": 3}
    everything, _ = rl_sequences([group], [(weights, advantages)])
    assert len(everything) == 5
    loss, some = gradient(model, stack(pack(kept, 30), 4))
    expected, every = gradient(model, one_a_batch(everything))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    for name in every:
        torch.testing.assert_close(some[name], every[name], rtol=0, atol=1e-6)


def test_a_kl_term_needs_every_valid_completion():
    assert computed_weights((0.5, 0.0, 0.25), (0.0, 0.0, 0.0), kl_coef=0.01) == (0.5, 0.0, 0.25)
    assert computed_weights((0.5, 0.0, 0.25), (0.0, 0.0, 0.0), kl_coef=0.0) == (0.0, 0.0, 0.0)


def test_a_digest_depends_on_the_question_the_sample_and_every_token():
    same = completion_digest("a/1", 2, (5, 6, 7))
    assert same == completion_digest("a/1", 2, [5, 6, 7]) < 2**32
    others = [("a/1", 3, (5, 6, 7)), ("a/2", 2, (5, 6, 7)), ("a/1", 2, (5, 7, 6)), ("a/1", 2, (5, 6)), ("a/12", 2, ())]
    assert len({same, *(completion_digest(*other) for other in others)}) == 6
    # From the standard library alone: id, sample, little-endian int64.
    assert same == zlib.crc32(b"a/1\x002\x00" + struct.pack("<3q", 5, 6, 7))
