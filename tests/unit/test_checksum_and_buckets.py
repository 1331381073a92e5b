"""The proof of a weight sync: checksums change with every byte, buckets keep every tensor."""

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sent_weights import Weights

from vt_ray.algorithms.checksum import add_checksums, checksum
from vt_ray.config import SyncConfig
from vt_ray.engines.vllm import held_weights
from vt_ray.engines.vllm.held_weights import held_parts, whole_checksums
from vt_ray.engines.weights import (
    SyncError,
    checkpoint_buckets,
    compare_checksums,
    compare_logprobs,
    in_buckets,
    open_bucket,
    pack_bucket,
)
from vt_ray.interfaces import Acknowledgement
from vt_ray.signal_phase.sync import sync_weights

WORDS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}
dtypes = st.sampled_from(list(WORDS))


def random_tensor(shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@given(dtypes, st.integers(1, 40), st.data())
def test_any_flipped_bit_changes_the_checksum(dtype, size, data):
    tensor = random_tensor((size,), dtype, data.draw(st.integers(0, 5)))
    at = data.draw(st.integers(0, size - 1))
    bit = data.draw(st.integers(0, 8 * dtype.itemsize - 1))
    changed = tensor.clone()
    changed.view(WORDS[dtype])[at] ^= 1 << bit if bit < 8 * dtype.itemsize - 1 else -(1 << bit)
    assert not torch.equal(changed.view(WORDS[dtype]), tensor.view(WORDS[dtype]))
    assert checksum(changed) != checksum(tensor)


@given(dtypes, st.integers(2, 40), st.data())
def test_swapped_elements_change_the_checksum(dtype, size, data):
    tensor = torch.arange(size).to(dtype)
    i, j = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    swapped = tensor.clone()
    swapped[i], swapped[j] = tensor[j], tensor[i]
    assert checksum(swapped) != checksum(tensor)


def test_the_checksum_is_the_sum_of_its_words_times_odd_numbers():
    words = torch.tensor([5, -(1 << 40), 7])
    first = 5 * 1 - (1 << 40) * 3 + 7 * 5
    second = 0 * 1 - (1 << 8) * 3 + 0 * 5
    assert checksum(words) == first % 2**64 + (second % 2**64) * 2**64
    # Bytes are padded to words: 2 to the power of 8, 1, and none.
    assert checksum(torch.tensor([0, 1], dtype=torch.uint8)) == 256
    assert checksum(torch.empty(0)) == 0


@given(st.integers(0, 62), st.integers(0, 62), st.integers(2, 70_000), st.data())
def test_swapped_words_change_the_checksum(low, high, size, data):
    """For example the sign bits of two elements of one word, which an odd factor alone would not notice."""
    words = torch.zeros(size, dtype=torch.int64)
    i, j = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    words[i] = (1 << low) | -(1 << high) if low != high else -(1 << low)
    swapped = words.clone()
    swapped[i], swapped[j] = words[j], words[i]
    assert checksum(swapped) != checksum(words)


@given(dtypes, st.integers(1, 9), st.integers(1, 20), st.data())
def test_checksums_of_parts_add_up_to_the_whole_for_any_cut(dtype, rows, columns, data):
    whole = random_tensor((rows, columns), dtype)
    row, column = data.draw(st.integers(0, rows)), data.draw(st.integers(0, columns))
    corners = [((0, 0), whole[:row, :column]), ((0, column), whole[:row, column:])]
    corners += [((row, 0), whole[row:, :column]), ((row, column), whole[row:, column:])]
    assert add_checksums(checksum(part, at, columns) for at, part in corners if part.numel()) == checksum(whole)
    assert add_checksums([checksum(whole[:row]), checksum(whole[row:], (row, 0))]) == checksum(whole)
    vector = whole.flatten()
    assert add_checksums([checksum(vector[:row]), checksum(vector[row:], (row, 0))]) == checksum(vector)


def test_columns_of_a_wide_matrix_add_up():
    whole = random_tensor((70, 4096), torch.bfloat16)
    halves = [checksum(whole[:, :2048], (0, 0), 4096), checksum(whole[:, 2048:], (0, 2048), 4096)]
    assert add_checksums(halves) == checksum(whole)
    assert add_checksums(reversed(halves)) != add_checksums([halves[0], halves[0]])


def test_parts_of_several_workers_make_a_whole_and_shared_ones_must_agree():
    whole, norm = random_tensor((6, 8), torch.float32), random_tensor((8,), torch.float32)
    first = {"w": ((0, 0), checksum(whole[:3])), "norm": ((0, 0), checksum(norm))}
    second = {"w": ((3, 0), checksum(whole[3:], (3, 0))), "norm": ((0, 0), checksum(norm))}
    assert whole_checksums([first, second]) == {"w": checksum(whole), "norm": checksum(norm)}
    assert whole_checksums([first, {**second, "norm": ((0, 0), 1)}])["norm"] is None
    assert whole_checksums([first, {**second, "w": ((3, 0), None)}])["w"] is None
    assert whole_checksums([first, {"norm": second["norm"]}])["w"] is None


class Worker:
    """A worker of vLLM with this model, whose weights no kernel packs."""

    def __init__(self, **weights):
        self.model = torch.nn.Module()
        for name, weight in weights.items():
            module = torch.nn.Module()
            module.weight = torch.nn.Parameter(weight)
            self.model.add_module(name, module)
        self.model_runner = self

    def get_model(self):
        return self.model


def test_a_tensor_with_two_names_is_read_once_and_equal_bytes_elsewhere_are_read_too(monkeypatch):
    """A stale lm_head has the shape of the embedding, but memory of its own."""
    reads = []

    def parts_of(module, parameter):
        reads.append(module)
        return [((0, 0), checksum(getattr(module, parameter)))]

    monkeypatch.setattr(held_weights, "_parts_of", parts_of)
    embedding, stale = random_tensor((6, 6), torch.float32), random_tensor((6, 6), torch.float32, seed=1)
    names = ["embed.weight", "lm_head.weight", "turned.weight", "absent.weight"]
    tied = held_parts(Worker(embed=embedding, lm_head=embedding, turned=embedding.t()), names)
    assert tied["embed.weight"] == tied["lm_head.weight"] == ((0, 0), checksum(embedding))
    assert tied["turned.weight"] == ((0, 0), checksum(embedding.t()))
    assert len(reads) == 2 and "absent.weight" not in tied
    untied = held_parts(Worker(embed=embedding, lm_head=stale), names)
    assert untied["lm_head.weight"] == ((0, 0), checksum(stale)) != untied["embed.weight"]
    embedding[3, 3] += 1
    assert held_parts(Worker(embed=embedding), names)["embed.weight"] != tied["embed.weight"]


def test_zeros_of_another_sign_and_in_another_place_are_noticed():
    assert checksum(torch.tensor([0.0, 0.0])) != checksum(torch.tensor([0.0, -0.0]))
    assert checksum(torch.tensor([1.0, -1.0])) != checksum(torch.tensor([-1.0, 1.0]))
    assert checksum(torch.tensor([1.0, 0.0])) != checksum(torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("dtype", list(WORDS))
def test_views_equal_their_contiguous_copies(dtype):
    base = random_tensor((6, 8), dtype)
    for view in (base.t(), base[:, 1:7:2], base[2], base[::3, ::2], base[1, 1], base.expand(2, 6, 8)):
        assert checksum(view) == checksum(view.contiguous().clone())
    assert checksum(base.t()) != checksum(base)
    assert checksum(base.requires_grad_()) == checksum(base.detach())


def test_a_tensor_of_several_chunks_is_summed_to_its_end():
    tensor = torch.zeros((1 << 21) + 3)
    before = checksum(tensor)
    for at in (0, (1 << 20) - 1, 1 << 20, (1 << 21) + 2):
        changed = tensor.clone()
        changed[at] = 1.0
        assert checksum(changed) != before


def tensors(shapes):
    kinds = [torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.int64]
    return {
        f"layer.{i}": (10 * random_tensor(shape, torch.float32, i)).to(kinds[i % len(kinds)])
        for i, shape in enumerate(shapes)
    }


@given(st.lists(st.lists(st.integers(0, 5), max_size=3).map(tuple), min_size=1, max_size=12), st.integers(1, 300))
def test_buckets_give_back_every_tensor_of_any_type_and_size(shapes, bucket_bytes):
    sent = tensors(shapes)
    named = [((name,), tensor) for name, tensor in sent.items()]
    buckets = [pack_bucket(part) for part in in_buckets(named, lambda item: item[1].nbytes, bucket_bytes)]
    assert all(bucket.num_bytes <= bucket_bytes or len(bucket.entries) == 1 for bucket in buckets)
    assert sum(bucket.num_bytes for bucket in buckets) == sum(tensor.nbytes for tensor in sent.values())
    got = {name: t for bucket in buckets for name, t in open_bucket(bucket)}
    sums = {entry.name: entry.checksum for bucket in buckets for entry in bucket.entries}
    assert list(got) == list(sent) == list(sums)
    for name, tensor in sent.items():
        assert got[name].dtype == tensor.dtype
        assert got[name].shape == tensor.shape
        assert torch.equal(got[name], tensor)
        assert sums[name] == checksum(tensor) == checksum(got[name])


def test_buckets_keep_the_order_and_a_large_item_gets_its_own_bucket():
    assert list(in_buckets([8, 400, 4, 12, 16], lambda size: size, 32)) == [[8], [400], [4, 12, 16]]


def test_transposed_parameters_are_sent_in_row_order():
    matrix = torch.arange(6.0).view(2, 3).t()
    [(_, got)] = open_bucket(pack_bucket([(("w",), matrix)]))
    assert got.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_tied_tensor_is_sent_once_and_arrives_under_both_names():
    bucket = pack_bucket([(("embedding", "lm_head"), torch.arange(4.0)), (("norm",), torch.ones(2))])
    assert bucket.num_bytes == 16 + 8
    got = dict(open_bucket(bucket))
    assert {name: t.tolist() for name, t in got.items()} == {
        "embedding": [0, 1, 2, 3],
        "lm_head": [0, 1, 2, 3],
        "norm": [1, 1],
    }


@pytest.mark.parametrize("tied", [True, False])
def test_a_checkpoint_with_tied_embeddings_sends_both_names(tmp_path, tied):
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_text(json.dumps({"tie_word_embeddings": tied}))
    embedding = random_tensor((4, 3), torch.bfloat16)
    save_file({"model.embed_tokens.weight": embedding}, tmp_path / "model-1.safetensors")
    save_file({"model.norm.weight": torch.ones(3)}, tmp_path / "model-2.safetensors")
    got = {name: t for bucket in checkpoint_buckets(tmp_path) for name, t in open_bucket(bucket)}
    names = {"model.embed_tokens.weight", "model.norm.weight"} | ({"lm_head.weight"} if tied else set())
    assert got.keys() == names
    for name in names - {"model.norm.weight"}:
        assert torch.equal(got[name], embedding)


def test_equal_checksums_pass():
    assert compare_checksums({"a": 1, "b": 2}, {"b": 2, "a": 1}, 3, "generator 0") is None


@pytest.mark.parametrize("loaded", [{"a": 1}, {"a": 1, "b": 3}, {"a": 1, "b": -2}])
def test_a_missing_or_different_tensor_is_named_with_version_and_holder(loaded):
    with pytest.raises(SyncError, match=r"version 7.*generator 1.*\bb\b"):
        compare_checksums({"a": 1, "b": 2}, loaded, 7, "generator 1")


def test_the_gap_is_the_mean_absolute_difference():
    assert compare_logprobs([-1.0, -2.0], [-1.5, -1.9], 0.31, 1, "g") == pytest.approx(0.3)
    assert compare_logprobs([-1.0], [-1.0], 0.0, 1, "g") == 0.0


@pytest.mark.parametrize("generator", [[-1.0, -2.1], [-1.0, math.nan], [-1.0, -math.inf]])
def test_a_gap_over_the_limit_or_not_a_number_is_refused(generator):
    with pytest.raises(SyncError, match=r"version 4.*generator 0.*logprob_tolerance"):
        compare_logprobs([-1.0, -2.0], generator, 0.04, 4, "generator 0")


SENT = Weights(3, ("bucket",), {"a": 1, "b": 2}, (-1.0, -2.0), 640)
HELD = Acknowledgement("generator 0", 3, {"b": 2, "a": 1}, (-1.0, -2.01))


class Learner:
    exports = 0

    def export_weights(self, version, fingerprint, bucket_bytes):
        assert (version, fingerprint, bucket_bytes) == (3, [7, 8, 9], 64 << 20)
        self.exports += 1
        return replace(SENT, buckets=(self.exports,))


class Generators:
    """Answers each load with the next list of acknowledgements, and repeats the last one."""

    def __init__(self, *answers):
        self.answers = answers

    def load(self, weights, fingerprint):
        (export,) = weights.buckets
        assert fingerprint == [7, 8, 9]
        return list(self.answers[min(export, len(self.answers)) - 1])


def synced(*answers, learner=None):
    config = SyncConfig(logprob_tolerance=0.02)
    return sync_weights(learner or Learner(), Generators(*answers), 3, [7, 8, 9], config)


def test_a_sync_that_every_generator_proves_reports_the_worst_gap():
    report = synced([HELD, replace(HELD, holder="generator 1", fingerprint_logprobs=(-1.01, -2.01))])
    assert (report.version, report.num_bytes, report.retried) == (3, 640, False)
    assert report.logprob_gap == pytest.approx(0.01)
    assert report.seconds >= 0


WRONG = [
    ({"version": 2}, "acknowledges version 2"),
    ({"checksums": {"a": 1, "b": 3}}, "b"),
    ({"checksums": {"a": 1}}, "not there"),
    ({"checksums": {}}, "2 are missing"),
    ({"fingerprint_logprobs": (-1.0, -2.1)}, "logprob_tolerance"),
    ({"fingerprint_logprobs": (math.nan, -2.0)}, "logprob_tolerance"),
]


@pytest.mark.parametrize(("wrong", "named"), WRONG)
def test_a_generator_that_fails_its_proof_twice_stops_the_run(wrong, named):
    bad = replace(HELD, holder="generator 1", **wrong)
    for acknowledgements in ([HELD, bad], [bad, HELD]):
        learner = Learner()
        with pytest.raises(SyncError, match=rf"version 3.*generator 1.*{named}.*twice"):
            synced(acknowledgements, learner=learner)
        assert learner.exports == 2


@pytest.mark.parametrize(("wrong", "named"), WRONG)
def test_a_failure_that_a_new_export_repairs_is_reported(wrong, named):
    learner = Learner()
    report = synced([HELD, replace(HELD, **wrong)], [HELD, HELD], learner=learner)
    assert (report.retried, report.num_bytes, learner.exports) == (True, 1280, 2)
    assert report.logprob_gap == pytest.approx(0.005)


def test_a_refused_load_is_tried_once_more():
    """For example, the weights of a replacement differ from the weights that were sent."""

    class Refusing(Generators):
        def load(self, weights, fingerprint):
            if weights.buckets == (1,):
                raise SyncError("generator 0 does not hold what the learner sent")
            return super().load(weights, fingerprint)

    report = sync_weights(Learner(), Refusing([HELD]), 3, [7, 8, 9], SyncConfig(logprob_tolerance=0.02))
    assert (report.retried, report.num_bytes) == (True, 1280)


def test_a_sync_without_acknowledgements_stops_the_run():
    with pytest.raises(SyncError, match="version 3: no generator"):
        synced([])
