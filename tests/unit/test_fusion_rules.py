"""The fusion rules by hand and against plain formulas on whole tensors, and the files that they are written to."""

import json

import pytest
import torch
from safetensors import safe_open
from test_fusion import checkpoint, constant, laid_out, run, tensors_of, weights_in

from vt_ray.config import ConfigError, FusionConfig
from vt_ray.spectrum_phase import fusion_rules
from vt_ray.spectrum_phase.fusion import fuse
from vt_ray.spectrum_phase.fusion_rules import RULES, fused_tensor, fusion_rule, fusion_weights, keep_largest
from vt_ray.spectrum_phase.model_folder import ModelFolderError
from vt_ray.spectrum_phase.model_writer import TensorInfo, write_model


def combined(method, tensors, weights=None, base=None, seed=0, **settings):
    rule = fusion_rule(FusionConfig(method, **settings))
    weights = weights or [1 / len(tensors)] * len(tensors)
    return fused_tensor(rule, tensors, weights, base, torch.Generator().manual_seed(seed))


def rows(*values):
    return [torch.tensor(value) for value in values]


def drawn(count, size=1000, dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(size, generator=generator).to(dtype) for _ in range(count)]


def test_task_arithmetic_by_hand():
    base, a, b = rows([1.0, 1.0], [2.0, 1.0], [1.0, 5.0])
    assert combined("task_arithmetic", [a, b], base=base).tolist() == [1.5, 3.0]
    # A scale of N adds the plain sum of the changes.
    assert combined("task_arithmetic", [a, b], base=base, scale=2.0).tolist() == [2.0, 5.0]


def test_ties_by_hand():
    base = torch.zeros(4)
    a, b, c = rows([4.0, -1.0, 3.0, 0.5], [2.0, 5.0, -1.0, 0.1], [-1.0, 4.0, -1.5, 0.2])
    # Half of each is kept: a [4, 0, 3, 0], b [2, 5, 0, 0], c [0, 4, -1.5, 0]. Signs by sum: +, +, +.
    assert combined("ties", [a, b, c], base=base, density=0.5).tolist() == [3.0, 4.5, 3.0, 0.0]
    assert combined("ties", [a, b, c], base=base, density=0.5, scale=2.0).tolist() == [6.0, 9.0, 6.0, 0.0]


def test_ties_weighs_the_specialists_that_agree():
    base, a, b = rows([0.0, 0.0], [4.0, 2.0], [8.0, -6.0])
    assert combined("ties", [a, b], [0.75, 0.25], base, density=1.0).tolist() == [5.0, 2.0]


def test_of_equal_changes_the_first_ones_are_kept():
    assert keep_largest(torch.tensor([1.0, -2.0, 2.0, 2.0, 0.0]), 0.5, None).tolist() == [
        False,
        True,
        True,
        False,
        False,
    ]
    # Fewer elements have changed than may be kept.
    assert keep_largest(torch.tensor([0.0, 3.0, 0.0, 0.0]), 0.5, None).tolist() == [False, True, False, False]
    assert keep_largest(torch.tensor([0.0, 0.0]), 0.5, None).tolist() == [False, False]
    assert keep_largest(torch.tensor([5.0]), 0.1, None).tolist() == [True]


def test_dare_keeps_a_random_share_and_divides_by_it():
    base, changed = torch.zeros(4000), torch.ones(4000)
    first, again = (combined("dare", [changed], base=base, density=0.25, seed=seed) for seed in (1, 1))
    assert set(first.tolist()) == {0.0, 4.0} and torch.equal(first, again)
    assert abs(first.mean().item() - 1) < 0.1
    assert not torch.equal(first, combined("dare", [changed], base=base, density=0.25, seed=2))


def test_dare_draws_for_each_specialist():
    base, a, b = torch.zeros(1000), torch.ones(1000), torch.ones(1000)
    values = combined("dare", [a, b], base=base, density=0.5)
    assert set(values.tolist()) == {0.0, 1.0, 2.0}


def test_slerp_of_orthogonal_tensors_stays_on_the_sphere():
    a, b = rows([1.0, 0.0], [0.0, 1.0])
    half = combined("slerp", [a, b])
    assert torch.allclose(half, torch.full((2,), 0.5**0.5)) and half.norm().item() == pytest.approx(1)
    assert combined("slerp", [a, b], [1.0, 0.0]).tolist() == pytest.approx([1, 0])
    assert combined("slerp", [a, b], [0.25, 0.75]).tolist() == pytest.approx([0.3826834, 0.9238795])


