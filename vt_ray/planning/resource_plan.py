"""The plan that `dry_run=true` prints: CPUs, GPUs and memory of each actor; steps and tokens of each phase.

generator_share also decides, when a run starts, if both sides of a shared GPU stay in its memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from vt_ray.algorithms.learning_rate import with_steps
from vt_ray.config import Config, ConfigError, StageConfig, weight_label
from vt_ray.data.problem_sets import ProblemSets, of_stage
from vt_ray.data.traces.trace import TRACE_STYLE
from vt_ray.evaluation.claims import CLAIMS, reply_tokens
from vt_ray.planning.learner_memory import BYTES, adapter_count, awake_learner_gb, learner_bytes, parameters
from vt_ray.planning.placement import Bundle, place
from vt_ray.run.identity import config_hash
from vt_ray.run.milestone_names import (
    SECOND,
    SELF_DISTIL,
    SpectrumStage,
    named_models,
    planned,
    rejection_models,
    spectrum_stages,
)
from vt_ray.spectrum_phase.groups import grouped
from vt_ray.verify.kinds import kind_entry

# GB of one GPU for the CUDA contexts of two processes, DeepSpeed's reduction buckets and vLLM's CUDA graphs.
RESERVE_GB = 6.0


@dataclass(frozen=True)
class ActorPlan:
    """All actors of one kind. `cpus`, `gpus` and `memory_gb` are for each of the `count` actors."""

    kind: str
    count: int
    cpus: float
    gpus: int
    memory_gb: float
    memory_of: str


@dataclass(frozen=True)
class PhasePlan:
    """One phase. `tokens` is the largest number that it can generate or train on."""

    name: str
    steps: int
    tokens: int
    what: str


def generator_share(config: Config, folder: Path, gpu_gb: float) -> tuple[bool, float]:
    """Decide if a generator and a learner rank take turns on a GPU of `gpu_gb`. Also returns the generator's share.

    With `cluster.take_turns=auto` both stay on the GPU if the learner leaves the generator at least half of
    `cluster.gpu_memory_utilization`: a smaller KV cache costs less than to move all states to host memory and back in
    every step. Raises ConfigError for take_turns=never if the learner leaves nothing.
    """
    k = config.cluster
    if not k.colocate:
        return False, k.gpu_memory_utilization
    if k.take_turns == "always" or not k.gpus_per_learner:
        return True, k.gpu_memory_utilization
    learner_gb = awake_learner_gb(config, folder)
    left = min(k.gpu_memory_utilization, (gpu_gb - learner_gb - RESERVE_GB) / gpu_gb)
    if k.take_turns == "never" and left <= 0:
        raise ConfigError(
            f"cluster.take_turns=never: the learner needs {learner_gb:.0f} GB and {RESERVE_GB:.0f} GB are reserved, "
            f"the GPU has {gpu_gb:.0f} GB: take auto or always, or lower learner.row_tokens"
        )
    if k.take_turns == "never" or left >= k.gpu_memory_utilization / 2:
        return False, left
    return True, k.gpu_memory_utilization


def actor_plan(config: Config) -> list[ActorPlan]:
    """The actors of each kind that the run has. The memory is that of weights and optimizer states, without
    activations."""
    k = config.cluster
    size = parameters(config)
    weights = size * BYTES[config.model.dtype] / k.tensor_parallel_size / 1e9 if size else float("nan")
    adapters = adapter_count(config)
    lora = f", LoRA rank {config.learner.lora.rank}" if config.learner.lora.rank else ""
    learner = learner_bytes(size, config, adapters) / 1e9 if size and k.num_learners else float("nan")
    engine = {"vllm": "vLLM"}.get(k.generation_engine, k.generation_engine)
    cache = f"weights + {k.gpu_memory_utilization:.0%} of the GPU" if k.gpus_per_generator else "weights + KV cache"
    kv = 0 if k.gpus_per_generator else k.kv_cache_gb
    plans = [
        ActorPlan(
            f"generator ({engine})", k.num_generators, k.cpus_per_actor, k.gpus_per_generator, weights + kv, cache
        ),
        ActorPlan(
            f"learner (DeepSpeed ZeRO-{config.learner.zero_stage}{lora})",
            k.num_learners,
            k.cpus_per_actor,
            k.gpus_per_learner,
            learner,
            "weights, gradients, AdamW",
        ),
        ActorPlan(
            "verifier",
            k.num_verifiers,
            k.cpus_per_actor,
            0,
            config.verify.memory_mb / 1024,
            "limit of a test",
        ),
        ActorPlan("tracker, recorder", 2, 0, 0, 0.3, "process"),
    ]
    return [plan for plan in plans if plan.count]


def placement_rows(config: Config) -> list[tuple[str, str, str]]:
    """Rows of node, GPU and actors: the actors of each GPU, then the actors of the node without a GPU.

    Ray may number nodes and GPUs differently, but it never separates actors that share a row.
    """
    rows: list[tuple[str, str, str]] = []
    taken: dict[int, int] = {}
    for bundle in place(config.cluster).bundles:
        rows += _bundle_rows(bundle, taken.get(bundle.node, 0))
        taken[bundle.node] = taken.get(bundle.node, 0) + bundle.gpus
    return [*rows, ("the driver's", "–", "tracker, recorder")]


def _bundle_rows(bundle: Bundle, first_gpu: int) -> list[tuple[str, str, str]]:
    using: dict[str, list[str]] = {}
    used = float(first_gpu)
    for request in sorted(bundle.requests, key=lambda request: -request.gpus):
        first, last = int(used), int(used + request.gpus - 0.5)
        gpu = "–" if not request.gpus else f"{first}-{last}" if last > first else str(first)
        using.setdefault(gpu, []).append(request.actor)
        used += request.gpus
    return [(str(bundle.node), gpu, ", ".join(actors)) for gpu, actors in using.items()]


def phase_plan(config: Config, problems: ProblemSets) -> list[PhasePlan]:
    """Every phase of the run with its steps and its largest number of tokens."""
    sft, e = config.spectrum.sft, config.evaluation
    phases = [phase for stage in spectrum_stages(asdict(config)) for phase in _spectrum_plan(stage, config, problems)]
    evaluations = len(planned(asdict(config)))
    if "rl" in config.phases and config.signal.control == "sft":
        steps = config.signal.control_sft_steps
        phases.append(PhasePlan("sft continued", steps, steps * sft.batch_size * sft.max_tokens, "in place of RL"))
    elif "rl" in config.phases:
        phases += [phase for stage in config.curriculum.stages for phase in _stage_plan(stage, problems)]
        if every := config.signal.evaluate_every:
            evaluations += sum(stage.steps // every for stage in config.curriculum.stages)
    if "rejection" in config.phases:
        phases += _rejection_plan(config, problems)
    if SELF_DISTIL in config.phases:
        phases.append(PhasePlan(SELF_DISTIL, 1, 0, f"{config.self_distil.epochs:g} epochs of the kept traces"))
    held_out = evaluations * sum(getattr(e, kind_entry(p.kind).evaluation[0]) for p in problems.test)
    if held_out or not problems.benchmarks:
        phases.append(PhasePlan("evaluate", evaluations, held_out * e.max_new_tokens, f"{e.samples} samples a problem"))
    for name, b, asked in [(b.name, b.benchmark, len(b.problems)) for b in problems.benchmarks]:
        tokens = evaluations * asked * b.samples * b.max_new_tokens
        what = f"{asked:,} problems x {b.samples}, {b.max_new_tokens:,} new tokens"
        phases.append(PhasePlan(f"evaluate {name}", evaluations, tokens, what))
        if e.vote == "clr" and not b.perturbation and b.kind != "code":
            replies = b.samples * (1 + CLAIMS)
            tokens = evaluations * asked * replies * reply_tokens(b.max_new_tokens)
            what = f"{asked:,} problems x {replies} replies, if no two samples agree"
            phases.append(PhasePlan(f"vote {name}", evaluations, tokens, what))
    return phases


def _rejection_plan(config: Config, problems: ProblemSets) -> Iterator[PhasePlan]:
    r, stages = config.rejection, {stage.name: stage for stage in config.curriculum.stages}
    for entry in rejection_models(asdict(config)):
        pool = len(of_stage(stages[entry], problems.train) if entry in stages else problems.train)
        asked = min(pool, r.problems) if r.problems else pool
        what = f"{asked:,} problems x {r.samples}, {r.max_new_tokens:,} new tokens"
        yield PhasePlan(f"rejection {named_models([entry])[0][0]}", 1, asked * r.samples * r.max_new_tokens, what)


def _stage_plan(s: StageConfig, problems: ProblemSets) -> Iterator[PhasePlan]:
    """The filter of a stage, its steps with all refill rounds, and the evaluations of its gate."""
    pool = len(of_stage(s, problems.train))
    if s.filter_samples:
        tokens = pool * s.filter_samples * s.max_new_tokens
        yield PhasePlan(f"filter {s.name}", 1, tokens, f"{s.filter_samples} samples each")
    prompts = min(s.prompts_per_step * (1 + s.refill_rounds), max(pool, s.prompts_per_step))
    refills = f" and {s.refill_rounds} rounds of refills" if s.refill_rounds else ""
    what = f"{s.prompts_per_step} prompts x {s.group_size}{refills}, {s.max_new_tokens} new tokens, "
    tokens = s.steps * prompts * s.group_size * s.max_new_tokens
    yield PhasePlan(f"rl {s.name}", s.steps, tokens, what + ", ".join(s.subdomains))
    if s.gate.eval_every:
        evaluations, asked = s.steps // s.gate.eval_every, len(of_stage(s, problems.probe))
        tokens = evaluations * asked * s.gate.samples * s.max_new_tokens
        what = f"every {s.gate.eval_every} steps {asked} probing problems x {s.gate.samples}"
        yield PhasePlan(f"gate {s.name}", evaluations, tokens, what)


def print_plan(config: Config, problems: ProblemSets) -> None:
    from rich.table import Table

    from vt_ray.progress import console

    size = parameters(config)
    shown = f"{size / 1e9:.3g} B parameters" if size else "size unknown (set model.parameters_b)"
    model = config.model.path or config.model.source
    console.print(f"[bold]{config.run_name}[/]  config {config_hash(config)}  model {model}, {shown}")
    weight = weight_label(config.signal.mgpo.weight, config.signal.mgpo.lam)
    console.print(f"longest sequence: {config.context_tokens:,} tokens   {weight}")
    actors = Table("actor", "count", "CPU each", "GPU each", "GB each", "of", title="resources of each actor")
    for a in actor_plan(config):
        actors.add_row(a.kind, str(a.count), f"{a.cpus:g}", str(a.gpus), f"{a.memory_gb:.2f}", a.memory_of)
    console.print(actors)
    placement = Table("node", "GPU", "actors", title="placement of the actors")
    for row in placement_rows(config):
        placement.add_row(*row)
    console.print(placement)
    if config.cluster.colocate and config.cluster.gpus_per_learner and config.cluster.take_turns == "auto":
        console.print("cluster.take_turns=auto: decided when the run starts and knows the memory of its GPU")
    if config.cluster.colocate and not config.cluster.gpus_per_learner:
        console.print("cluster.colocate without a GPU is a rehearsal: both sides take turns, no memory is freed")
    phases = Table("phase", "steps", "tokens at most", "what", title="phases")
    plan = phase_plan(config, problems)
    for p in plan:
        phases.add_row(p.name, f"{p.steps:,}", f"{p.tokens:,}", p.what)
    phases.add_row("all", "", f"{sum(p.tokens for p in plan):,}", "")
    console.print(phases)
    console.print(f"GPUs in total: {place(config.cluster).gpus}   dry run: nothing was started")


def _examples(config: Config, problems: ProblemSets) -> int:
    """The number of worked solutions and traces for SFT, before examples over the length limit are left out."""
    styles = config.spectrum.sft.styles
    solutions = sum(not styles or s.style in styles for p in problems.solved for s in p.solutions)
    traces = sum(counted.chosen for counted in problems.traces.counts) if not styles or TRACE_STYLE in styles else 0
    return solutions + traces


def _spectrum_plan(stage: SpectrumStage, config: Config, problems: ProblemSets) -> list[PhasePlan]:
    """SFT, probing and fusion of one spectrum stage. `epochs` are steps over all examples: how many of them are within
    `max_tokens`, or hard, is known later."""
    spectrum, second, examples = config.spectrum, config.spectrum.second_stage, _examples(config, problems)
    sft = with_steps(spectrum.second_sft if stage is SECOND else spectrum.sft, examples)
    probe = spectrum.probe
    checkpoints = len(spectrum.checkpoints) or max(1, -(-sft.steps // sft.checkpoint_every))
    per_model = len(problems.probe) * probe.samples * probe.max_new_tokens
    pass_at_k = f"Pass@{probe.k} of {probe.samples} samples"
    phases = []
    if stage is SECOND:
        asked = len(problems.solved) * second.rollouts
        what = f"at most {len(problems.solved):,} questions x {second.rollouts}"
        phases.append(PhasePlan("error rates", 1, asked * probe.max_new_tokens, what))
    if "sft" in config.phases:
        tokens = sft.steps * sft.batch_size * sft.max_tokens
        what = f"{checkpoints} checkpoints"
        if sft.epochs is not None:
            what = f"at most {what}: {sft.epochs:g} epochs of at most {examples:,} examples"
        if config.data.solved_share < 1:
            solved = sum(bool(problem.solutions) for problem in problems.solved)
            what += f"; {solved:,} of {len(problems.solved):,} questions have solutions"
        phases.append(PhasePlan(stage.sft, sft.steps, tokens, what))
    if "probe" in config.phases:
        phases.append(PhasePlan(stage.probe, checkpoints, checkpoints * per_model, pass_at_k))
    if "fuse" in config.phases:
        fuse = f"fuse{stage.fused.removeprefix('fused')}"
        subdomains = len({p.subdomain for p in grouped(problems.probe, probe.groups)})
        phases.append(PhasePlan(fuse, 1, 0, f"subdomains: {subdomains}"))
        phases.append(PhasePlan(f"probe {stage.fused}", 1, per_model, pass_at_k))
    return phases
