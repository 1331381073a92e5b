"""The state of a learner on disk: a DeepSpeed checkpoint of weights, moments and step count, and its layout.

With adapters the state has only them (and a tied embedding, which DeepSpeed does not leave out): the frozen weights are
those of the model that the learner was opened with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vt_ray.engines.learner_spec import LearnerSpec

LAYOUT = "layout.json"
LORA_RANK = "learner.lora.rank"


def save_state(engine: Any, folder: Path, layout: Mapping[str, int], client: Mapping[str, Any], writes: bool) -> None:
    """Saves the state of the DeepSpeed `engine`, and `client`: the step count and the like.

    Collective; the rank that `writes` also saves the layout.
    """
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LAYOUT).write_text(json.dumps(layout))
    options = {"exclude_frozen_parameters": True} if LORA_RANK in layout else {}
    engine.save_checkpoint(str(folder), tag="state", client_state=dict(client), **options)


def load_state(engine: Any, folder: Path, layout: Mapping[str, int]) -> dict[str, Any]:
    """Loads the state into the DeepSpeed `engine` and returns the `client` of `save_state`.

    Raises RuntimeError if `folder` holds no complete checkpoint, or one with another layout.
    """
    _refuse_other_layout(folder, layout)
    options = {"load_module_strict": False} if LORA_RANK in layout else {}
    path, client = engine.load_checkpoint(str(folder), tag="state", **options)
    if path is None:
        raise RuntimeError(f"{folder} holds no DeepSpeed checkpoint: move it away to resume from the step before")
    return dict(client)


def layout_of(spec: LearnerSpec, ranks: int) -> dict[str, int]:
    """The settings that decide which parameters the state has and how it is split into files.

    DeepSpeed's own error for another split names no remedy. ZeRO 1 and 2 read each other's files, with or without
    offloading.
    """
    lora = {LORA_RANK: spec.learner.lora.rank} if spec.learner.lora.rank else {}
    return {"cluster.num_learners": ranks, "learner.zero_stage": spec.learner.zero_stage, **lora}


def _refuse_other_layout(folder: Path, now: Mapping[str, int]) -> None:
    written = json.loads((folder / LAYOUT).read_text())
    if _split(written) != _split(now):
        as_it_was = " ".join(f"{key}={value}" for key, value in written.items())
        raise RuntimeError(
            f"{folder} was written with {as_it_was}, the learner was opened with "
            f"{' '.join(f'{key}={value}' for key, value in now.items())}: take {as_it_was} until SFT or this stage "
            "has ended; both may change before the next one, unless it has optimizer_state=keep"
        )


def _split(layout: Mapping[str, int]) -> tuple[int, int, int]:
    ranks, zero_stage = layout["cluster.num_learners"], layout["learner.zero_stage"]
    return ranks, 1 if zero_stage == 2 else zero_stage, layout.get(LORA_RANK, 0)
