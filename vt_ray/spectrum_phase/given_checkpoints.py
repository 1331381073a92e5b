"""Checks of the folders in `spectrum.checkpoints`, which are probed and fused instead of SFT checkpoints.

One engine is opened with the base model and then loads each checkpoint, so all of them must be one kind of model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vt_ray.config import Config, ConfigError
from vt_ray.run.milestone_names import given_folders
from vt_ray.spectrum_phase.model_folder import ModelFolder, ModelFolderError

# Names that other files of the folder probe/ or other models of the report have.
TAKEN = {"DONE", "inputs", "probe", "fused", "base"}
# Models with other values here have other tensors, or compute another function of them.
_KIND = (
    *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "tie_word_embeddings", "rope_parameters"),
)


def refuse_unusable_checkpoints(checkpoints: Sequence[str], base: Path | None, dtype: str) -> None:
    """Raises ConfigError unless each checkpoint is a safetensors folder of one architecture, tokenizer and `dtype`.

    The checkpoints are also compared with the model in the folder `base`, if there is one.
    """
    names = [Path(path).name for path in checkpoints]
    for name in names:
        if names.count(name) > 1 or name in TAKEN or not name:
            raise ConfigError(
                f"spectrum.checkpoints: the folder name {name!r} must be unique and none of {sorted(TAKEN)}, because "
                "it names the checkpoint in the results: rename the folder, or give a link to it with another name"
            )
    _refuse_unlike(checkpoints, base, dtype, "spectrum.checkpoints")


def refuse_unusable_models(models: Sequence[tuple[str, str]], base: Path | None, dtype: str) -> None:
    """The same for the (name, folder) of `evaluation.models`. The name "base" is that of the first one only."""
    names = [name for name, _ in models]
    for place, name in enumerate(names):
        if names.count(name) > 1 or not name or (name == "base" and place):
            raise ConfigError(
                f"evaluation.models: the name {name!r} must be unique and not 'base', because it names the model in "
                "the results: give NAME=FOLDER"
            )
    _refuse_unlike([folder for _, folder in models], base, dtype, "evaluation.models")


def refuse_unusable_teachers(config: Config, base: Path | None) -> None:
    """The same for the folders in `rejection.models` and `self_distil.student`."""
    if folders := [folder for _, folder in given_folders(asdict(config))]:
        _refuse_unlike(folders, base, config.model.dtype, "rejection.models and self_distil.student")


def _refuse_unlike(checkpoints: Sequence[str], base: Path | None, dtype: str, setting: str) -> None:
    try:
        models = [ModelFolder(Path(path)) for path in checkpoints]
        for model in models:
            _refuse_format(model, dtype)
        first, *others = [ModelFolder(base), *models] if base and base.is_dir() else models
        for other in others:
            _refuse_other_kind(first, other)
    except ModelFolderError as error:
        raise ConfigError(f"{setting}: {error}") from error


def _refuse_format(model: ModelFolder, dtype: str) -> None:
    if any(file.suffix != ".safetensors" for file in model.files.values()):
        raise ModelFolderError(f"{model.path} has pytorch_model.bin, not safetensors: save it with save_pretrained")
    stored = str(model.tensor(next(iter(model.files))).dtype).removeprefix("torch.")
    if stored != dtype:
        raise ModelFolderError(
            f"{model.path} holds {stored}, model.dtype={dtype}: the checksums of the engine's weights would differ; "
            f"set model.dtype={stored}, or save the checkpoint in {dtype}"
        )


def _refuse_other_kind(first: ModelFolder, other: ModelFolder) -> None:
    known, found = _kind(first), _kind(other)
    for key in _KIND:
        if known[key] != found[key]:
            raise ModelFolderError(
                f"{other.path} has another architecture than {first.path}: {key} is {found[key]}, not {known[key]}: "
                "give checkpoints of one model"
            )
    if None not in (first.vocabulary, other.vocabulary) and first.vocabulary != other.vocabulary:
        raise ModelFolderError(f"{other.path} has another vocabulary than {first.path}: give models of one tokenizer")


def _kind(model: ModelFolder) -> dict[str, Any]:
    """The values of _KIND. transformers adds the values that config.json leaves out because they are defaults."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model.path).to_dict()
    except (OSError, ValueError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ModelFolderError(f"{model.path}/config.json cannot be read ({reason}): give a causal LM") from error
    return {key: config.get(key) for key in _KIND}
