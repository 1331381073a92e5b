"""The weight of each token in the loss: it holds all denominators, over the batch of all ranks."""

from __future__ import annotations

from collections.abc import Sequence

from vt_ray.config import AGGREGATIONS
from vt_ray.records import GradedGroup


def completion_token_weights(
    groups: Sequence[GradedGroup], aggregation: str, max_new_tokens: int
) -> list[tuple[float, ...]]:
    """One weight for each completion, shared by its tokens: [groups][completions]. 0 if it is invalid or empty.

    N is the number of groups with a valid completion, G the number of valid completions of the group, |y| the length of
    the completion in tokens:

    * "sequence_mean": 1 / (N * G * |y|), the objective of arXiv 2511.06221, section 3.4
    * "token_mean": 1 / (all valid tokens of the batch), as in DAPO
    * "fixed_length": 1 / (N * G * max_new_tokens), as in Dr. GRPO

    Raises ValueError for another `aggregation`.
    """
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"signal.mgpo.aggregation={aggregation!r} must be one of {', '.join(AGGREGATIONS)}")
    num_groups = sum(any(group.valid) for group in groups)
    tokens = sum(n for group in groups for n, valid in zip(group.completion_tokens, group.valid, strict=True) if valid)

    def weight(group: GradedGroup, length: int, valid: bool) -> float:
        if not (valid and length):
            return 0.0
        if aggregation == "token_mean":
            return 1.0 / tokens
        return 1.0 / (num_groups * sum(group.valid) * (length if aggregation == "sequence_mean" else max_new_tokens))

    return [tuple(weight(g, n, valid) for n, valid in zip(g.completion_tokens, g.valid, strict=True)) for g in groups]