@pytest.mark.parametrize("pair", [([1.0, 2.0], [2.0, 4.0]), ([0.0, 0.0], [2.0, 4.0]), ([1.0, 0.0], [1.0, 0.001])])
def test_slerp_without_an_angle_is_the_linear_average(pair):
    a, b = rows(*pair)
    assert torch.allclose(combined("slerp", [a, b]), (a + b) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", RULES)
def test_slices_give_the_same_result_as_whole_tensors(monkeypatch, method, dtype):
    base, *tensors = drawn(3, dtype=dtype)
    whole = combined(method, tensors, [0.25, 0.75], base)
    monkeypatch.setattr(fusion_rules, "SLICE", 7)
    sliced = combined(method, [t.reshape(10, 100) for t in tensors], [0.25, 0.75], base.reshape(10, 100))
    assert sliced.dtype == dtype and sliced.shape == (10, 100)
    if method == "slerp":
        assert torch.allclose(sliced.flatten(), whole, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5)
    else:
        assert torch.equal(sliced.flatten(), whole)


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 1, 2)])
def test_every_rule_keeps_every_shape(method, shape):
    base, a, b = torch.ones(shape), torch.full(shape, 2.0), torch.full(shape, 3.0)
    assert combined(method, [a, b], base=base).shape == shape


@pytest.mark.parametrize("method", RULES)
def test_no_rule_writes_to_the_models(method):
    base, *tensors = drawn(3)
    copies = [t.clone() for t in (base, *tensors)]
    combined(method, tensors, base=base)
    assert all(map(torch.equal, copies, (base, *tensors)))


def test_one_model_is_itself_if_all_its_changes_are_kept():
    base, a = drawn(2)
    for method in RULES:
        assert torch.allclose(combined(method, [a], base=base, density=1.0), a, atol=1e-6), method


def test_weights_by_probe_score():
    soft = FusionConfig("probe_softmax", temperature=0.1)
    weights = fusion_weights(soft, ["algebra", "code"], {"algebra": 0.6, "code": 0.5})
    assert weights == pytest.approx([2.718281828 / 3.718281828, 1 / 3.718281828])
    assert fusion_weights(FusionConfig("probe_softmax", temperature=1e-4), ["a", "b"], {"a": 0.0, "b": 1.0}) == [0, 1]
    assert fusion_weights(FusionConfig("uniform"), ["a", "b"]) == [0.5, 0.5]


@pytest.mark.parametrize("method", fusion_rules.SETS_WEIGHTS)
def test_weights_beside_a_rule_that_sets_them_are_refused(method):
    with pytest.raises(ConfigError, match=f"are not used by method={method}"):
        fusion_weights(FusionConfig(method, [0.5, 0.5]), ["a", "b"])


# --- files ---------------------------------------------------------------------------------------------------


def test_dare_does_not_depend_on_the_sharding(tmp_path):
    models = {f"{i} {layout}": layout for i in (1, 2) for layout in ("one safetensors", "three safetensors")}
    folders = {key: laid_out(tmp_path / key, tensors_of(int(key[0])), layout) for key, layout in models.items()}
    base = laid_out(tmp_path / "base", tensors_of(3), "two bins")
    made = []
    for name in ("one safetensors", "three safetensors"):
        a, b = folders[f"1 {name}"], folders[f"2 {name}"]
        assert run(tmp_path / f"out {name}", a, b, "--method", "dare", "--base", base).exit_code == 0
        made.append(weights_in(tmp_path / f"out {name}"))
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])


def test_shards_have_the_set_size_and_an_index(tmp_path):
    a, b = (laid_out(tmp_path / name, tensors_of(i), "one safetensors") for i, name in enumerate("ab"))
    # Each of the five tensors has 24 bytes.
    assert run(tmp_path / "out", a, b, "--shard-gb", 50e-9).exit_code == 0
    files = sorted(f.name for f in (tmp_path / "out").glob("*.safetensors"))
    assert files == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 120
    assert weights_in(tmp_path / "out").keys() == tensors_of(0).keys()


