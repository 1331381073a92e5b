"""The offline filter before a stage: questions that its start model solves sometimes (arXiv 2606.16140)."""

from __future__ import annotations

from collections.abc import Sequence

from vt_ray.records import GradedGroup


def split_by_signal(groups: Sequence[GradedGroup]) -> tuple[list[str], dict[str, str]]:
    """Returns the ids of questions with correct and wrong completions, and the reason for each other question.

    The reasons are "always solved", "never solved" and "without a verdict". Invalid completions are not counted.
    """
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
