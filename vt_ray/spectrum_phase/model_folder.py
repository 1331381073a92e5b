"""A Hugging Face model folder: the file of each tensor, and the other files that belong to the model.

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

# The files of a model besides its weights. Optimizer states and logs of a trainer are not copied.
_MODEL_FILES = (
    *("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab*", "merges.txt", "*.model", "*.tiktoken", "chat_template*", "*preprocessor_config.json"),
    "processor_config.json",
)
# A model with its own code names it in auto_map of config.json. zero_to_fp32.py is a script of DeepSpeed.
_MODEL_CODE, _FOREIGN_CODE = "*.py", "zero_to_fp32.py"
# One file, the index of shards, shards without an index: in the order in which transformers looks for them.
_LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json", "model*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model*.bin"),
)
# Models with equal shapes but different values here compute different functions of their tensors.
_ARCHITECTURE = ("model_type", "architectures", "num_attention_heads", "num_key_value_heads", "head_dim")
# The same for these values, which a config may leave out if they are the defaults of its architecture.
_SETTINGS = (
    *("num_hidden_layers", "use_sliding_window", "tie_word_embeddings", "hidden_act", "rms_norm_eps"),
    *("rope_theta", "rope_scaling", "rope_parameters"),
)
# The files are mapped again after this many bytes, so that the pages that were read leave the process's memory.
_MAPPED_BYTES = 1 << 28


class ModelFolderError(ValueError):
    """A model folder cannot be used. The message gives the folder, the fault and the remedy."""


class ModelFolder:
    """A Hugging Face model folder. `files` maps each tensor name to its file.

    Raises ModelFolderError if `path` is not a complete Hugging Face model folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self._opened: dict[Path, Any] = {}
        self._bytes_read = 0
        if not path.is_dir():
            raise ModelFolderError(f"{path} does not exist: give a Hugging Face model folder")
        self.config = self._json("config.json")
        if self.config.get("quantization_config"):
            raise ModelFolderError(f"{path} is quantized: give the model before quantization")
        self.files = self._weight_map()

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor, a view of its mapped file. Do not write to it."""
        if self._bytes_read > _MAPPED_BYTES:
            # A .bin file in the format before torch 1.6 cannot be mapped.
            self._opened = {f: held for f, held in self._opened.items() if not _can_be_mapped(f)}
            self._bytes_read = 0
        handle = self._open(self.files[name])
        try:
            tensor = handle[name] if isinstance(handle, dict) else handle.get_tensor(name)
        except Exception as error:  # the errors of safetensors have no common class
            raise _damaged(self.files[name], error) from error
        self._bytes_read += tensor.nbytes
        return tensor

    def companions(self) -> list[Path]:
        """The files of the model that are not weights."""
        patterns = (*_MODEL_FILES, _MODEL_CODE) if "auto_map" in self.config else _MODEL_FILES
        found = {f for pattern in patterns for f in self.path.glob(pattern) if f.is_file()}
        return sorted(f for f in found if f.name != _FOREIGN_CODE)

    @cached_property
    def architecture(self) -> dict[str, Any]:
        return {key: self.config.get(key) for key in _ARCHITECTURE}

    @cached_property
    def settings(self) -> dict[str, Any]:
        found = {key: self.config[key] for key in _SETTINGS if key in self.config}
        return {**found, **_rope(self.config)}

    @cached_property
    def vocabulary(self) -> tuple[Any, dict[str, int]] | None:
        """The tokens and their ids, and those of the added tokens; None without a tokenizer.json."""
        if not (self.path / "tokenizer.json").is_file():
            return None
        tokenizer = self._json("tokenizer.json")
        model, added = tokenizer.get("model"), tokenizer.get("added_tokens") or []
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
        return vocabulary, {token.get("content"): token.get("id") for token in added}

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
                raise ModelFolderError(f"{self.path / file} does not hold {name}, as {index} says: copy it again")
        return {name: held[name] for name in names}

    def _held_by(self, files: list[Path]) -> dict[str, Path]:
        return {name: file for file in files for name in self._open(file).keys()}  # noqa: SIM118 (no dict)

    def _open(self, file: Path) -> Any:
        """An open safetensors file, or the dict of tensors of a .bin file. Pickled code is not executed."""
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
                        file, map_location="cpu", weights_only=True, mmap=_can_be_mapped(file)
                    )
            except Exception as error:  # damaged files raise errors of many classes
                if "weights_only" in str(error).lower() or "weights only" in str(error).lower():
                    raise ModelFolderError(
                        f"{file} holds pickled code besides tensors, which is not run: save the model with "
                        "save_pretrained"
                    ) from error
                raise _damaged(file, error) from error
            held = self._opened[file]
            if file.suffix == ".bin" and not _is_state_dict(held):
                del self._opened[file]
                raise ModelFolderError(f"{file} is not a dict of tensors by name: save the model with save_pretrained")
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
            raise ModelFolderError(f"{file} is not a JSON object: copy it again")
        return values


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """The base, type and factor of the rotary embedding, from `rope_parameters` or from the keys of transformers 4."""
    parameters = config.get("rope_parameters")
    if isinstance(parameters, dict) and "rope_theta" in parameters:
        found, scaling = {"rope_theta": parameters["rope_theta"]}, parameters
    elif parameters is None and "rope_theta" in config:
        found, scaling = {}, config.get("rope_scaling") or {}
    else:
        return {}
    factor = {"rope_factor": scaling["factor"]} if "factor" in scaling else {}
    return {**found, "rope_type": scaling.get("rope_type", scaling.get("type", "default")), **factor}


def _is_state_dict(held: object) -> bool:
    import torch

    return isinstance(held, dict) and all(isinstance(tensor, torch.Tensor) for tensor in held.values())


def _can_be_mapped(file: Path) -> bool:
    return file.suffix == ".safetensors" or zipfile.is_zipfile(file)


def _damaged(file: Path, error: Exception) -> ModelFolderError:
    message = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return ModelFolderError(f"{file} cannot be read ({message}): copy it again")
