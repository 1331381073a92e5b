"""The generation_config.json of a base model: corrected if transformers refuses to read or to save it.

A run uses only the token ids of this file: each phase has its own sampling settings.
"""

from __future__ import annotations

import copy
import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vt_ray.progress import console

NAME = "generation_config.json"


def savable(config: Any, model: str) -> Any:
    """Returns a transformers GenerationConfig that can be saved: `config` itself, or a corrected one, with a message.

    The usual fault is sampling values with do_sample=false: do_sample becomes true. After any other fault only the
    token ids are kept.
    """
    try:
        config.validate(strict=True)
        return config
    except ValueError as error:
        refusal = error
    sampling = copy.deepcopy(config)
    sampling.do_sample = True
    try:
        sampling.validate(strict=True)
    except ValueError:
        return _with_token_ids(config.to_dict(), model, refusal)
    _say(f"{NAME} of {model} has sampling values with do_sample=false: do_sample is set to true")
    return sampling


@contextmanager
def readable(folder: Path) -> Iterator[Path]:
    """Yields `folder`, or links to its files with a correct generation_config.json if transformers cannot read it."""
    refusal = _refusal(folder)
    if refusal is None:
        yield folder
        return
    with TemporaryDirectory() as links:
        for other in folder.iterdir():
            if other.name != NAME:
                (Path(links) / other.name).symlink_to(other.resolve())
        _with_token_ids(_object_in(folder / NAME), str(folder), refusal).save_pretrained(links)
        yield Path(links)


def _refusal(folder: Path) -> Exception | None:
    from transformers import GenerationConfig

    if not (folder / NAME).is_file():
        return None
    try:
        GenerationConfig.from_pretrained(folder)
    except (OSError, ValueError, TypeError) as error:
        return error
    return None


def _object_in(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text())
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _with_token_ids(values: dict[str, Any], model: str, error: Exception) -> Any:
    from transformers import GenerationConfig

    lines = [line.strip("- ") for line in str(error).splitlines() if not line.rstrip().endswith(":")]
    fault = textwrap.shorten(lines[0], 160, placeholder=" ...") if lines else type(error).__name__
    _say(f"{NAME} of {model} is not valid ({fault}): its token ids alone are kept")
    return GenerationConfig(**{k: v for k, v in values.items() if k.endswith("_token_id") and v is not None})


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
