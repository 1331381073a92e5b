"""The per-question accuracy tracker: verdicts in, p_c, MGPO weight and advantages out, history kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vt_ray.algorithms.mgpo import group_accuracy, group_advantages, weight
from vt_ray.config import TrackerConfig
from vt_ray.records import GradedGroup, GroupWeight, Weighing


@dataclass
class QuestionHistory:
    """What has been seen of one question over the run; unverified completions count only as such."""

    correct: int = 0
    valid: int = 0
    unverified: int = 0
    last_version: int = -1


class AccuracyTracker:
    """p_c comes from the CURRENT group, as in the paper (section 3.4); the history is for filters and reports."""

    def __init__(self, tracker: TrackerConfig):
        self.config = tracker
        self.history: dict[str, QuestionHistory] = {}

    def weigh(self, groups: Sequence[GradedGroup], version: int, weighing: Weighing) -> list[GroupWeight]:
        """Note each group's verdicts under weight `version` and return its p_c, w_ME and A', in order."""
        return [self._weigh(group, version, weighing) for group in groups]

    def _weigh(self, group: GradedGroup, version: int, weighing: Weighing) -> GroupWeight:
        seen = self.history.setdefault(group.question_id, QuestionHistory())
        seen.correct += int(sum(group.rewards))
        seen.valid += sum(group.valid)
        seen.unverified += len(group.valid) - sum(group.valid)
        seen.last_version = version
        if not any(group.valid):
            return GroupWeight(None, 0.0, (0.0,) * len(group.valid))
        accuracy = group_accuracy(group.rewards, group.valid).item()
        advantages = group_advantages(group.rewards, weighing.lam, group.valid)
        return GroupWeight(accuracy, float(weight(accuracy, weighing.lam)), tuple(advantages.tolist()))

    def note(self, groups, version):
        for group in groups:
            self._weigh(group, version, Weighing(0.0))

    def expected_weights(self, ids, version, lam):
        from vt_ray.algorithms.mgpo import weight as w
        return [float(w((h.correct+1)/(h.valid+2), lam)) if (h:=self.history.get(i)) else 1.0 for i in ids]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({name: asdict(seen) for name, seen in self.history.items()}))

    def load(self, path: Path) -> None:
        self.history = {name: QuestionHistory(**seen) for name, seen in json.loads(path.read_text()).items()}
