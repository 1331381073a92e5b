"""A Hugging Face model folder as fusion reads it: where each tensor lies, and which other files belong to the model.

config.json + (safetensors | pytorch_model.bin, in one file or in shards)  -->  tensor name -> file --> tensor
"""

from __future__ import annotations

import json
import zipfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# The files that a model needs besides its weights. Optimizer states and a trainer's notes are not part of a model.
_MODEL_FILES = (
    *("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab*", "merges.txt", "*.model", "*.tiktoken", "chat_template*", "*preprocessor_config.json"),
    "processor_config.json",
)
# A model that brings its own code names it in config.json's auto_map. DeepSpeed leaves a script of its own beside it.
_MODEL_CODE, _FOREIGN_CODE = "*.py", "zero_to_fp32.py"
# The whole model, the index of its shards, shards without an index: in the order in which transformers looks.
_LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json", "model*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model*.bin"),
)
# Two models with equal shapes but other values of these compute something else with their tensors.
_ARCHITECTURE = ("model_type", "architectures", "num_attention_heads", "num_key_value_heads", "head_dim")


class ModelFolderError(ValueError):
    """A model folder that cannot be used. The message names the folder, the fault and the remedy."""


class ModelFolder:
    """`files` says of each tensor, by its name, in which file it lies. Raises ModelFolderError where `path` is not a
    whole Hugging Face model folder."""

    def __init__(self, path: Path):
        self.path = path
        self._opened: dict[Path, Any] = {}
        if not path.is_dir():
            raise ModelFolderError(f"{path} is not there: give a Hugging Face model folder")
        self.config = self._json("config.json")
        if self.config.get("quantization_config"):
            raise ModelFolderError(f"{path} is quantized: give the model as it was before quantization")
        self.files = self._weight_map()

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor, read from its file."""
        handle = self._open(self.files[name])
        try:
            return handle[name] if isinstance(handle, dict) else handle.get_tensor(name)
        except Exception as error:  # safetensors' own error has no common class
            raise _damaged(self.files[name], error) from error

    def companions(self) -> list[Path]:
        """The files that belong to the model and are not weights."""
        patterns = (*_MODEL_FILES, _MODEL_CODE) if "auto_map" in self.config else _MODEL_FILES
        found = {f for pattern in patterns for f in self.path.glob(pattern) if f.is_file()}
        return sorted(f for f in found if f.name != _FOREIGN_CODE)

    @cached_property
    def architecture(self) -> dict[str, Any]:
        return {key: self.config.get(key) for key in _ARCHITECTURE}

    @cached_property
    def vocabulary(self) -> Any:
        """The tokens and their ids, None where the folder has no tokenizer.json."""
        if not (self.path / "tokenizer.json").is_file():
            return None
        model = self._json("tokenizer.json").get("model")
        return model.get("vocab") if isinstance(model, dict) else None

    def _weight_map(self) -> dict[str, Path]:
        for whole, index, shards in _LAYOUTS:
            if (self.path / whole).is_file():
                return self._held_by([self.path / whole])
            if (self.path / index).is_file():
                return self._indexed(index)
            if found := sorted(self.path.glob(shards)):
                return self._held_by(found)
        adapter = any(self.path.glob("adapter_model.*"))
        raise ModelFolderError(
            f"{self.path} has no weights: expected model.safetensors or pytorch_model.bin, in one file or in shards"
            + ("; it holds a LoRA adapter: merge the adapter into its base model first" if adapter else "")
        )

    def _indexed(self, index: str) -> dict[str, Path]:
        names = self._json(index).get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(file, str) for file in names.values()):
            raise ModelFolderError(f"{self.path / index} has no weight_map: copy the folder again")
        held = self._held_by(sorted({self.path / file for file in names.values()}))
        for name, file in names.items():
            if held.get(name) != self.path / file:
                raise ModelFolderError(f"{self.path / file} does not hold {name}, {index} says so: copy it again")
        return {name: held[name] for name in names}

    def _held_by(self, files: list[Path]) -> dict[str, Path]:
        return {name: file for file in files for name in self._open(file).keys()}  # noqa: SIM118 (no dict)

    def _open(self, file: Path) -> Any:
        """An open safetensors file, or the dict of tensors of a .bin file; a model of pickled code is not run."""
        if file not in self._opened:
            import torch
            from safetensors import safe_open

            if not file.is_file():
                raise ModelFolderError(f"{file} is missing: copy the folder again")
            try:
                if file.suffix == ".safetensors":
                    self._opened[file] = safe_open(file, framework="pt")
                else:
                    self._opened[file] = torch.load(
                        file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
                    )
            except Exception as error:  # damaged files raise errors of many classes
                raise _damaged(file, error) from error
            held = self._opened[file]
            if file.suffix == ".bin" and not all(isinstance(tensor, torch.Tensor) for tensor in held.values()):
                raise ModelFolderError(f"{file} does not hold tensors by their names: save it by save_pretrained")
        return self._opened[file]

    def _json(self, name: str) -> dict[str, Any]:
        file = self.path / name
        if not file.is_file():
            raise ModelFolderError(f"{self.path} has no {name}: give a Hugging Face model folder")
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelFolderError(f"{file} is not JSON ({error}): copy it again") from error
        if not isinstance(values, dict):
            raise ModelFolderError(f"{file} holds no object: copy it again")
        return values


def _damaged(file: Path, error: Exception) -> ModelFolderError:
    said = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return ModelFolderError(f"{file} cannot be read ({said}): copy it again")