def test_tensors_of_every_dtype_are_read_back_by_safetensors(tmp_path):
    tensors = {
        "f32": torch.tensor([[1.5, -2.0]]),
        "bf16": torch.tensor([0.5, 3.0, 1.0]).bfloat16(),
        "f16": torch.tensor(2.0).half(),
        "f64": torch.tensor([0.1], dtype=torch.float64),
        "int": torch.tensor([7, -7]),
        "bool": torch.tensor([True, False, True]),
        "byte": torch.tensor([1, 255], dtype=torch.uint8),
        "empty": torch.empty(0, 4),
    }
    infos = {name: TensorInfo(tuple(t.shape), t.dtype) for name, t in tensors.items()}
    write_model(tmp_path, infos, tensors.__getitem__, 10**9)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(tensors) and file.metadata() == {"format": "pt"}
        for name, tensor in tensors.items():
            stored = file.get_tensor(name)
            assert stored.dtype == tensor.dtype and stored.shape == tensor.shape and torch.equal(stored, tensor)


# --- refusals ------------------------------------------------------------------------------------------------


def three(tmp_path):
    return [laid_out(tmp_path / name, tensors_of(i), "one safetensors") for i, name in enumerate("abc")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "ties"], "--method ties needs --base"),
        (["--method", "greedy_soup"], "[...] spectrum.fusion.method=greedy_soup"),
        (["--method", "probe_softmax"], "--scores must be 3 numbers in"),
        (["--method", "probe_softmax", "--scores", "0.5,0.5"], "--scores must be 3 numbers in"),
        (["--method", "probe_softmax", "--scores", "50,40,30"], "--scores must be 3 numbers in"),
        (["--method", "tie"], "--method='tie' must be one of weights"),
        (["--method", "uniform", "--weights", "0.2,0.2,0.6"], "are not used by method=uniform"),
        (["--weights", "a,b,c"], "--weights a,b,c must be numbers"),
        (["--weights", "0.5,0.5"], "must be 3 numbers >= 0 that sum to 1"),
        *((["--shard-gb", gb], f"--shard-gb {gb} must be above 0") for gb in ("0", "1e-10", "nan", "inf")),
        (["--method", "dare", "--density", "0"], "--density 0.0 must lie in"),
        (["--method", "dare", "--scale", "inf"], "--scale inf must be finite"),
        ([], "--base has no effect with --method weights"),
        (["--method", "uniform", "--density", "0.2"], "--base has no effect with --method uniform"),
        (["--method", "task_arithmetic", "--density", "0.2"], "--density has no effect with --method task_arithmetic"),
        (["--method", "dare", "--scores", "0.1,0.2,0.3"], "--scores has no effect with --method dare, only with"),
        (["--method", "dare", "--temperature", "1"], "--temperature has no effect with --method dare, only with"),
    ],
)
def test_options_that_cannot_work_are_refused_before_a_file_is_read(tmp_path, options, said):
    folders = three(tmp_path)
    (tmp_path / "a/model.safetensors").write_text("damaged: it is not read")
    if "ties" not in options:
        options = [*options, "--base", str(tmp_path / "no_such_base")]
    result = run(tmp_path / "out", *folders, *options)
    assert result.exit_code == 2 and said in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_slerp_of_three_models_is_refused_with_their_names(tmp_path):
    result = run(tmp_path / "out", *three(tmp_path), "--method", "slerp")
    assert result.exit_code == 1 and "slerp interpolates between two models, and these are 3: a, b, c" in result.output
    assert {f.name for f in tmp_path.iterdir()} == {"a", "b", "c"}


def test_an_overflow_of_the_fused_model_is_refused_and_leaves_nothing(tmp_path):
    a = checkpoint(tmp_path / "a", constant(60000.0, torch.float16))
    base = checkpoint(tmp_path / "base", constant(1.0, torch.float16))
    options = ["--method", "task_arithmetic", "--base", base, "--scale", 2]
    result = run(tmp_path / "out", a, *options)
    assert result.exit_code == 1 and "would hold NaN or infinity, although no model does" in result.output
    assert {f.name for f in tmp_path.iterdir()} == {"a", "base"}


def test_a_damaged_base_is_refused(tmp_path):
    a, base = checkpoint(tmp_path / "a", constant(1.0)), checkpoint(tmp_path / "base", constant(float("inf")))
    result = run(tmp_path / "out", a, "--method", "ties", "--base", base)
    assert result.exit_code == 1 and "holds NaN or infinity in" in result.output and "base" in result.output


