"""Which questions a stage can learn from, by the answers of its start model (arXiv 2606.16140)."""

from __future__ import annotations

from collections.abc import Sequence

from vt_ray.records import GradedGroup


def split_by_signal(groups: Sequence[GradedGroup]) -> tuple[list[str], dict[str, str]]:
    """Ids of the questions with some answers right and some wrong, and the others with the reason against them:
    "always solved", "never solved", "without a verdict". Answers that count nowhere count nowhere here."""
    kept: list[str] = []
    dropped: dict[str, str] = {}
    for group in groups:
        rewards = [reward for reward, valid in zip(group.rewards, group.valid, strict=True) if valid]
        if not rewards:
            dropped[group.question_id] = "without a verdict"
        elif all(reward == 1 for reward in rewards):
            dropped[group.question_id] = "always solved"
        elif not any(rewards):
            dropped[group.question_id] = "never solved"
        else:
            kept.append(group.question_id)
    return kept, dropped
