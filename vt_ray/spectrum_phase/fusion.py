"""Expert model fusion: M = sum_i w_i M*_i, w_i >= 0, sum w_i = 1 (arXiv 2511.06221, section 3.3, with w_i = 1/N).

model folders, any sharding --tensor by tensor--> fusion rule, in float32 --> one safetensors folder
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vt_ray.config import ConfigError
from vt_ray.import_path import import_callable
from vt_ray.run.checkpoint import write_json
from vt_ray.spectrum_phase.model_folder import ModelFolder, ModelFolderError

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"


def fusion_weights(weights: Sequence[float], subdomains: Sequence[str]) -> list[float]:
    """One weight for each subdomain, 1/N if `weights` is empty. Raises ConfigError unless they are >= 0 with sum 1."""
    if not weights:
        return [1 / len(subdomains)] * len(subdomains)
    if len(weights) != len(subdomains) or not min(weights) >= 0 or not abs(sum(weights) - 1) < 1e-6:
        raise ConfigError(
            f"spectrum.fusion.weights={list(weights)} must be {len(subdomains)} numbers >= 0 that sum to 1, one for "
            f"each of {list(subdomains)}: leave it empty for 1/N"
        )
    return list(weights)


def weighted_average(tensors: list[torch.Tensor], weights: list[float], base: torch.Tensor | None) -> torch.Tensor:
    """sum_i w_i M*_i, the paper's rule. It needs no `base`."""
    total = tensors[0].new_zeros(tensors[0].shape)
    for tensor, weight in zip(tensors, weights, strict=True):
        total += weight * tensor
    return total


# The fusion rules by their name in `spectrum.fusion.method`.
#
# A rule makes one tensor of the fused model. `tensors` are that tensor in each distinct specialist, in float32 (float64
# if stored so) and of one shape; `weights` are the specialists' weights, sum 1; `base` is the tensor in the model that
# SFT started from, or None if no base was given. The rule must not write to its arguments.
FusionRule = Callable[["list[torch.Tensor]", "list[float]", "torch.Tensor | None"], "torch.Tensor"]
RULES: dict[str, FusionRule] = {"weights": weighted_average}


def fusion_rule(method: str) -> FusionRule:
    """The rule that `spectrum.fusion.method` names, in RULES or by import path. Raises ConfigError if there is none."""
    try:
        return RULES[method] if method in RULES else import_callable(method, ("tensors", "weights", "base"))
    except ValueError as error:
        raise ConfigError(f"spectrum.fusion.method={method!r} must be one of {', '.join(RULES)}, or {error}") from error


def fuse(
    specialists: dict[str, Path],
    weights: Sequence[float],
    folder: Path,
    rule: FusionRule = weighted_average,
    base: Path | None = None,
) -> None:
    """Fuse the specialists of the subdomains (in their order) into an ordinary Hugging Face model in `folder`.

    The rule is applied to one tensor at a time, so memory holds one tensor of every specialist and one shard of the
    result. Each tensor is stored in the first model's dtype. Shards, config and tokenizer are the first model's. Raises
    ModelFolderError, before anything is written, if a folder is not a whole model or the models differ in architecture,
    vocabulary, tensor names, shapes or dtypes.
    """
    from safetensors.torch import save_file

    shares: dict[Path, float] = {}
    for path, weight in zip(specialists.values(), weights, strict=True):
        shares[path] = shares.get(path, 0.0) + weight
    models = [ModelFolder(path) for path in shares]
    names = _common_names(models)
    for other in models[1:]:
        _refuse_unlike(models[0], other, names)
    base_tensor = _base_tensors(base, models[0], names) if base else lambda name: None
    folder.mkdir(parents=True, exist_ok=True)
    weight_map, total_bytes = {}, 0
    for shard, members in _shards(models[0], names):
        fused = {name: _fused_tensor(models, list(shares.values()), base_tensor(name), rule, name) for name in members}
        save_file(fused, folder / shard, {"format": "pt"})
        weight_map.update(dict.fromkeys(members, shard))
        total_bytes += sum(tensor.nbytes for tensor in fused.values())
    if set(weight_map.values()) != {"model.safetensors"}:
        write_json(folder / INDEX, {"metadata": {"total_size": total_bytes}, "weight_map": weight_map})
    for file in models[0].companions():
        shutil.copy2(file, folder / file.name)
    sources = {d: {"checkpoint": p.name, "weight": w} for (d, p), w in zip(specialists.items(), weights, strict=True)}
    write_json(folder / "fusion.json", sources)


def take_tokenizer(base: Path, folder: Path) -> None:
    """Replaces tokenizer, chat template and generation_config.json of the model in `folder` by those of `base`."""
    for file in ModelFolder(base).companions():
        if file.name != "config.json":
            shutil.copy2(file, folder / file.name)


