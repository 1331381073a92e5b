"""Controls that MGPO's gain is compared with: rewards without information, and more SFT.

signal.control=shuffled_rewards    the same stages, but each group's verdicts are shuffled among its completions
signal.control=sft                 no stages: SFT of the fused model continues (pipeline.continue_sft), for
                                   control_sft_steps, or for the time of the RL run in control_sft_like
phases=[sft,probe,rl]              the same stages, from the checkpoint with the best Pass@1 on the probing set
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vt_ray.data.prompts import sample_seed
from vt_ray.records import GradedGroup


def shuffled_rewards(groups: Sequence[GradedGroup], key: Sequence[Any]) -> list[GradedGroup]:
    """Each group with its own verdicts in a random order, which depends only on `key` and the question.

    Only valid completions exchange their verdicts, so p_c, w_ME and the sizes of the advantages do not change. Each
    advantage goes to a random completion, so the model can learn nothing from it.
    """
    return [_shuffled(group, sample_seed("shuffled", *key, group.question_id)) for group in groups]


def _shuffled(group: GradedGroup, seed: int) -> GradedGroup:
    places = [i for i, valid in enumerate(group.valid) if valid]
    verdicts = list(group.verdicts)
    for place, source in zip(places, np.random.default_rng(seed).permutation(places), strict=True):
        verdicts[place] = group.verdicts[source]
    return replace(group, verdicts=tuple(verdicts))
