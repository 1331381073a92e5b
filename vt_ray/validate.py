"""Every check that needs no machine: a bad value is refused before Ray starts, with its limit and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from vt_ray.config import (
    ADVANTAGE_NORMS,
    AGGREGATIONS,
    ATTENTIONS,
    CONTROLS,
    ESTIMATORS,
    OPTIMIZER_STATES,
    RATIOS,
    SAMPLINGS,
    SCHEDULES,
    SCHEDULES_OF_STEPS,
    TRANSPORTS,
    TRUNCATED,
    Config,
    ConfigError,
    GateConfig,
    OptimizerConfig,
    StageConfig,
)
from vt_ray.data.makers import LEVELS, STYLES, SUBDOMAINS
from vt_ray.placement import asked, gpus_asked, place
from vt_ray.sinks import MODULES
from vt_ray.spectrum_phase.fusion import fusion_weights
from vt_ray.verify.limits import BACKENDS

Problems = Iterator[str]


def validate(config: Config) -> None:
    """Raises one ConfigError that lists everything wrong."""
    checks = (_run, _model, _data, _cluster, _spectrum, _signal, _tracker, _curriculum, _evaluation, _verify, _tracking)
    found = [message for check in checks for message in check(config)]
    if found:
        raise ConfigError("\n       ".join(found))


def refuse_missing_gpus(config: Config) -> None:
    """A local run that asks for more GPUs than this machine has would wait for ever."""
    cluster = config.cluster
    if gpus_asked(cluster) == 0 or cluster.ray_address is not None:
        return
    import torch

    there = torch.cuda.device_count()
    if gpus_asked(cluster) > there:
        raise ConfigError(
            f"cluster asks for {asked(cluster)}, this machine has {there}: set cluster.ray_address=auto inside a Ray "
            "cluster that has them, or take cluster=local"
        )


def _run(c: Config) -> Problems:
    if not re.fullmatch(r"[\w.=,+\[\]{}:@%-]+", c.run_name) or c.run_name in (".", "..", "phases"):
        yield f"run_name={c.run_name!r} must be a plain folder name (and not 'phases'): letters, digits, . _ - ="
    if not 0 <= c.seed < 2**31:
        yield f"seed={c.seed} must lie in 0..2^31-1: choose a smaller one"


def _model(c: Config) -> Problems:
    m = c.model
    yield from _one_of("model.source", m.source, ("scratch", "smollm2", "hf"))
    yield from _one_of("model.dtype", m.dtype, ("float32", "bfloat16"))
    yield from _one_of("model.attention", m.attention, ATTENTIONS)
    if m.source == "hf" and not m.path:
        yield "model.path is empty: give the folder or hub name, model=hf model.path=..."
    if m.attention in ATTENTIONS[1:] and (m.dtype != "bfloat16" or not c.cluster.gpus_per_learner):
        yield f"model.attention={m.attention} needs model.dtype=bfloat16 and a GPU: take model.attention=sdpa"
    if m.attention in ATTENTIONS[1:] and c.learner.rows_per_batch > 1:
        yield (
            f"learner.rows_per_batch={c.learner.rows_per_batch} with model.attention={m.attention}: it tells "
            "packed sequences apart in a batch of one row only; set it to 1 and raise learner.row_tokens"
        )
    if m.attention == "torch_varlen" and c.learner.sequence_parallel_size > 1:
        yield (
            f"learner.sequence_parallel_size={c.learner.sequence_parallel_size} with model.attention=torch_varlen: a "
            "rank knows the bounds of its own slice only; take model.attention=sdpa"
        )
    if m.dtype == "bfloat16" and c.signal.sync.logprob_tolerance < 0.01:
        yield (
            f"signal.sync.logprob_tolerance={c.signal.sync.logprob_tolerance:g} is below the rounding of "
            "model.dtype=bfloat16 (about 0.01 nats): set it to 0.1; byte checksums stay exact"
        )
    if m.source == "scratch":
        yield from _scratch_shape(c)


def _scratch_shape(c: Config) -> Problems:
    m = c.model
    for name in ("hidden_size", "intermediate_size", "num_layers", "num_heads"):
        yield from _at_least(f"model.{name}", getattr(m, name), 1)
    if min(m.hidden_size, m.num_heads) < 1:
        return
    if m.hidden_size % m.num_heads or (m.hidden_size // m.num_heads) % 32:
        yield (
            f"model.hidden_size={m.hidden_size} over model.num_heads={m.num_heads} must give a multiple of 32: "
            "vLLM's attention takes no other head size"
        )
    if c.cluster.tensor_parallel_size > 0 and m.num_heads % c.cluster.tensor_parallel_size:
        yield (
            f"cluster.tensor_parallel_size={c.cluster.tensor_parallel_size} must divide model.num_heads={m.num_heads}: "
            "each worker holds whole heads"
        )
    if m.vocab_size < 260 + 4:
        yield f"model.vocab_size={m.vocab_size} is below 264 (256 bytes and 4 special tokens, with room): raise it"
    if c.context_tokens > m.max_position_embeddings:
        yield (
            f"data.max_prompt_tokens + the longest completion = {c.context_tokens} exceeds "
            f"model.max_position_embeddings={m.max_position_embeddings}: raise it, or shorten a stage"
        )


def _data(c: Config) -> Problems:
    d = c.data
    for subdomain in d.subdomains:
        yield from _one_of("data.subdomains", subdomain, SUBDOMAINS)
    if not d.levels:
        yield "data.levels is empty: give at least one of 1, 2, 3"
    for level in d.levels:
        yield from _one_of("data.levels", level, LEVELS)
    for split in ("train", "probe", "test"):
        count, files = getattr(d, f"{split}_per_subdomain"), getattr(d, f"{split}_files")
        yield from _at_least(f"data.{split}_per_subdomain", count, 0)
        if count == 0 and not files:
            yield f"data.{split}_per_subdomain=0 and data.{split}_files is empty: give problems for the {split} set"
        for source in files:
            if not Path(source.path).is_file():
                yield f"data.{split}_files: {source.path!r} is no file: give a parquet, .json or .jsonl file"
    yield from _at_least("data.max_prompt_tokens", d.max_prompt_tokens, 8)


def _cluster(c: Config) -> Problems:
    k = c.cluster
    for name in ("num_generators", "num_learners", "num_verifiers", "tensor_parallel_size", "kv_cache_gb"):
        yield from _at_least(f"cluster.{name}", getattr(k, name), 1)
    for name in ("generator_threads", "learner_threads", "max_num_seqs"):
        yield from _at_least(f"cluster.{name}", getattr(k, name), 1)
    for name in ("gpus_per_generator", "gpus_per_learner"):
        yield from _at_least(f"cluster.{name}", getattr(k, name), 0)
    if k.gpus_per_learner > 1:
        yield f"cluster.gpus_per_learner={k.gpus_per_learner}: a rank drives one GPU: raise num_learners"
    if k.gpus_per_generator and k.tensor_parallel_size != k.gpus_per_generator:
        yield (
            f"cluster.tensor_parallel_size={k.tensor_parallel_size} must equal the generator's GPUs "
            f"(cluster.gpus_per_generator={k.gpus_per_generator}): set both to the same number"
        )
    for name in ("cpus_per_actor", "object_store_gb", "startup_timeout_s", "resources_timeout_s"):
        if not getattr(k, name) > 0:
            yield f"cluster.{name}={getattr(k, name)} must be above 0"
    for name in ("cpu_hour_price", "gpu_hour_price"):
        yield from _at_least(f"cluster.{name}", getattr(k, name), 0)
    if not 0 < k.gpu_memory_utilization <= 1:
        yield f"cluster.gpu_memory_utilization={k.gpu_memory_utilization} must lie in (0, 1]: 0.85 is usual"
    yield from _placement(c)
    yield from _learner(c)


def _learner(c: Config) -> Problems:
    learner, size = c.learner, c.learner.sequence_parallel_size
    yield from _one_of("learner.zero_stage", learner.zero_stage, (0, 1, 2, 3))
    if learner.offload_optimizer and learner.zero_stage == 0:
        yield "learner.offload_optimizer=true needs ZeRO: set learner.zero_stage to 1, 2 or 3"
    if learner.offload_parameters and learner.zero_stage != 3:
        yield f"learner.offload_parameters=true needs learner.zero_stage=3, not {learner.zero_stage}"
    if learner.share_prompts and (size > 1 or learner.rows_per_batch > 1 or c.model.attention != "sdpa"):
        yield (
            f"learner.share_prompts=true with learner.sequence_parallel_size={size}, learner.rows_per_batch="
            f"{learner.rows_per_batch} and model.attention={c.model.attention}: its attention takes one "
            "row, on one rank; take 1, 1 and sdpa, and raise learner.row_tokens"
        )
    if learner.compile and (learner.zero_stage == 3 or size > 1):
        yield (
            f"learner.compile=true with learner.zero_stage={learner.zero_stage} and learner.sequence_parallel_size="
            f"{size}: gathers and exchanges inside a layer are not compiled; take zero_stage <= 2 and size 1"
        )
    for name, limit in (("row_tokens", 16), ("rows_per_batch", 1), ("logprob_chunk_tokens", 1)):
        yield from _at_least(f"learner.{name}", getattr(learner, name), limit)
    yield from _at_least("learner.sequence_parallel_size", size, 1)
    if size <= 1:
        return
    if c.cluster.num_learners % size:
        yield (
            f"learner.sequence_parallel_size={size} does not divide cluster.num_learners={c.cluster.num_learners}: "
            f"{size} ranks share each row"
        )
    if learner.rows_per_batch != 1:
        yield (
            f"learner.rows_per_batch={learner.rows_per_batch} with learner.sequence_parallel_size={size}: ranks share "
            "one row at a time; set it to 1"
        )
    if c.signal.mgpo.ratio == "sequence":
        yield (
            f"signal.mgpo.ratio=sequence with learner.sequence_parallel_size={size}: a rank holds a slice of each "
            "sequence only; take ratio=token, or size 1"
        )


def _placement(c: Config) -> Problems:
    k = c.cluster
    yield from _at_least("cluster.num_nodes", k.num_nodes, 1)
    yield from _at_least("cluster.gpus_per_node", k.gpus_per_node, 0)
    if k.num_nodes > 1 and not k.gpus_per_node and gpus_asked(k):
        yield f"cluster.num_nodes={k.num_nodes} with cluster.gpus_per_node=0: say how many GPUs a node has, 8 is usual"
    elif min(k.num_nodes, k.num_generators, k.num_learners) > 0:
        try:
            place(k)
        except ConfigError as error:
            yield str(error)
    if not k.colocate:
        return
    if k.num_generators != k.num_learners or k.gpus_per_generator != k.gpus_per_learner or k.gpus_per_generator > 1:
        yield (
            f"cluster.colocate pairs a generator with a learner rank on one GPU, but cluster asks for {asked(k)}: set "
            "num_generators = num_learners and gpus_per_generator = gpus_per_learner = 1 (0 rehearses without a GPU)"
        )
    if c.learner.zero_stage not in (1, 2):
        yield (
            f"learner.zero_stage={c.learner.zero_stage} with cluster.colocate: DeepSpeed puts its states aside under "
            "ZeRO 1 and 2, and under 3 with its own fused Adam only, which is not built here: set it to 1 or 2"
        )


def _spectrum(c: Config) -> Problems:
    sft, probe = c.spectrum.sft, c.spectrum.probe
    for name in ("steps", "batch_size", "checkpoint_every", "max_tokens"):
        yield from _at_least(f"spectrum.sft.{name}", getattr(sft, name), 1)
    if c.data.train_per_subdomain and not c.data.train_files:
        for style in sft.styles:
            yield from _one_of("spectrum.sft.styles", style, STYLES)
    yield from _optimizer("spectrum.sft.optimizer", sft.optimizer)
    yield from _pass_at_k("spectrum.probe", probe.k, probe.samples)
    yield from _sampling("spectrum.probe", probe.temperature, probe.top_p, probe.max_new_tokens)
    if c.spectrum.fusion.weights and not c.data.probe_files:
        try:
            fusion_weights(c.spectrum.fusion.weights, sorted(c.data.subdomains))
        except ConfigError as error:
            yield str(error)


def _signal(c: Config) -> Problems:
    s = c.signal
    if not 0 <= s.mgpo.lam < float("inf"):
        yield f"signal.mgpo.lam={s.mgpo.lam} must be finite and >= 0: 0 is GRPO, the sweep is 0, 0.5, 1, 2"
    if not 0 < s.mgpo.clip_low < 1 or not s.mgpo.clip_high > 0:
        yield (
            f"signal.mgpo.clip_low={s.mgpo.clip_low} must lie in (0, 1) and clip_high={s.mgpo.clip_high} above 0: "
            "0.2 and 0.2 are usual"
        )
    yield from _one_of("signal.mgpo.ratio", s.mgpo.ratio, RATIOS)
    yield from _one_of("signal.mgpo.aggregation", s.mgpo.aggregation, AGGREGATIONS)
    yield from _one_of("signal.mgpo.advantage_norm", s.mgpo.advantage_norm, ADVANTAGE_NORMS)
    for name in ("kl_coef", "importance_cap"):
        yield from _at_least(f"signal.mgpo.{name}", getattr(s.mgpo, name), 0)
    yield from _one_of("signal.schedule", s.schedule, SCHEDULES_OF_STEPS)
    yield from _at_least("signal.max_staleness", s.max_staleness, 1)
    if s.schedule == "pipelined" and c.cluster.colocate:
        yield (
            "signal.schedule=pipelined with cluster.colocate=true: a GPU that is shared cannot generate while it "
            "learns; take signal.schedule=on_policy, or a cluster whose generators have GPUs of their own"
        )
    if not 0 <= s.seed < 2**31:
        yield f"signal.seed={s.seed} must lie in 0..2^31-1: choose a smaller one"
    yield from _one_of("signal.control", s.control, CONTROLS)
    if s.control == "sft":
        yield from _at_least("signal.control_sft_steps", s.control_sft_steps, 1)
    yield from _optimizer("signal.optimizer", s.optimizer)
    yield from _at_least("signal.checkpoint_every", s.checkpoint_every, 1)
    yield from _at_least("signal.keep_checkpoints", s.keep_checkpoints, 1)
    yield from _at_least("signal.sync.probe_tokens", s.sync.probe_tokens, 2)
    yield from _at_least("signal.sync.bucket_mb", s.sync.bucket_mb, 1)
    yield from _transport(c)
    if not s.sync.logprob_tolerance > 0:
        yield f"signal.sync.logprob_tolerance={s.sync.logprob_tolerance} must be above 0: 1e-3 for float32"


def _tracker(c: Config) -> Problems:
    yield from _one_of("tracker.estimator", c.tracker.estimator, ESTIMATORS)
    if not 0 < c.tracker.decay <= 1:
        yield f"tracker.decay={c.tracker.decay} must lie in (0, 1]: 1 never forgets, 0.9 halves a count in 7 versions"
    if not c.tracker.prior > 0:
        yield f"tracker.prior={c.tracker.prior} must be above 0: 1 is a uniform prior"


def _transport(c: Config) -> Problems:
    k, transport = c.cluster, c.signal.sync.transport
    yield from _one_of("signal.sync.transport", transport, TRANSPORTS)
    if transport in ("nccl", "ipc") and not (k.gpus_per_generator and k.gpus_per_learner):
        yield (
            f"signal.sync.transport={transport} carries weights from GPU to GPU, but cluster asks for {asked(k)}: give "
            "generators and learners GPUs, or set it to auto or object_store"
        )
    elif transport == "nccl" and k.colocate:
        yield (
            "signal.sync.transport=nccl with cluster.colocate: two of its ranks would share a GPU, which NCCL refuses: "
            "set it to auto, ipc or object_store"
        )
    elif transport == "ipc" and not k.colocate:
        yield (
            "signal.sync.transport=ipc without cluster.colocate: a generator can only open the memory of a learner on "
            "its own GPU: set it to auto, nccl or object_store"
        )


def _curriculum(c: Config) -> Problems:
    stages = c.curriculum.stages
    if not stages:
        yield "curriculum.stages is empty: give at least one stage"
    names = [stage.name for stage in stages]
    taken = {"base", "sft_last", "sft_best", "fused"}
    for name in names:
        if names.count(name) > 1 or name in taken or not re.fullmatch(r"[\w-]+", name):
            yield f"curriculum stage name {name!r} must be unique, of letters, digits, _ - and none of {sorted(taken)}"
    for stage in stages:
        at = f"curriculum.stages[{stage.name}]"
        yield from _at_least(f"{at}.steps", stage.steps, 1)
        yield from _at_least(f"{at}.prompts_per_step", stage.prompts_per_step, 1)
        yield from _sampling(at, stage.temperature, stage.top_p, stage.max_new_tokens)
        if stage.group_size < 2:
            yield f"{at}.group_size={stage.group_size}: a group of one has no advantage; take at least 2, 8 is usual"
        if stage.top_p != 1.0:
            yield f"{at}.top_p={stage.top_p}: the importance ratio needs untruncated sampling; set it to 1"
        yield from _stage_options(at, stage, c)
        made_only = bool(c.data.train_per_subdomain) and not c.data.train_files
        for subdomain in stage.subdomains if made_only else ():
            yield from _one_of(f"{at}.subdomains", subdomain, tuple(c.data.subdomains))
        pool = c.data.train_per_subdomain * len(set(stage.subdomains or c.data.subdomains) & set(c.data.subdomains))
        if not c.data.train_files and stage.prompts_per_step > pool:
            yield (
                f"{at}.prompts_per_step={stage.prompts_per_step} exceeds its pool of {pool} training problems: "
                "raise data.train_per_subdomain, or check the stage's subdomains"
            )


def _stage_options(at: str, stage: StageConfig, c: Config) -> Problems:
    yield from _one_of(f"{at}.optimizer_state", stage.optimizer_state, OPTIMIZER_STATES)
    if stage.optimizer_state == "keep" and stage is c.curriculum.stages[0]:
        yield f"{at}.optimizer_state=keep: the first stage has none before it; set it to reset"
    yield from _one_of(f"{at}.truncated", stage.truncated, TRUNCATED)
    yield from _one_of(f"{at}.sampling", stage.sampling, SAMPLINGS)
    if stage.sampling == "tracker" and c.signal.schedule == "pipelined":
        yield (
            f"{at}.sampling=tracker with signal.schedule=pipelined: questions begun ahead would depend on when; set "
            "sampling=shuffle or schedule=on_policy"
        )
    if stage.lam is not None and not 0 <= stage.lam < float("inf"):
        yield f"{at}.lam={stage.lam} must be finite and >= 0: 0 is GRPO"
    if stage.lr is not None and not 0 < stage.lr < 1:
        yield f"{at}.lr={stage.lr} must lie in (0, 1): 1e-6 is usual for RL on a pretrained model"
    if not 0 <= stage.length_reward < 1:
        yield (
            f"{at}.length_reward={stage.length_reward} must lie in [0, 1): 0.2 is Long2Short's, and at 1 a long right "
            "answer would be worth no more than a wrong one"
        )
    if stage.filter_samples and stage.filter_samples < 2:
        yield f"{at}.filter_samples={stage.filter_samples}: one sample is right or wrong always; take 8, or 0 for none"
    yield from _at_least(f"{at}.filter_samples", stage.filter_samples, 0)
    yield from _at_least(f"{at}.refill_rounds", stage.refill_rounds, 0)
    yield from _gate(f"{at}.gate", stage.gate, c)


def _gate(at: str, gate: GateConfig, c: Config) -> Problems:
    for name in ("min_steps", "eval_every", "plateau_evals", "plateau_delta"):
        yield from _at_least(f"{at}.{name}", getattr(gate, name), 0)
    for name in ("samples", "window"):
        yield from _at_least(f"{at}.{name}", getattr(gate, name), 1)
    for name in ("target", "max_truncated_share"):
        if not 0 <= getattr(gate, name) <= 1:
            yield f"{at}.{name}={getattr(gate, name)} must lie in [0, 1]"
    if (gate.target or gate.plateau_evals) and not gate.eval_every:
        yield f"{at} looks at held-out accuracy but {at}.eval_every=0 never measures it: set it to 5, say"


def _evaluation(c: Config) -> Problems:
    e = c.evaluation
    yield from _pass_at_k("evaluation", e.k, min(e.samples, e.code_samples))
    yield from _sampling("evaluation", e.temperature, e.top_p, e.max_new_tokens)
    yield from _sampling("evaluation (code)", e.code_temperature, e.top_p, e.max_new_tokens)


def _verify(c: Config) -> Problems:
    for name in ("test_timeout_s", "completion_timeout_s", "memory_mb", "output_kb", "math_timeout_s"):
        value = getattr(c.verify, name)
        if not value > 0:
            yield f"verify.{name}={value} must be above 0"
    sandbox = c.verify.sandbox
    yield from _one_of("verify.sandbox.backend", sandbox.backend, ("auto", *BACKENDS, "remote"))
    if (sandbox.backend == "remote") != bool(sandbox.remote_url):
        yield (
            f"verify.sandbox.backend={sandbox.backend} with verify.sandbox.remote_url={sandbox.remote_url!r}: "
            "a remote sandbox needs both backend=remote and the server's address"
        )
    if sandbox.recycle_after < 1:
        yield f"verify.sandbox.recycle_after={sandbox.recycle_after} must be at least 1"


def _tracking(c: Config) -> Problems:
    t = c.tracking
    for sink in t.sinks:
        yield from _one_of("tracking.sinks", sink, tuple(MODULES))
        if t.sinks.count(sink) > 1:
            yield f"tracking.sinks={t.sinks} names {sink} more than once: once is enough"
        for module in MODULES.get(sink, ()):
            if find_spec(module) is None:
                yield (
                    f"tracking.sinks={t.sinks} needs the module {module}, which is not installed: "
                    "pip install 'vt-ray[tracking]', or leave it out"
                )
    yield from _one_of("tracking.wandb_mode", t.wandb_mode, ("online", "offline"))
    if not t.project:
        yield "tracking.project is empty: name W&B's project and MLflow's experiment, such as vt_ray"
    if t.mlflow_uri and ("://" not in t.mlflow_uri or t.mlflow_uri.startswith("file:")):
        yield (
            f"tracking.mlflow_uri={t.mlflow_uri!r} must be a server or a database (MLflow no longer writes plain "
            "folders): http://host:5000, sqlite:////folder/mlflow.db, or empty for mlflow.db in the run's folder"
        )


def _optimizer(at: str, o: OptimizerConfig) -> Problems:
    if not 0 < o.lr < 1:
        yield f"{at}.lr={o.lr} must lie in (0, 1): 1e-6 is usual for RL on a pretrained model"
    yield from _one_of(f"{at}.schedule", o.schedule, SCHEDULES)
    if not 0 <= o.min_lr_ratio <= 1:
        yield f"{at}.min_lr_ratio={o.min_lr_ratio} must lie in [0, 1]: 1 is a constant rate"
    if len(o.betas) != 2 or not all(0 <= b < 1 for b in o.betas):
        yield f"{at}.betas={o.betas} must be two numbers in [0, 1)"
    yield from _at_least(f"{at}.warmup_steps", o.warmup_steps, 0)
    yield from _at_least(f"{at}.weight_decay", o.weight_decay, 0)
    if not o.max_grad_norm > 0:
        yield f"{at}.max_grad_norm={o.max_grad_norm} must be above 0: 1.0 is usual"


def _pass_at_k(at: str, k: int, samples: int) -> Problems:
    if not 1 <= k <= samples:
        yield f"{at}.k={k} must lie in 1..{at}.samples={samples}: draw more samples or lower k"


def _sampling(at: str, temperature: float, top_p: float, max_new_tokens: int) -> Problems:
    if not temperature > 0:
        yield f"{at}.temperature={temperature} must be above 0: samples of one question must differ"
    if not 0 < top_p <= 1:
        yield f"{at}.top_p={top_p} must lie in (0, 1]"
    yield from _at_least(f"{at}.max_new_tokens", max_new_tokens, 1)


def _at_least(name: str, value: float, limit: float) -> Problems:
    if not value >= limit:
        yield f"{name}={value} must be at least {limit}"


def _one_of(name: str, value: object, allowed: tuple) -> Problems:
    if value not in allowed:
        yield f"{name}={value!r} must be one of {', '.join(map(str, allowed))}"
