"""StepLine: the line of metrics.jsonl that each RL step writes.

`signal_phase/step_record.py` makes it; report/, tracking/ and the audit read it. A line of an older run may lack keys,
so readers of old runs take it as a plain mapping (`report/metrics.py`). JSON has no NaN: a figure that is not finite is
null in the file.
"""

from typing import NotRequired, TypedDict


class StepSeconds(TypedDict):
    """Seconds of one step by part; the parts sum to `total`.

    `verify` is the verification time after the last group was generated. In the pipelined schedule it is 0 and
    `generate` is the time that the step waited for its groups.
    """

    generate: float
    verify: float
    update: float
    sync: float
    rest: float
    total: float


class SyncFigures(TypedDict):
    """The weight sync at the end of the step: the new version, and the largest gap of the fingerprint in nats."""

    version: int
    seconds: float
    bytes: int
    logprob_gap: float
    retried: bool


class KindSeconds(TypedDict):
    """Percentiles of the seconds that one completion took in the verifier."""

    count: int
    p50: float
    p95: float
    p99: float


class VerifyFigures(TypedDict):
    """Verification of the step's completions. `verdicts` and `reasons` are shares of all completions."""

    completions: int
    seconds: dict[str, KindSeconds]
    verdicts: dict[str, float]
    reasons: dict[str, float]
    retries: int
    respawns: int
    backend: dict[str, int]


class GateCost(TypedDict):
    """Cost of measuring the probe accuracy after this step."""

    seconds: float
    tokens: int


class StepLine(TypedDict):
    """Figures of one RL step. Shares are in [0, 1]; log-probabilities, entropy and KL are in nats per token."""

    phase: str
    stage: str
    step: int
    weight_version: int
    # All completions of the step, including those that no update used.
    reward_mean: float
    p_c_histogram: list[int]
    no_signal_share: float
    truncated_share: float
    unverified: int
    reasons: dict[str, int]
    completion_tokens_mean: float
    completion_tokens_p10: float
    completion_tokens_p90: float
    tokens: int
    # The batch. Staleness counts weight versions since a completion's first token.
    refill_rounds: int
    replaced_groups: int
    staleness_mean: float
    staleness_max: int
    # The update.
    loss: float
    entropy: float
    clip_share: float
    rollout_kl: float
    logprob_gap_max: float
    grad_norm: float
    skipped: bool
    skipped_steps: int
    learning_rate: float
    updated_tokens: int
    updated_completions: int
    consumed_digest: int
    # Options of the loss: present only if the option is on.
    importance_capped_share: NotRequired[float]
    reference_kl: NotRequired[float]
    clip_low_share: NotRequired[float]
    clip_high_share: NotRequired[float]
    clip_dual_share: NotRequired[float]
    # Time and speed. `busy` is the share of the step that each actor worked.
    seconds: StepSeconds
    tokens_per_second: float
    generated_tokens_per_second: float
    updated_tokens_per_second: float
    sync: SyncFigures
    verify: VerifyFigures
    busy: dict[str, float]
    # Only steps at which the stage's gate was due. `probe_accuracy` is None if no completion has a verdict.
    probe_accuracy: NotRequired[float | None]
    gate: NotRequired[GateCost]
