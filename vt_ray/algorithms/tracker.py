"""The accuracy tracker: verdicts in; p_c, weight and advantages out. It keeps a history for each question.

Estimator "group" (arXiv 2511.06221, section 3.4): p = p_c of the current group, w = w_ME(p), or another difficulty
weight (`algorithms.weights`).

Estimator "history": earlier groups of the question count too, each count multiplied by `decay` for every weight version
since. With the prior a0, the weight version v of the update and the version v' of the question's previous group:

    a_v = decay^(v - v') * a_v' + c          c: correct completions of the group, each times decay^(v - u)
    b_v = decay^(v - v') * b_v' + m          m: wrong completions, likewise; u: version of a completion's first token
    p ~ Beta(a0 + a_v, a0 + b_v)             w = E_p[w(p)]

The weight is an expectation because p is uncertain: eight completions give p with a standard error of up to 0.18. Mean
and std of the advantages are those of the current group for both estimators.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vt_ray.algorithms.length_reward import shaped_rewards
from vt_ray.algorithms.mgpo import Floats, group_accuracy, group_advantages
from vt_ray.algorithms.pass_at_k_advantages import pass_at_k_advantages
from vt_ray.algorithms.weights import advantage_norm, difficulty_weight
from vt_ray.config import TrackerConfig
from vt_ray.records import AdvantageConfig, GradedGroup, GroupAdvantages

# Nodes of the quadrature in `expected_weight`, and the range of its variable t.
NODES = 257
REACH = 6.5


@dataclass(slots=True)
class QuestionHistory:
    """The completions of one question over the run.

    `correct` and `valid` are plain counts; `unverified` counts invalid completions, which no other field includes.
    `right` and `wrong` are the decayed counts of correct and wrong completions at weight version `last_version`.
    """

    correct: int = 0
    valid: int = 0
    unverified: int = 0
    right: float = 0.0
    wrong: float = 0.0
    last_version: int = -1

    def note(self, group: GradedGroup, version: int, decay: float) -> None:
        """Adds the verdicts of `group` at weight `version`. A completion counts decay^age, where age is the number of
        versions since its first token; without `first_versions` its age is 0."""
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
    """Deterministic: the same calls return the same bits, also with `save` and `load` in between."""

    def __init__(self, tracker: TrackerConfig):
        self.config = tracker
        self.history: dict[str, QuestionHistory] = {}

    def compute_advantages(
        self, groups: Sequence[GradedGroup], version: int, config: AdvantageConfig
    ) -> list[GroupAdvantages]:
        """Adds each group's verdicts to the history at weight `version`. Returns p_c, weight and A' of each group."""
        return [self._one_group(group, version, config) for group in groups]

    def note(self, groups: Sequence[GradedGroup], version: int) -> None:
        """Adds the verdicts of groups that no update will consume."""
        for group in groups:
            seen = self.history.setdefault(group.question_id, QuestionHistory())
            seen.note(group, version, self.config.decay)

    def expected_weights(self, question_ids: Sequence[str], version: int, config: AdvantageConfig) -> list[float]:
        """The expected weight of each question under its posterior at weight `version`, or under the prior."""
        posteriors = [self._posterior(question, version) for question in question_ids]
        return [expected_weight(right, wrong, config) for right, wrong in posteriors]

    def _one_group(self, group: GradedGroup, version: int, config: AdvantageConfig) -> GroupAdvantages:
        self.note([group], version)
        if not any(group.valid):
            return GroupAdvantages(None, 0.0, (0.0,) * len(group.valid))
        accuracy = estimate = float(group_accuracy(group.rewards, group.valid))
        if self.config.estimator == "history":
            right, wrong = self._posterior(group.question_id, version)
            estimate, w = right / (right + wrong), expected_weight(right, wrong, config)
        else:
            w = float(difficulty_weight(accuracy, config))
        return GroupAdvantages(accuracy, w, tuple(_advantages(group, w, config).tolist()), estimate)

    def _posterior(self, question_id: str, version: int) -> tuple[float, float]:
        """The parameters of the Beta posterior of a question's accuracy at weight `version`."""
        past = self.history.get(question_id, QuestionHistory())
        faded = self.config.decay ** max(version - past.last_version, 0)
        return self.config.prior + faded * past.right, self.config.prior + faded * past.wrong

    def save(self, path: Path) -> None:
        """Writes a Parquet file atomically: one row for each question, with the fields of `QuestionHistory`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [{"question_id": name, **asdict(seen)} for name, seen in self.history.items()]
        types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
        example = {"question_id": "", **asdict(QuestionHistory())}
        schema = pa.schema([(name, types[type(value)]) for name, value in example.items()])
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        import pyarrow.parquet as pq

        rows = pq.read_table(path).to_pylist()
        self.history = {row.pop("question_id"): QuestionHistory(**row) for row in rows}


def _advantages(group: GradedGroup, w: float, config: AdvantageConfig) -> Floats:
    """A' = w * A of each completion, in order."""
    if config.pass_k:
        return w * pass_at_k_advantages(group.rewards, group.valid, config.pass_k)
    shaped = shaped_rewards(group.rewards, group.completion_tokens, group.valid, config)
    return group_advantages(group.rewards, config.lam, group.valid, advantage_norm(config), w, shaped)


def expected_weight(right: float, wrong: float, config: AdvantageConfig) -> float:
    """E[w(p)] for p ~ Beta(right, wrong). For "mgpo" the error is below 1e-7 for parameters of at least 0.01, and
    `lam` 0 gives 1; the weights with a kink have a larger error (below 1e-3 of the weight).

    Trapezoidal rule over x = logit p, in which the density p^right (1-p)^wrong has no poles and decays exponentially.
    The substitution x = mode + sd * sinh t puts many nodes on a narrow peak and still reaches far into the tails.
    """
    t = np.linspace(-REACH, REACH, NODES)
    x = math.log(right / wrong) + math.sqrt((right + wrong) / (right * wrong)) * np.sinh(t)
    log_p, log_q = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    log_density = right * log_p + wrong * log_q
    mass = np.exp(log_density - log_density.max()) * np.cosh(t)
    return float((mass * difficulty_weight(np.exp(log_p), config)).sum() / mass.sum())
