"""The per-question accuracy tracker: verdicts in, p_c, MGPO weight and advantages out, history kept.

estimator "group" (section 3.4): p = p_c of the current group, w = w_ME(p).

estimator "history": what was seen of a question before counts too, the less the more the weights have changed since.
With a0 the prior, c and m the right and wrong answers of the group that is weighed at weight version v, each answer
multiplied by decay^(v - u) where it was begun under version u (on-policy u = v):

    a_v = decay^(v - v') * a_v' + c          b_v = decay^(v - v') * b_v' + m          v': when it was seen before
    p ~ Beta(a0 + a_v, a0 + b_v)             w = E_p[w_ME(p)]

The expectation is what uses the uncertainty: with eight answers alone p is known to 0.18 at best, and w_ME of the mean
would be surer than the data. The advantages' mean and std stay those of the current group.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vt_ray.algorithms.length_reward import long2short
from vt_ray.algorithms.mgpo import group_accuracy, group_advantages, weight
from vt_ray.config import TrackerConfig
from vt_ray.records import AdvantageConfig, GradedGroup, GroupAdvantages

NODES = 257
REACH = 6.5


@dataclass
class QuestionHistory:
    """What has been seen of one question over the run; completions that count nowhere count only as unverified.

    `right` and `wrong` are the decayed counts as of weight version `last_version`.
    """

    correct: int = 0
    valid: int = 0
    unverified: int = 0
    right: float = 0.0
    wrong: float = 0.0
    last_version: int = -1

    def note(self, group: GradedGroup, version: int, decay: float) -> None:
        """Add the verdicts of a `group` that is seen at weight `version`. A completion counts decay^age, where its age
        is the number of versions since its first token; without `first_versions` it is as new as `version`."""
        newest = max(version, self.last_version, *group.first_versions)
        before = decay ** (newest - self.last_version)
        sampled_under = group.first_versions or (version,) * len(group.valid)
        counted = [
            (reward > 0, decay ** (newest - first))
            for reward, valid, first in zip(group.rewards, group.valid, sampled_under, strict=True)
            if valid
        ]
        self.right = before * self.right + sum(weight for correct, weight in counted if correct)
        self.wrong = before * self.wrong + sum(weight for correct, weight in counted if not correct)
        self.correct += sum(correct for correct, _ in counted)
        self.valid += len(counted)
        self.unverified += len(group.valid) - len(counted)
        self.last_version = newest


class AccuracyTracker:
    """The same calls give the same answers, bit for bit, also after `save` and `load`."""

    def __init__(self, tracker: TrackerConfig):
        self.config = tracker
        self.history: dict[str, QuestionHistory] = {}

    def compute_advantages(
        self, groups: Sequence[GradedGroup], version: int, config: AdvantageConfig
    ) -> list[GroupAdvantages]:
        """Note each group's verdicts under weight `version` and return its p_c, w_ME and A', in order."""
        return [self._one_group(group, version, config) for group in groups]

    def note(self, groups: Sequence[GradedGroup], version: int) -> None:
        """Verdicts of completions that no update will consume."""
        for group in groups:
            seen = self.history.setdefault(group.question_id, QuestionHistory())
            seen.note(group, version, self.config.decay)

    def expected_weights(self, question_ids: Sequence[str], version: int, lam: float) -> list[float]:
        """E[w_ME] of each question before it is asked: of its posterior at `version`, the prior's where it is new."""
        posteriors = [self._posterior(question, version) for question in question_ids]
        return [expected_weight(right, wrong, lam) for right, wrong in posteriors]

    def _one_group(self, group: GradedGroup, version: int, config: AdvantageConfig) -> GroupAdvantages:
        self.note([group], version)
        if not any(group.valid):
            return GroupAdvantages(None, 0.0, (0.0,) * len(group.valid))
        accuracy = estimate = float(group_accuracy(group.rewards, group.valid))
        if self.config.estimator == "history":
            right, wrong = self._posterior(group.question_id, version)
            estimate, w = right / (right + wrong), expected_weight(right, wrong, config.lam)
        else:
            w = float(weight(accuracy, config.lam))
        shaped = long2short(group.rewards, group.completion_tokens, group.valid, config.length_reward)
        advantages = group_advantages(group.rewards, config.lam, group.valid, config.advantage_norm, w, shaped)
        return GroupAdvantages(accuracy, w, tuple(advantages.tolist()), estimate)

    def _posterior(self, question_id: str, version: int) -> tuple[float, float]:
        """The two parameters of the Beta distribution of a question's accuracy at weight `version`."""
        seen = self.history.get(question_id, QuestionHistory())
        faded = self.config.decay ** max(version - seen.last_version, 0)
        return self.config.prior + faded * seen.right, self.config.prior + faded * seen.wrong

    def save(self, path: Path) -> None:
        """One row a question, as `QuestionHistory` has it; whole or not there."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [{"question_id": name, **asdict(seen)} for name, seen in self.history.items()]
        types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
        example = {"question_id": "", **asdict(QuestionHistory())}
        schema = pa.schema([(name, types[type(value)]) for name, value in example.items()])
        aside = path.with_name(path.name + ".partial")
        with aside.open("wb") as file:
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)

    def load(self, path: Path) -> None:
        import pyarrow.parquet as pq

        rows = pq.read_table(path).to_pylist()
        self.history = {row.pop("question_id"): QuestionHistory(**row) for row in rows}


def expected_weight(right: float, wrong: float, lam: float) -> float:
    """E[w_ME(p)] for p ~ Beta(right, wrong), to 1e-7 from parameters of 0.01 on; exactly 1 for `lam` 0.

    By the trapezoidal rule over x = logit p, where the density p^right (1-p)^wrong has no poles and falls off
    exponentially. x = mode + sd * sinh t makes the nodes dense over the peak, however narrow, and reaches far tails.
    """
    t = np.linspace(-REACH, REACH, NODES)
    x = math.log(right / wrong) + math.sqrt((right + wrong) / (right * wrong)) * np.sinh(t)
    log_p, log_q = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    log_density = right * log_p + wrong * log_q
    mass = np.exp(log_density - log_density.max()) * np.cosh(t)
    return float((mass * weight(np.exp(log_p), lam)).sum() / mass.sum())
