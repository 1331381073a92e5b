"""Controls for MGPO's gain: the same steps with rewards without information, and SFT that simply goes on.

signal.control=shuffled_rewards    the stages as they are, but each group's verdicts are dealt out anew
signal.control=sft                 no stage: the fused model learns on from the worked solutions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vt_ray.data.prompts import sample_seed
from vt_ray.records import GradedGroup


def shuffled_rewards(groups: Sequence[GradedGroup], key: Sequence[Any]) -> list[GradedGroup]:
    """Each group with its own verdicts in a random order that depends on `key` and the question alone.

    Verdicts change places among the completions that count (`valid`) only, so p_c, w_ME and the sizes of the
    advantages stay as they are. An advantage goes to a random completion: the model can learn nothing from it.
    """
    return [_dealt_anew(group, sample_seed("shuffled", *key, group.question_id)) for group in groups]


def _dealt_anew(group: GradedGroup, seed: int) -> GradedGroup:
    places = [i for i, valid in enumerate(group.valid) if valid]
    verdicts = list(group.verdicts)
    for place, source in zip(places, np.random.default_rng(seed).permutation(places), strict=True):
        verdicts[place] = group.verdicts[source]
    return replace(group, verdicts=tuple(verdicts))
