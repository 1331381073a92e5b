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


class RolloutFigures(TypedDict):
    """Figures of all completions of the step, including completions that no update used. Shares are in [0, 1]."""

    reward_mean: float
    # The number of questions with 0, 1, ..., G correct answers of G.
    p_c_histogram: list[int]
    no_signal_share: float
    truncated_share: float
    unverified: int
    reasons: dict[str, int]
    completion_tokens_mean: float
    completion_tokens_p10: float
    completion_tokens_p90: float
    tokens: int


class BatchFigures(TypedDict):
    """Refills of the batch, and staleness: weight versions since the first token of a completion."""

    refill_rounds: int
    replaced_groups: int
    staleness_mean: float
    staleness_max: int


class UpdateFigures(TypedDict):
    """Figures of the learner. Entropy, KL and log-probabilities are in nats per token.

    `trainable_share` is the share of the parameters that train. `memory_gb_max` is the peak memory of the fullest rank
    so far: tensors on its GPU, or its whole process on a CPU, in units of 1e9 bytes.
    """

    loss: float
    entropy: float  # not a number in a step without an updated token
    clip_share: float
    rollout_kl: float
    logprob_gap_max: float
    grad_norm: float
    skipped: bool
    learning_rate: float
    updated_tokens: float
    updated_completions: float
    consumed_digest: float
    # Absent in the lines of older runs.
    trainable_share: NotRequired[float]
    memory_gb_max: NotRequired[float]
    # Present only if the option of the loss is on.
    importance_capped_share: NotRequired[float]
    importance_masked_share: NotRequired[float]
    reference_kl: NotRequired[float]
    clip_low_share: NotRequired[float]
    clip_high_share: NotRequired[float]
    clip_dual_share: NotRequired[float]
    entropy_coef: NotRequired[float]
    # Absent in the lines of older runs: entropy in each quarter of the completions, nats a token, and the share of
    # tokens whose covariance of log-probability and advantage is above 1.
    entropy_q1: NotRequired[float]
    entropy_q2: NotRequired[float]
    entropy_q3: NotRequired[float]
    entropy_q4: NotRequired[float]
    high_covariance_share: NotRequired[float]


class SpeedFigures(TypedDict):
    tokens_per_second: float
    generated_tokens_per_second: float
    updated_tokens_per_second: float
    # Of the update: the share of padding among its tokens, and of the GPUs' peak (None if the peak is not known).
    padding_share: NotRequired[float]
    mfu: NotRequired[float | None]


class EngineFigures(TypedDict):
    """The engine's own counters during the step, of one generator or of all (docs/monitoring.md).

    `running` and `waiting` are means over the engine steps; `waiting` sequences are in the engine's queue or before it.
    `kv_usage_max` is the largest share of the KV cache in use. `decode_tokens_per_second` divides the sampled tokens by
    the seconds of engine steps. `memory_gb_max` is the peak of tensors on the generator's GPU so far, in units of 1e9
    bytes. A figure is None if it is not known: a memory on a CPU, a share of no tokens.
    """

    engine_steps: int
    running: float
    waiting: float
    kv_usage_max: float
    preemptions: int
    prefix_hit_share: float | None
    decode_tokens_per_second: float | None
    memory_gb_max: float | None


class SkippedFigures(TypedDict):
    """Whether this step made no update, and the number of such steps of the stage so far."""

    skipped: bool
    skipped_steps: int


class GateCost(TypedDict):
    """Cost of measuring the probe accuracy after this step."""

    seconds: float
    tokens: int


class GateFigures(TypedDict):
    """Only in steps at which the gate was due. `probe_accuracy` is None if no completion has a verdict."""

    probe_accuracy: float | None
    gate: GateCost


class EvaluationFigures(TypedDict):
    """Only in steps at which signal.evaluate_every was due: Pass@1 with its 95% interval, and the cost."""

    pass_at_1: float
    low: float
    high: float
    seconds: float
    tokens: int


class StepLine(RolloutFigures, BatchFigures, UpdateFigures, SpeedFigures):
    """The line of one RL step. The figures of a user's loss add keys `loss_<name>`, which are not listed here."""

    phase: str
    stage: str
    step: int
    weight_version: int
    seconds: StepSeconds
    sync: SyncFigures
    verify: VerifyFigures
    # The share of the step that each actor worked.
    busy: dict[str, float]
    # The engine's counters: over all generators, and of each one. Absent if the engine has none.
    generation: NotRequired[EngineFigures]
    generators: NotRequired[dict[str, EngineFigures]]
    # Added at the end of the step.
    skipped_steps: NotRequired[int]
    probe_accuracy: NotRequired[float | None]
    gate: NotRequired[GateCost]
    evaluation: NotRequired[EvaluationFigures]
