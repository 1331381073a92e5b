"""Expert fusion on hand-made checkpoints."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from vt_ray import tools
from vt_ray.config import ConfigError, FusionConfig
from vt_ray.spectrum_phase.fusion import fuse
from vt_ray.spectrum_phase.fusion_rules import Rule, fusion_rule, fusion_weights, weighted_average
from vt_ray.spectrum_phase.model_folder import ModelFolderError


def checkpoint(folder, tensors, file="model.safetensors", **others):
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / file, {"format": "pt"})
    (folder / "config.json").write_text('{"hidden_size": 2}')
    for name, text in others.items():
        (folder / f"{name}.json").write_text(text)
    return folder


def constant(value, dtype=torch.float32, shape=(2,)):
    return {"w": torch.full(shape, value, dtype=dtype), "norm": torch.tensor([value, -value]).to(dtype)}


def fused(tmp_path, specialists, weights):
    folder = tmp_path / "fused"
    folder.mkdir()
    fuse(specialists, weights, folder)
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_uniform_average_by_hand(tmp_path, dtype):
    paths = [checkpoint(tmp_path / f"s{i}", constant(v, dtype)) for i, v in enumerate((1.0, 2.0, 3.0, 6.0))]
    names = ("algebra", "calculus", "geometry", "statistics")
    got = fused(tmp_path, dict(zip(names, paths, strict=True)), [0.25] * 4)
    assert got["w"].tolist() == [3.0, 3.0]
    assert got["norm"].tolist() == [3.0, -3.0]
    assert {t.dtype for t in got.values()} == {dtype}


def test_weighted_average_by_hand(tmp_path):
    a, b = checkpoint(tmp_path / "a", constant(1.0)), checkpoint(tmp_path / "b", constant(9.0))
    assert fused(tmp_path, {"x": a, "y": b}, [0.75, 0.25])["w"].tolist() == [3.0, 3.0]


def test_bfloat16_is_summed_in_float32_and_rounded_once(tmp_path):
    # 1 + 4/256: each quarter of 1.0078125 and 1.0234375 would be rounded if summed in bfloat16 (8 bits).
    values = (1.0, 1.0078125, 1.0234375, 1.03125)
    paths = [checkpoint(tmp_path / f"s{i}", constant(v, torch.bfloat16)) for i, v in enumerate(values)]
    got = fused(tmp_path, dict(zip("abcd", paths, strict=True)), [0.25] * 4)
    assert got["w"][0].item() == torch.tensor(sum(values) / 4).to(torch.bfloat16).item() == 1.015625


def test_a_specialist_of_two_subdomains_counts_twice(tmp_path):
    a, b = checkpoint(tmp_path / "a", constant(0.0)), checkpoint(tmp_path / "b", constant(4.0))
    got = fused(tmp_path, {"algebra": b, "calculus": a, "code": b, "geometry": b}, [0.25] * 4)
    assert got["w"].tolist() == [3.0, 3.0]


def test_one_specialist_for_all_is_itself(tmp_path):
    a = checkpoint(tmp_path / "a", constant(0.1))
    assert fused(tmp_path, dict.fromkeys("abcd", a), [0.25] * 4)["w"].tolist() == constant(0.1)["w"].tolist()


def test_all_shards_and_companion_files_are_written(tmp_path):
    paths = []
    for i, value in enumerate((1.0, 3.0)):
        path = checkpoint(tmp_path / f"s{i}", {"w": torch.tensor([value])}, "model-1.safetensors", tokenizer="{}")
        paths.append(checkpoint(path, {"v": torch.tensor([2 * value])}, "model-2.safetensors"))
    folder = tmp_path / "fused"
    folder.mkdir()
    fuse({"algebra": paths[0], "code": paths[1]}, [0.5, 0.5], folder, shard_bytes=4)
    assert load_file(folder / "model-00001-of-00002.safetensors")["w"].item() == 2.0
    assert load_file(folder / "model-00002-of-00002.safetensors")["v"].item() == 4.0
    assert (folder / "tokenizer.json").read_text() == "{}"
    assert (folder / "config.json").read_text() == '{"hidden_size": 2}'
    assert json.loads((folder / "fusion.json").read_text()) == {
        "algebra": {"checkpoint": "s0", "weight": 0.5},
        "code": {"checkpoint": "s1", "weight": 0.5},
    }


def test_no_weights_are_uniform():
    assert fusion_weights(FusionConfig(), ["a", "b", "c", "d"]) == [0.25] * 4
    assert fusion_weights(FusionConfig(weights=[0.7, 0.3, 0.0]), ["a", "b", "c"]) == [0.7, 0.3, 0.0]


NAN = float("nan")


@pytest.mark.parametrize(
    "weights", [[1.0], [0.5, 0.6], [1.5, -0.5], [0.5, 0.4], [0.5, 0.25, 0.25], [NAN, 1.0], [1.0, NAN]]
)
def test_weights_that_do_not_sum_to_one_are_refused(weights):
    with pytest.raises(ConfigError, match=r"fusion.weights.*2 numbers"):
        fusion_weights(FusionConfig(weights=weights), ["algebra", "code"])


def refused(tmp_path, first, second):
    with pytest.raises(ModelFolderError):
        fused(tmp_path, {"x": first, "y": second}, [0.5, 0.5])


def test_checkpoints_of_other_files_are_refused(tmp_path):
    a = checkpoint(tmp_path / "a", constant(1.0))
    refused(tmp_path, a, checkpoint(tmp_path / "b", constant(1.0), "other.safetensors"))


@pytest.mark.parametrize("swapped", [False, True])
def test_checkpoints_with_other_tensor_names_are_refused(tmp_path, swapped):
    pair = [
        checkpoint(tmp_path / "a", constant(1.0)),
        checkpoint(tmp_path / "b", {**constant(1.0), "extra": torch.ones(2)}),
    ]
    refused(tmp_path, *(pair[::-1] if swapped else pair))


@pytest.mark.parametrize("shape", [(3,), (1,), (2, 2)])
def test_checkpoints_with_other_shapes_are_refused(tmp_path, shape):
    a = checkpoint(tmp_path / "a", constant(1.0))
    refused(tmp_path, a, checkpoint(tmp_path / "b", constant(1.0, shape=shape)))


def test_checkpoints_of_other_types_are_refused(tmp_path):
    a = checkpoint(tmp_path / "a", constant(1.0))
    refused(tmp_path, a, checkpoint(tmp_path / "b", constant(1.0, torch.bfloat16)))


# --- weights in every layout of files ------------------------------------------------------------------------

LAYOUTS = ("one safetensors", "three safetensors", "one bin", "two bins", "an old bin")


def tensors_of(seed):
    generator = torch.Generator().manual_seed(seed)
    return {f"layer.{i}.w": torch.randn(3, 2, generator=generator) for i in range(5)}


def laid_out(folder, tensors, layout):
    """A model folder with `tensors` in the files of `layout`; shards have an index."""
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen2", "hidden_size": 2}')
    name, suffix = ("model", "safetensors") if "safetensors" in layout else ("pytorch_model", "bin")
    count = {"one": 1, "an": 1, "two": 2, "three": 3}[layout.split()[0]]
    shards = [dict(list(tensors.items())[i::count]) for i in range(count)]
    files = [f"{name}-{i + 1:05}-of-{count:05}.{suffix}" for i in range(count)] if count > 1 else [f"{name}.{suffix}"]
    for file, shard in zip(files, shards, strict=True):
        if suffix == "bin":
            torch.save(shard, folder / file, _use_new_zipfile_serialization="old" not in layout)
        else:
            save_file(shard, folder / file, {"format": "pt"})
    if count > 1:
        weight_map = {key: file for file, shard in zip(files, shards, strict=True) for key in shard}
        (folder / f"{name}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def run(output, *arguments):
    return CliRunner().invoke(tools.app, ["fuse", *map(str, arguments), "--output", str(output)])


def weights_in(folder):
    files = list(folder.glob("*.safetensors"))
    if len(files) > 1:
        weight_map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
        assert set(weight_map.values()) == {file.name for file in files}
    return {key: tensor for file in files for key, tensor in load_file(file).items()}


@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
def test_every_layout_is_averaged_with_every_other(tmp_path, first, second):
    one, two = tensors_of(1), tensors_of(2)
    a, b = laid_out(tmp_path / "a", one, first), laid_out(tmp_path / "b", two, second)
    result = run(tmp_path / "out", a, b, "--weights", "0.25,0.75")
    assert result.exit_code == 0, result.output
    got = weights_in(tmp_path / "out")
    assert got.keys() == one.keys()
    for key, tensor in got.items():
        assert torch.equal(tensor, 0.25 * one[key] + 0.75 * two[key])


def test_only_the_model_is_copied(tmp_path):
    a, b = (laid_out(tmp_path / name, tensors_of(i), "one safetensors") for i, name in enumerate("ab"))
    for name in ("tokenizer.json", "generation_config.json", "chat_template.jinja", "merges.txt", "tokenizer.model"):
        (a / name).write_text("{}")
    for name in (
        "optimizer.pt",
        "scheduler.pt",
        "trainer_state.json",
        "training_args.bin",
        "rng_state.pth",
        "README.md",
    ):
        (a / name).write_text("{}")
    (a / "global_step10").mkdir()
    (a / "global_step10" / "mp_rank_00_model_states.pt").write_text("")
    assert run(tmp_path / "out", a, b).exit_code == 0
    assert {f.name for f in (tmp_path / "out").iterdir()} == {
        *("config.json", "model.safetensors", "fusion.json", "tokenizer.json", "generation_config.json"),
        *("chat_template.jinja", "merges.txt", "tokenizer.model"),
    }


def test_an_output_layer_that_one_file_stores_twice_is_the_same_model(tmp_path):
    # A .bin holds a tied layer under both names, safetensors under one.
    one, two = tensors_of(1), tensors_of(2)
    embedding = {"embed_tokens.weight": torch.ones(4, 2)}
    a = laid_out(tmp_path / "a", {**one, **embedding}, "one safetensors")
    tied = {**two, **embedding, "lm_head.weight": embedding["embed_tokens.weight"]}
    b = laid_out(tmp_path / "b", tied, "one bin")
    assert run(tmp_path / "out", a, b).exit_code == 0
    assert weights_in(tmp_path / "out").keys() == {*one, *embedding}
    untied = laid_out(tmp_path / "c", {**tied, "lm_head.weight": torch.zeros(4, 2)}, "one bin")
    assert "a has no tensor lm_head.weight" in run(tmp_path / "out2", a, untied).output


def test_an_untied_output_layer_is_never_left_out(tmp_path):
    """The config says that the layer is not tied: without its weights a loader would draw them at random."""
    tensors = {"embed_tokens.weight": torch.ones(4, 2), "lm_head.weight": torch.ones(4, 2)}
    untied = checkpoint(tmp_path / "untied", tensors)
    (untied / "config.json").write_text('{"hidden_size": 2, "tie_word_embeddings": false}')
    tied = checkpoint(tmp_path / "tied", {"embed_tokens.weight": torch.ones(4, 2)})
    done = run(tmp_path / "out", untied, tied)
    assert done.exit_code == 1 and "tied has no tensor lm_head.weight" in done.output
    assert not (tmp_path / "out").exists()


def spoiled(tmp_path, fault):
    """Two model folders; the second one has `fault`."""
    a = laid_out(tmp_path / "a", tensors_of(1), "one safetensors")
    b = tmp_path / "b"
    if fault != "missing":
        laid_out(b, tensors_of(2), "three safetensors" if "shard" in fault or "index" in fault else "one safetensors")
    match fault:
        case "architecture":
            (b / "config.json").write_text('{"model_type": "llama"}')
        case "shape":
            save_file({**tensors_of(2), "layer.3.w": torch.zeros(2, 2)}, b / "model.safetensors")
        case "dtype":
            save_file({key: t.half() for key, t in tensors_of(2).items()}, b / "model.safetensors")
        case "lost tensor":
            save_file(dict(list(tensors_of(2).items())[:-1]), b / "model.safetensors")
        case "lost shard":
            (b / "model-00002-of-00003.safetensors").unlink()
        case "wrong index":
            names = dict.fromkeys(tensors_of(2), "model-00001-of-00003.safetensors")
            (b / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
        case "broken index":
            (b / "model.safetensors.index.json").write_text("{")
        case "damaged":
            (b / "model.safetensors").write_bytes((b / "model.safetensors").read_bytes()[:-9])
        case "damaged bin":
            (b / "model.safetensors").rename(b / "pytorch_model.bin")
        case "a list":
            torch.save([1], (b / "model.safetensors").rename(b / "pytorch_model.bin"))
        case "pickled code":
            torch.save({"model": torch.nn.Linear(2, 2)}, (b / "model.safetensors").rename(b / "pytorch_model.bin"))
        case "nan":
            save_file({**tensors_of(2), "layer.3.w": torch.full((3, 2), torch.nan)}, b / "model.safetensors")
        case "no config":
            (b / "config.json").unlink()
        case "no weights":
            (b / "model.safetensors").unlink()
        case "adapter":
            (b / "model.safetensors").rename(b / "adapter_model.safetensors")
        case "vocabulary":
            (a / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "b": 1}}}')
            (b / "tokenizer.json").write_text('{"model": {"vocab": {"a": 1, "b": 0}}}')
    return a, b


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing", "b does not exist"),
        ("architecture", "b has another architecture than .*a: model_type is llama, not qwen2"),
        ("shape", r"layer.3.w is torch.float32 \[2, 2\] in .*b but torch.float32 \[3, 2\] in .*a"),
        ("dtype", "layer.0.w is torch.float16 .* in .*b but torch.float32"),
        ("lost tensor", "b has no tensor layer.4.w, .*a has"),
        ("lost shard", "model-00002-of-00003.safetensors is missing"),
        ("wrong index", "model-00001-of-00003.safetensors does not hold"),
        ("broken index", "index.json is not JSON"),
        ("damaged", "b/model.safetensors cannot be read"),
        ("damaged bin", "b/pytorch_model.bin cannot be read"),
        ("a list", "b/pytorch_model.bin is not a dict of tensors by name"),
        ("pickled code", "b/pytorch_model.bin holds pickled code besides tensors, which is not run: save"),
        ("nan", "layer.3.w holds NaN or infinity in .*b"),
        ("no config", "b has no config.json"),
        ("no weights", "b has no weights"),
        ("adapter", "LoRA adapter: merge"),
        ("vocabulary", "b has another vocabulary than .*a"),
    ],
)
def test_models_that_cannot_be_fused_give_one_line_and_no_output(tmp_path, fault, said):
    a, b = spoiled(tmp_path, fault)
    before = {f.name for f in tmp_path.iterdir()}
    result = run(tmp_path / "out", a, b)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert len(result.output.strip().splitlines()) == 1 and result.output.startswith("error: ")
    assert re.search(said, result.output)
    assert {f.name for f in tmp_path.iterdir()} == before


def test_an_output_that_is_not_empty_is_not_touched(tmp_path):
    a = laid_out(tmp_path / "a", tensors_of(1), "one safetensors")
    (tmp_path / "out").write_text("mine")
    assert run(tmp_path / "out", a).exit_code == 2
    assert run(tmp_path, a).exit_code == 2
    assert (tmp_path / "out").read_text() == "mine"


def test_an_output_that_is_a_link_to_an_empty_folder_is_filled(tmp_path, monkeypatch):
    a = laid_out(tmp_path / "a", tensors_of(1), "one safetensors")
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    assert run(tmp_path / "out", a).exit_code == 0 and (tmp_path / "disk/model.safetensors").is_file()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # the current folder cannot be replaced
    assert run(".", a).exit_code == 2


def test_a_fused_model_without_a_tokenizer_is_named(tmp_path):
    a = laid_out(tmp_path / "a", tensors_of(1), "one safetensors")
    b = laid_out(tmp_path / "b", tensors_of(2), "one safetensors")
    (a / "tokenizer.json").unlink(missing_ok=True)
    (b / "tokenizer.json").write_text('{"model": {"vocab": {"x": 0}}}')
    assert "without a tokenizer, because" in run(tmp_path / "out", a, b).output
    assert "without a tokenizer" not in run(tmp_path / "out2", b, a).output


def test_one_checkpoint_given_twice_is_refused(tmp_path):
    a = laid_out(tmp_path / "a", tensors_of(1), "one safetensors")
    assert "listed twice" in run(tmp_path / "out", a, a).output


# --- other rules ---------------------------------------------------------------------------------------------


def own(function):
    """The rule of a function of the user."""
    return Rule(weighted_average, own=function)


def largest_change(tensors, weights, base):
    changes = torch.stack([tensor - base for tensor in tensors])
    return base + changes.gather(0, changes.abs().argmax(0, keepdim=True))[0]


def test_a_rule_gets_wide_tensors_weights_and_the_base(tmp_path):
    a, b = (
        checkpoint(tmp_path / "a", constant(1.0, torch.bfloat16)),
        checkpoint(tmp_path / "b", constant(5.0, torch.bfloat16)),
    )
    base = checkpoint(tmp_path / "base", constant(3.0))
    seen = []

    def rule(tensors, weights, base):
        seen.append((tensors[0].dtype, tensors[1].dtype, weights, base.dtype))
        return largest_change(tensors, weights, base)

    (tmp_path / "fused").mkdir()
    # The specialist of two subdomains is one model with the sum of their weights.
    fuse({"x": a, "y": b, "z": a}, [0.25, 0.5, 0.25], tmp_path / "fused", own(rule), base)
    got = load_file(tmp_path / "fused/model.safetensors")
    assert got["w"].tolist() == [1.0, 1.0] and got["w"].dtype == torch.bfloat16
    assert seen == [(torch.float32, torch.float32, [0.5, 0.5], torch.float32)] * 2


def test_a_rule_for_float64_models_gets_the_base_in_float64(tmp_path):
    a = checkpoint(tmp_path / "a", constant(1.0, torch.float64))
    base = checkpoint(tmp_path / "base", constant(3.0, torch.float32))
    seen = []

    def rule(tensors, weights, base):
        seen.append((tensors[0].dtype, base.dtype))
        return base

    fuse({"x": a}, [1.0], tmp_path / "fused", own(rule), base)
    assert {*seen} == {(torch.float64, torch.float64)}


def test_without_a_base_a_rule_gets_none(tmp_path):
    a = checkpoint(tmp_path / "a", constant(1.0))
    fuse({"x": a}, [1.0], tmp_path / "fused", own(lambda tensors, weights, base: tensors[0] if base is None else base))
    assert load_file(tmp_path / "fused/model.safetensors")["w"].tolist() == [1.0, 1.0]


def test_a_base_that_stores_a_tied_layer_once_gives_it_to_both_names(tmp_path):
    def tied(value, *names):
        return {name: torch.full((4, 2), value) for name in names}

    a = checkpoint(tmp_path / "a", tied(3.0, "embed_tokens.weight", "lm_head.weight"))
    base = checkpoint(tmp_path / "base", tied(1.0, "embed_tokens.weight"))
    fuse({"x": a}, [1.0], tmp_path / "fused", own(lambda tensors, weights, base: base), base)
    assert {t.mean().item() for t in load_file(tmp_path / "fused/model.safetensors").values()} == {1.0}


@pytest.mark.parametrize("tensors", [{"w": torch.zeros(2)}, {"w": torch.zeros(3), "norm": torch.zeros(2)}])
def test_a_base_with_other_tensors_is_refused_before_anything_is_written(tmp_path, tensors):
    a, base = checkpoint(tmp_path / "a", constant(1.0)), checkpoint(tmp_path / "base", tensors)
    with pytest.raises(ModelFolderError, match="base has no tensor .* give the model that the specialists"):
        fuse({"x": a}, [1.0], tmp_path / "fused", own(largest_change), base)
    assert not (tmp_path / "fused").exists()


def test_a_rule_that_changes_the_shape_is_refused(tmp_path):
    a = checkpoint(tmp_path / "a", constant(1.0))
    with pytest.raises(ModelFolderError, match=r"returned a tensor of shape \[1\] .* whose shape is \[2\]"):
        fuse({"x": a}, [1.0], tmp_path / "fused", own(lambda tensors, weights, base: tensors[0][:1]))


def test_the_rule_is_named_in_the_table_or_by_import_path():
    assert fusion_rule(FusionConfig("weights")).combine is weighted_average
    assert fusion_rule(FusionConfig("test_fusion:largest_change")).own.__name__ == "largest_change"
    for method, fault in (
        ("median", "must be one of weights, uniform, .*, slerp, or 'median' is not of the form package.module:name"),
        ("no_such:rule", "importing no_such failed"),
        ("test_fusion:no_such", "has no no_such"),
        ("test_fusion:NAN", "is a float, which cannot be called"),
        ("test_fusion:constant_rule", r"has the parameters \(tensors\), but is called with \(tensors, weights, base\)"),
    ):
        with pytest.raises(ConfigError, match=fault):
            fusion_rule(FusionConfig(method))


def constant_rule(tensors):
    return tensors[0]