def config(folder, **values):
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2", **values}))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"tie_word_embeddings": True}, {"tie_word_embeddings": False}),
        ({"rope_theta": 10000.0}, {"rope_theta": 1000000.0}),
        ({"hidden_act": "silu"}, {"hidden_act": "gelu"}),
        ({"num_hidden_layers": 2}, {"num_hidden_layers": 3}),
        ({"use_sliding_window": False}, {"use_sliding_window": True}),
    ],
)
def test_configs_that_compute_other_functions_are_refused(tmp_path, first, second):
    a, b, _ = three(tmp_path)
    config(a, **first)
    config(b, **second)
    assert f"{next(iter(first))} is {next(iter(second.values()))}, not" in run(tmp_path / "out", a, b).output
    # A config may leave out the default of its architecture.
    config(b)
    assert run(tmp_path / "out", a, b).exit_code == 0


def test_the_factor_of_a_stretched_rope_is_compared_between_two_versions_of_transformers(tmp_path):
    a, b, _ = three(tmp_path)
    config(a, rope_parameters={"rope_theta": 10000.0, "rope_type": "yarn", "factor": 4.0})
    config(b, rope_theta=10000.0, rope_scaling={"type": "yarn", "factor": 8.0})
    assert "rope_factor is 8.0, not 4.0" in run(tmp_path / "out", a, b).output
    config(b, rope_theta=10000.0, rope_scaling={"type": "yarn", "factor": 4.0})
    assert run(tmp_path / "out", a, b).exit_code == 0


@pytest.mark.parametrize(
    ("old", "fault"),
    [
        ({"rope_theta": 10000.0}, ""),
        ({"rope_theta": 10000.0, "rope_scaling": None}, ""),
        ({"rope_theta": 1000000.0}, "rope_theta is 1000000.0, not 10000.0"),
        ({"rope_theta": 10000.0, "rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_type is yarn, not default"),
    ],
)
def test_rope_settings_are_compared_between_the_configs_of_two_versions_of_transformers(tmp_path, old, fault):
    a, b, _ = three(tmp_path)
    config(a, rope_parameters={"rope_theta": 10000.0, "rope_type": "default"})
    config(b, **old)
    result = run(tmp_path / "out", a, b)
    assert (result.exit_code == 0) == (not fault) and fault in result.output


def test_added_tokens_with_other_ids_are_refused(tmp_path):
    a, b, _ = three(tmp_path)
    for folder, number in ((a, 7), (b, 8)):
        tokens = {"model": {"vocab": {"x": 0}}, "added_tokens": [{"content": "<think>", "id": number}]}
        (folder / "tokenizer.json").write_text(json.dumps(tokens))
    assert "b has another vocabulary than" in run(tmp_path / "out", a, b).output


def test_a_tied_copy_is_left_out_and_an_untied_one_is_refused(tmp_path):
    embedding = torch.ones(4, 2)
    tensors = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding.clone()}
    a = checkpoint(tmp_path / "a", tensors)
    (a / "config.json").write_text('{"tie_word_embeddings": true}')
    fuse({"x": a}, [1.0], tmp_path / "fused")
    assert weights_in(tmp_path / "fused").keys() == {"model.embed_tokens.weight"}
    b = checkpoint(tmp_path / "b", {**tensors, "lm_head.weight": torch.zeros(4, 2)})
    (b / "config.json").write_text('{"tie_word_embeddings": true}')
    with pytest.raises(ModelFolderError, match="b stores lm_head.weight with other values than the embedding"):
        fuse({"x": a, "y": b}, [0.5, 0.5], tmp_path / "fused2")


def test_the_same_folder_by_another_name_is_refused(tmp_path):
    a, *_ = three(tmp_path)
    (tmp_path / "link").symlink_to(a)
    assert "listed twice" in run(tmp_path / "out", a, tmp_path / "link").output


def test_a_folder_that_looks_like_a_partial_one_is_not_touched(tmp_path):
    a, b, _ = three(tmp_path)
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial/mine").write_text("mine")
    assert run(tmp_path / "out", a, b).exit_code == 0
    assert (tmp_path / "out.partial/mine").read_text() == "mine"
