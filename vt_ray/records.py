"""The data that pass between the packages: frozen records with little behaviour and no heavy imports.

Problem --> Prompt --> Rollouts (one question's completions) --> GradedGroup --> update
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Kind = str  # a name in verify.kinds.KINDS, or in the setting verify.kinds
Status = Literal["correct", "wrong", "unverified"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Solution:
    """A worked solution for SFT. `style` names the kind of solution; a question may have several."""

    style: str
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with an answer that can be checked.

    `question` is the text alone; the chat template and the answer suffix are added later.
    `answer` is the gold answer (LaTeX for math, a letter for choice, "" for code).
    `tests` is None except for code: see `verify/programs/test_forms.py`.
    `source` is "builtin" for the made problems, else the file it was read from, and `row` its row there, from 1.
    `system` is the system message of its chat, "" for none.
    `prompt` is the whole user message, where the data set prescribes it; "" if it is the question and the suffix.
    `fields` are all fields of its row, for a kind of the setting verify.kinds; None for other kinds.
    `options` are the texts of the options A, B, ... of a choice, which stand in the question too; () for none.
    `meta` holds the short values of its row that are not its id, the question, the answer, a solution or the tests, by
    field name: source, difficulty, solve rate, date, licence; None for a made problem. Problems share equal dicts:
    they must not be changed.
    `tolerance` is the relative difference from the gold number up to which a math answer is correct; 0: exactly equal.
    `reasoning_open` is True if the prompt ends with `<think>`: its completions begin inside the reasoning.
    """

    question_id: str
    subdomain: str
    kind: Kind
    question: str
    answer: str = ""
    tests: dict[str, Any] | None = None
    solutions: tuple[Solution, ...] = ()
    level: int = 1
    source: str = "builtin"
    row: int = 0
    system: str = ""
    prompt: str = ""
    fields: dict[str, Any] | None = None
    options: tuple[str, ...] = ()
    meta: dict[str, Any] | None = None
    tolerance: float = 0.0
    reasoning_open: bool = False

    @property
    def place(self) -> str:
        """Where the problem stands, for a message: file and row, or the id of a made problem."""
        return f"{self.source}, row {self.row}" if self.row else self.question_id


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling settings. `top_k` 0 is off; `max_tokens` is the limit of new tokens.

    With `logprobs` False, `Completion.rollout_logprobs` may be empty: only an update needs them, and the engine
    normalises over the whole vocabulary for each of them.
    """

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    logprobs: bool = True


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question for a generator: one completion for each of `seeds`. `step` is the training step that asks."""

    problem: Problem
    token_ids: tuple[int, ...]
    seeds: tuple[int, ...]
    step: int = 0


# eq=False: arrays have no truth value, so completions are compared by identity.
@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """One sampled completion.

    `token_ids` is int32 [tokens]. `rollout_logprobs` is float32 [tokens]: the engine's log-probability of each token
    when it was sampled, after temperature, in nats; empty if they were not asked for. Actors share both arrays without
    a copy and must not write to them.
    `version_runs` lists (weight version, number of tokens) in order; it has one entry unless the weights changed
    during the completion.
    """

    sample: int
    token_ids: np.ndarray
    rollout_logprobs: np.ndarray
    text: str
    finish_reason: FinishReason
    version_runs: tuple[tuple[int, int], ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Rollouts:
    """One question with its group of completions, from a generator."""

    problem: Problem
    prompt_token_ids: tuple[int, ...]
    completions: tuple[Completion, ...]
    step: int = 0
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of grading one completion.

    "unverified" means that the verifier failed: the completion is invalid, which is not the same as wrong. retry=True
    marks a transient failure, such as a lost process, that is worth trying on another worker. It is False if the
    problem itself cannot be graded.
    """

    status: Status
    reason: str = ""
    seconds: float = 0.0
    retry: bool = False

    @property
    def valid(self) -> bool:
        return self.status != "unverified"

    @property
    def reward(self) -> float:
        return 1.0 if self.status == "correct" else 0.0


@dataclass(frozen=True, slots=True)
class GradedGroup:
    """A graded group as the driver sees it: verdicts and lengths, one for each completion, without the tokens.

    `rollouts` is the cluster's handle of the `Rollouts`: a Ray ObjectRef, or the record itself. `first_versions` are
    the weight versions of the completions' first tokens. With `mask_truncated` a truncated completion is invalid, like
    a completion without a verdict.
    """

    question_id: str
    subdomain: str
    verdicts: tuple[Verdict, ...]
    prompt_tokens: int
    completion_tokens: tuple[int, ...]
    truncated: tuple[bool, ...]
    rollouts: Any = field(repr=False)
    step: int = 0
    first_versions: tuple[int, ...] = ()
    mask_truncated: bool = False

    @property
    def rewards(self) -> tuple[float, ...]:
        return tuple(v.reward for v in self.verdicts)

    @property
    def valid(self) -> tuple[bool, ...]:
        masked = (self.mask_truncated and cut for cut in self.truncated)
        return tuple(v.valid and not m for v, m in zip(self.verdicts, masked, strict=True))


@dataclass(frozen=True, slots=True)
class AdvantageConfig:
    """The settings of a stage's advantages."""

    # Lambda of w_ME (arXiv 2511.06221, section 3.4), at least 0. 0 is GRPO. Unused by other weights.
    lam: float
    # "std" divides by the standard deviation of the group's rewards, "none" does not (Dr. GRPO).
    advantage_norm: str = "std"
    # The share of Long2Short (arXiv 2606.16140). 0: off.
    length_reward: float = 0.0
    # The name of the weight, in `algorithms.weights.WEIGHTS`, or an import path. `lam` is that of "mgpo".
    weight: str = "mgpo"
    # Completions of a question.
    group_size: int = 8
    # The K of Pass@K advantages (arXiv 2505.15201). 0: off.
    pass_k: int = 0
    # Tokens before `max_new_tokens` over which the reward falls (arXiv 2503.14476, equation 13). 0: off.
    overlong_buffer: int = 0
    max_new_tokens: int = 0


@dataclass(frozen=True, slots=True)
class GroupAdvantages:
    """Accuracy, weight and advantages of a graded group (arXiv 2511.06221, section 3.4)."""

    # p_c of the current group; None if no completion is valid.
    accuracy: float | None
    # The weight, w_ME by default, or its expectation for the estimator "history"; 0 if no completion is valid.
    weight: float
    # A' = weight * A of each completion, in order; 0 for an invalid completion.
    advantages: tuple[float, ...]
    # The accuracy behind the weight: p_c, or the posterior mean for the estimator "history".
    estimate: float | None = None
