"""Checks of the models to fuse, before anything is written. Each raises ModelFolderError with fault and remedy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from vt_ray.spectrum_phase.model_folder import ModelFolder, ModelFolderError
from vt_ray.spectrum_phase.model_writer import TensorInfo

if TYPE_CHECKING:
    import torch


def fused_names(models: Sequence[ModelFolder]) -> list[str]:
    """The names of the tensors that all models have, in the order of the first model.

    Raises ModelFolderError if a model lacks a tensor. Two kinds of tensors may be missing: rotary_emb.inv_freq, which
    the model computes itself, and a copy of the embedding, because a .bin file stores a tied output layer twice. If
    the first model's config does not tie its output layer, the copy is needed: a model without it would be loaded with
    a random output layer. If the config ties it, a stored copy is left out.
    """
    common = set(models[0].files).intersection(*(model.files for model in models))
    tied = models[0].config.get("tie_word_embeddings")
    for model in models:
        for name in sorted(set(model.files) - common):
            if not name.endswith("rotary_emb.inv_freq") and not (
                tied is not False and _original(model, name, model.files)
            ):
                lacking = next(other for other in models if name not in other.files)
                raise ModelFolderError(
                    f"{lacking.path} has no tensor {name}, {model.path} has: fuse models of one architecture"
                )
    copies = {name for name in common if tied and name.endswith("lm_head.weight")}
    for model in models:
        _refuse_untied(model, copies)
    return [name for name in models[0].files if name in common - copies]


def _refuse_untied(model: ModelFolder, copies: Collection[str]) -> None:
    for name in copies:
        if not _original(model, name, model.files):
            raise ModelFolderError(
                f"{model.path} stores {name} with other values than the embedding, but the config ties the two "
                "(tie_word_embeddings): set tie_word_embeddings to false in all models, or copy the folder again"
            )


def _original(model: ModelFolder, name: str, others: Collection[str]) -> str | None:
    """The embedding among `others` that the tensor `name`, a tied output layer, is a copy of. None if it is no copy."""
    embeddings = (other for other in others if other != name and ("embed" in other or "wte" in other))
    return next((other for other in embeddings if model.tensor(name).equal(model.tensor(other))), None)


def refuse_other_architecture(first: ModelFolder, other: ModelFolder) -> None:
    """Refuses models whose configs or tokenizers differ. A setting that one config leaves out is not compared."""
    common = first.settings.keys() & other.settings.keys()
    there = {**other.architecture, **{key: other.settings[key] for key in sorted(common)}}
    here = {**first.architecture, **first.settings}
    for key, value in there.items():
        if here[key] != value:
            raise ModelFolderError(
                f"{other.path} has another architecture than {first.path}: {key} is {value}, not {here[key]}: fuse "
                "models of one architecture"
            )
    if None not in (first.vocabulary, other.vocabulary) and first.vocabulary != other.vocabulary:
        raise ModelFolderError(f"{other.path} has another vocabulary than {first.path}: fuse models of one tokenizer")


def refuse_other_tensors(first: ModelFolder, other: ModelFolder, names: Sequence[str]) -> None:
    """Refuses models whose tensors differ in shape or dtype, or in values that are not floats."""
    for name in names:
        there, here = other.tensor(name), first.tensor(name)
        if there.shape != here.shape or there.dtype != here.dtype:
            raise ModelFolderError(
                f"{name} is {there.dtype} {list(there.shape)} in {other.path} but {here.dtype} {list(here.shape)} in "
                f"{first.path}: fuse models of one shape and dtype"
            )
        if not here.is_floating_point() and not here.equal(there):
            raise ModelFolderError(
                f"{name} holds {here.dtype} that differ between {first.path} and {other.path}: they cannot be averaged"
            )


def refuse_damaged(model: ModelFolder, names: Sequence[str]) -> None:
    """Refuses tensors with NaN or infinity, and tensors of a dtype that a fused model cannot be stored in."""
    for name in names:
        tensor = model.tensor(name)
        if TensorInfo(tuple(tensor.shape), tensor.dtype).code is None:
            raise ModelFolderError(
                f"{name} is {tensor.dtype} in {model.path}: give the model in float32, bfloat16 or float16, before "
                "quantization"
            )
        if not is_finite(tensor):
            raise ModelFolderError(f"{name} holds NaN or infinity in {model.path}: copy it again, or leave it out")


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no element is NaN or infinite. Reads the tensor once, without a copy."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = tensor.aminmax()  # NaN if an element is NaN
    return bool(low.isfinite() and high.isfinite())


def base_names(base: ModelFolder, first: ModelFolder, names: Sequence[str]) -> dict[str, str]:
    """{name of a tensor in the specialists: its name in the base model}. The base may have another dtype, and may store
    a tied output layer once where the specialists store it twice."""
    stored_as = {name: name if name in base.files else _original(first, name, names) or name for name in names}
    for name in names:
        shape = first.tensor(name).shape
        if stored_as[name] not in base.files or base.tensor(stored_as[name]).shape != shape:
            raise ModelFolderError(
                f"{base.path} has no tensor {name} of shape {list(shape)}, {first.path} has: give the model that the "
                "specialists were trained from"
            )
    return stored_as
