"""The data that pass between the rooms: plain frozen records without behaviour and without heavy imports.

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
    """One worked solution. `style` names the way of working: a spectrum has several for a question."""

    style: str
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with a checkable answer.

    `question` is the bare text; the chat template and the answer suffix are added later.
    `answer` is the gold answer (LaTeX for math, a letter for choice, "" for code).
    `tests` is None except for code: see `verify/programs/test_forms.py`.
    `source` is "builtin" for the made problems, else the file it was read from, and `row` its row there, from 1.
    `system` is the system message of its chat, "" for none.
    `fields` are all fields of its row, for a kind of the setting verify.kinds; None for other kinds.
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
    fields: dict[str, Any] | None = None

    @property
    def place(self) -> str:
        """Where the problem stands, for a message: file and row, or the id of a made problem."""
        return f"{self.source}, row {self.row}" if self.row else self.question_id


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn. `top_k` 0 is off; `max_tokens` bounds the new tokens."""

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question for a generator: a completion for each of `seeds`. `step` is the step that asks for it."""

    problem: Problem
    token_ids: tuple[int, ...]
    seeds: tuple[int, ...]
    step: int = 0


# An array has no truth value: two completions are equal where they are the same one.
@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """One sampled answer. `rollout_logprobs[t]` is the engine's log-probability of `token_ids[t]`
    after temperature, in nats, as sampled: int32 and float32 [tokens], which actors share without a copy and must not
    write to. `version_runs` says under which weights: (version, number of tokens), in order, over all tokens; one run
    unless weights changed under it."""

    sample: int
    token_ids: np.ndarray
    rollout_logprobs: np.ndarray
    text: str
    finish_reason: FinishReason
    version_runs: tuple[tuple[int, int], ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Rollouts:
    """One question with its group of completions, as a generator yields it."""

    problem: Problem
    prompt_token_ids: tuple[int, ...]
    completions: tuple[Completion, ...]
    step: int = 0
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """`unverified` is the verifier's own failure: it counts nowhere, and is never a wrong answer.

    `retry` is True where another verifier may well decide the completion, since a process was lost, say. It is False
    where the problem itself cannot be graded.
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
    """A graded question as the driver sees it: verdicts and lengths, the tokens stay behind `rollouts`.

    `rollouts` is the cluster's handle for a `Rollouts` (a Ray ObjectRef, or the record itself).
    `first_versions` are the weight versions of the completions' first tokens, the oldest in each.
    With `mask_truncated` a completion that was cut off counts nowhere, as one without a verdict.
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
    """How a stage weighs its groups: lambda, the advantages' norm (ADVANTAGE_NORMS), Long2Short's share."""

    lam: float
    advantage_norm: str = "std"
    length_reward: float = 0.0


@dataclass(frozen=True, slots=True)
class GroupAdvantages:
    """What the tracker makes of a graded group (section 3.4): p_c, w_ME and the weighted advantages A'.

    A group without any verdict has no p_c (None) and weight 0: it counts nowhere. `estimate` is the accuracy that the
    weight was computed for: p_c itself, or the mean of the question's posterior.
    """

    accuracy: float | None
    weight: float
    advantages: tuple[float, ...]
    estimate: float | None = None
