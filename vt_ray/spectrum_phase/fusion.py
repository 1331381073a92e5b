"""Expert model fusion: M = sum_i w_i M*_i, w_i >= 0, sum w_i = 1 (arXiv 2511.06221, section 3.3), or another rule.

model folders, any sharding --checks--> tensor by tensor --fusion rule--> one safetensors folder
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vt_ray.run.checkpoint import write_json
from vt_ray.spectrum_phase.fusion_checks import (
    base_names,
    fused_names,
    is_finite,
    refuse_damaged,
    refuse_other_architecture,
    refuse_other_tensors,
)
from vt_ray.spectrum_phase.fusion_rules import RULES, Rule, fused_tensor
from vt_ray.spectrum_phase.model_folder import ModelFolder, ModelFolderError
from vt_ray.spectrum_phase.model_writer import TensorInfo, write_model

if TYPE_CHECKING:
    import torch

# The largest file of a fused model, as in transformers.
SHARD_BYTES = 5 * 10**9


def fuse(
    specialists: dict[str, Path],
    weights: Sequence[float],
    folder: Path,
    rule: Rule = RULES["weights"],
    base: Path | None = None,
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Fuse the specialists of the subdomains (in their order) into an ordinary Hugging Face model in `folder`.

    Memory holds one tensor at a time: the fused one, and that tensor of each specialist as a view of its mapped file.
    Each tensor is stored in the first model's dtype; config and tokenizer are the first model's. A random rule draws
    from `seed` and the name of the tensor. Raises ModelFolderError, before anything is written, if a folder is not a
    whole model, if a tensor holds NaN or infinity, or if the models differ in architecture, vocabulary, tensor names,
    shapes or dtypes.
    """
    shares: dict[Path, float] = {}
    for path, weight in zip(specialists.values(), weights, strict=True):
        shares[path] = shares.get(path, 0.0) + weight
    models = [ModelFolder(path) for path in shares]
    if rule.reweigh:
        _refuse_more_than_two(models)
    infos = _checked(models)
    read_base = _base_tensors(ModelFolder(base), models[0], [*infos]) if base else lambda name: None

    def make(name: str) -> torch.Tensor:
        return _fused(rule, models, list(shares.values()), read_base(name), name, seed)

    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder, infos, make, shard_bytes)
    for file in models[0].companions():
        shutil.copy2(file, folder / file.name)
    sources = {d: {"checkpoint": p.name, "weight": w} for (d, p), w in zip(specialists.items(), weights, strict=True)}
    write_json(folder / "fusion.json", sources)


def take_tokenizer(base: Path, folder: Path) -> None:
    """Replaces tokenizer, chat template and generation_config.json of the model in `folder` by those of `base`."""
    for file in ModelFolder(base).companions():
        if file.name != "config.json":
            shutil.copy2(file, folder / file.name)


def _checked(models: Sequence[ModelFolder]) -> dict[str, TensorInfo]:
    """{name: shape and dtype} of the fused model's tensors, after all checks of the specialists."""
    for other in models[1:]:
        refuse_other_architecture(models[0], other)
    names = fused_names(models)
    for other in models[1:]:
        refuse_other_tensors(models[0], other, names)
    for model in models:
        refuse_damaged(model, names)
    return {name: TensorInfo(tuple((t := models[0].tensor(name)).shape), t.dtype) for name in names}


def _base_tensors(base: ModelFolder, first: ModelFolder, names: Sequence[str]) -> Callable[[str], torch.Tensor]:
    """Reads the base model's tensors by their names in the specialists."""
    stored_as = base_names(base, first, names)
    refuse_damaged(base, sorted(set(stored_as.values())))
    return lambda name: base.tensor(stored_as[name])


def _refuse_more_than_two(models: Sequence[ModelFolder]) -> None:
    if len(models) > 2:
        raise ModelFolderError(
            f"slerp interpolates between two models, and these are {len(models)}: "
            f"{', '.join(model.path.name for model in models)}. Choose another method, such as weights or ties"
        )


def _fused(
    rule: Rule,
    models: Sequence[ModelFolder],
    weights: list[float],
    base: torch.Tensor | None,
    name: str,
    seed: int,
) -> torch.Tensor:
    import torch

    stored = [model.tensor(name) for model in models]
    first = stored[0]
    if not first.is_floating_point():
        return first
    random = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    fused = fused_tensor(rule, stored, weights, base, random)
    if fused.shape != first.shape:
        raise ModelFolderError(
            f"the fusion rule returned a tensor of shape {list(fused.shape)} for {name}, whose shape is "
            f"{list(first.shape)}: a rule must keep the shape"
        )
    fused = fused.to(first.dtype)
    if not is_finite(fused):
        raise ModelFolderError(
            f"{name} of the fused model would hold NaN or infinity, although no model does: correct the fusion rule, "
            "or give it a smaller scale"
        )
    return fused
