"""Expert fusion on hand-made checkpoints."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from vt_ray.config import ConfigError
from vt_ray.spectrum_phase.fusion import fuse, fusion_weights


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


def test_other_files_and_every_shard_come_along(tmp_path):
    paths = []
    for i, value in enumerate((1.0, 3.0)):
        path = checkpoint(tmp_path / f"s{i}", {"w": torch.tensor([value])}, "model-1.safetensors", tokenizer="{}")
        paths.append(checkpoint(path, {"v": torch.tensor([2 * value])}, "model-2.safetensors"))
    folder = tmp_path / "fused"
    folder.mkdir()
    fuse({"algebra": paths[0], "code": paths[1]}, [0.5, 0.5], folder)
    assert load_file(folder / "model-1.safetensors")["w"].item() == 2.0
    assert load_file(folder / "model-2.safetensors")["v"].item() == 4.0
    assert (folder / "tokenizer.json").read_text() == "{}"
    assert (folder / "config.json").read_text() == '{"hidden_size": 2}'
    assert json.loads((folder / "fusion.json").read_text()) == {
        "algebra": {"checkpoint": "s0", "weight": 0.5},
        "code": {"checkpoint": "s1", "weight": 0.5},
    }


def test_no_weights_are_uniform():
    assert fusion_weights([], ["a", "b", "c", "d"]) == [0.25] * 4
    assert fusion_weights([0.7, 0.3, 0.0], ["a", "b", "c"]) == [0.7, 0.3, 0.0]


NAN = float("nan")


@pytest.mark.parametrize(
    "weights", [[1.0], [0.5, 0.6], [1.5, -0.5], [0.5, 0.4], [0.5, 0.25, 0.25], [NAN, 1.0], [1.0, NAN]]
)
def test_weights_that_are_no_partition_of_one_are_refused(weights):
    with pytest.raises(ConfigError, match=r"fusion.weights.*2 numbers"):
        fusion_weights(weights, ["algebra", "code"])


def refused(tmp_path, first, second):
    with pytest.raises(ValueError):
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