def _common_names(models: Sequence[ModelFolder]) -> list[str]:
    """The names of the tensors that all models have, in the order of the first model.

    Raises ModelFolderError if a model lacks a tensor. Two kinds of tensors may be missing: rotary_emb.inv_freq, which
    the model computes itself, and a copy of the embedding, because a .bin file stores a tied output layer twice. If
    the first model's config does not tie its output layer, the copy is needed: a model without it would be loaded with
    a random output layer.
    """
    common = set(models[0].files).intersection(*(model.files for model in models))
    tied = models[0].config.get("tie_word_embeddings") is not False
    for model in models:
        for name in sorted(set(model.files) - common):
            if not name.endswith("rotary_emb.inv_freq") and not (tied and _original(model, name, common)):
                lacking = next(other for other in models if name not in other.files)
                raise ModelFolderError(
                    f"{lacking.path} has no tensor {name}, {model.path} has: fuse models of one architecture"
                )
    return [name for name in models[0].files if name in common]


def _original(model: ModelFolder, name: str, others: Collection[str]) -> str | None:
    """The embedding among `others` that the tensor `name`, a tied output layer, is a copy of. None if it is no copy."""
    embeddings = (other for other in others if other != name and ("embed" in other or "wte" in other))
    return next((other for other in embeddings if model.tensor(name).equal(model.tensor(other))), None)


def _refuse_unlike(first: ModelFolder, other: ModelFolder, names: Sequence[str]) -> None:
    for key, value in first.architecture.items():
        if other.architecture[key] != value:
            raise ModelFolderError(
                f"{other.path} has another architecture than {first.path}: {key} is {other.architecture[key]}, not "
                f"{value}: fuse models of one architecture"
            )
    if None not in (first.vocabulary, other.vocabulary) and first.vocabulary != other.vocabulary:
        raise ModelFolderError(f"{other.path} has another vocabulary than {first.path}: fuse models of one tokenizer")
    for name in names:
        there, here = other.tensor(name), first.tensor(name)
        if there.shape != here.shape or there.dtype != here.dtype:
            raise ModelFolderError(
                f"{name} is {there.dtype} {list(there.shape)} in {other.path} but {here.dtype} {list(here.shape)} in "
                f"{first.path}: fuse models of one shape and dtype"
            )


def _shards(model: ModelFolder, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The name of the safetensors file for each shard of `model`, and the names of the tensors in it."""
    for file in sorted({model.files[name] for name in names}):
        shard = file.name.replace("pytorch_model", "model").removesuffix(file.suffix) + ".safetensors"
        yield shard, [name for name in names if model.files[name] == file]


def _base_tensors(path: Path, first: ModelFolder, names: Sequence[str]) -> Callable[[str], torch.Tensor]:
    """Reads the base model's tensors by their names in the specialists. The base may have another dtype, and may store
    a tied output layer once where the specialists store it twice."""
    base = ModelFolder(path)
    stored_as = {name: name if name in base.files else _original(first, name, names) or name for name in names}
    for name in names:
        shape = first.tensor(name).shape
        if stored_as[name] not in base.files or base.tensor(stored_as[name]).shape != shape:
            raise ModelFolderError(
                f"{path} has no tensor {name} of shape {list(shape)}, {first.path} has: give the model that the "
                "specialists were trained from"
            )
    return lambda name: base.tensor(stored_as[name])


def _fused_tensor(
    models: Sequence[ModelFolder], weights: list[float], base: torch.Tensor | None, rule: FusionRule, name: str
) -> torch.Tensor:
    import torch

    stored = [model.tensor(name) for model in models]
    first = stored[0]
    if not first.is_floating_point():
        if all(first.equal(tensor) for tensor in stored[1:]):
            return first.clone()
        raise ModelFolderError(f"{name} holds {first.dtype} that differ between the models: they cannot be averaged")
    wide = torch.promote_types(first.dtype, torch.float32)
    fused = rule([t.to(wide) for t in stored], weights, None if base is None else base.to(wide))
    if fused.shape != first.shape:
        raise ModelFolderError(
            f"the fusion rule returned a tensor of shape {list(fused.shape)} for {name}, whose shape is "
            f"{list(first.shape)}: a rule must keep the shape"
        )
    # Copied: a rule may return one of its arguments, and safetensors refuses tensors that share memory.
    fused = fused.to(first.dtype, copy=True).contiguous()
    if not fused.isfinite().all():
        raise ModelFolderError(f"{name} would hold NaN or infinity: at least one of the models is damaged")
    return fused
