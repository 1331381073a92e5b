"""Checks of the method: run, data, spectrum phase, MGPO, tracker, evaluation."""

from __future__ import annotations

import re
from pathlib import Path

from vt_ray.benchmarks import VOTES, chosen_benchmarks, refuse_useless_vote
from vt_ray.config import (
    AGGREGATIONS,
    CONTROLS,
    CRITERIA,
    DECONTAMINATE,
    ESTIMATORS,
    KEEPS,
    MAX_NAME_BYTES,
    ON_LOSS,
    PHASES,
    RATIOS,
    SCHEDULES_OF_STEPS,
    Config,
    MgpoConfig,
)
from vt_ray.data.makers import LEVELS, STYLES, SUBDOMAINS
from vt_ray.data.roles import sources_for
from vt_ray.data.traces.trace import TRACE_STYLE
from vt_ray.planning.validate.rules import Problems, at_least, no_error, one_of, optimizer, pass_at_k, sampling
from vt_ray.planning.validate.sources import sources
from vt_ray.spectrum_phase.fusion_rules import SETS_WEIGHTS, fusion_rule, fusion_weights

# With ratio=sequence, noise of 0.3 nats a token moved no sequence's ratio by this much: a larger clip never acts.
LARGEST_SEQUENCE_CLIP = 0.01
# What reads each problem set: phases, the tokenizer of a scratch model, gates, and the evaluation of every run.
USED_BY = {"train": {"sft", "rl", "rejection", "scratch"}, "probe": {"probe", "gate"}, "test": {"evaluation"}}
# What may replace the problems of a set.
_INSTEAD = {"test": ", or name evaluation.benchmarks: every milestone is evaluated"}


def run(c: Config) -> Problems:
    if not re.fullmatch(r"[\w.=,+\[\]{}:@%-]+", c.run_name) or c.run_name in (".", "..", "phases"):
        yield f"run_name={c.run_name!r} must be a folder name (and not 'phases') of letters, digits, . _ - ="
    if (size := len(c.run_name.encode(errors="replace"))) > MAX_NAME_BYTES:
        yield f"run_name={c.run_name:.40}... has {size} bytes, the limit is {MAX_NAME_BYTES}: choose a shorter one"
    if not 0 <= c.seed < 2**31:
        yield f"seed={c.seed} must lie in 0..2^31-1: choose a smaller one"


def data(c: Config) -> Problems:
    d = c.data
    for subdomain in d.subdomains:
        yield from one_of("data.subdomains", subdomain, SUBDOMAINS)
    if not d.levels:
        yield "data.levels is empty: give at least one of 1, 2, 3"
    for level in d.levels:
        yield from one_of("data.levels", level, LEVELS)
    gates = ["gate" for stage in c.curriculum.stages if "rl" in c.phases and stage.gate.eval_every]
    asked = "evaluation" if not c.evaluation.benchmarks else ""
    used = {split for split, users in USED_BY.items() if users & {*c.phases, *gates, c.model.source, asked}}
    for split, uses in (("train", ("sft", "rl")), ("probe", ("probe",)), ("test", ("test",))):
        count = getattr(d, f"{split}_per_subdomain")
        yield from at_least(f"data.{split}_per_subdomain", count, 0)
        if count == 0 and split in used and not sources_for(d, *_needed(uses, c)):
            yield (
                f"data.{split}_per_subdomain=0 and data.{split}_files is empty: give problems for the {split} set "
                f"there, or in data.sources with use: [{_needed(uses, c)[-1]}]{_INSTEAD.get(split, '')}"
            )
    yield from sources(c)
    if d.subdomain_file and not Path(d.subdomain_file).is_file():
        yield f"data.subdomain_file={d.subdomain_file!r} is no file: make it with vt-tools classify"
    yield from at_least("data.max_prompt_tokens", d.max_prompt_tokens, 8)
    yield from one_of("data.decontaminate", d.decontaminate, DECONTAMINATE)
    if not 0 < d.solved_share <= 1:
        yield f"data.solved_share={d.solved_share} must be in (0, 1]: 0.2 keeps the solutions of a fifth, 1 keeps all"


def _needed(uses: tuple[str, ...], c: Config) -> list[str]:
    """The uses of which one needs a source: RL and rejection take no questions from sources for SFT alone."""
    return [use for use in uses if use != "sft" or not {"rl", "rejection"} & {*c.phases}]


def spectrum(c: Config) -> Problems:
    sft = c.spectrum.sft
    yield from _phases(c)
    for name in ("steps", "batch_size", "checkpoint_every", "max_tokens"):
        yield from at_least(f"spectrum.sft.{name}", getattr(sft, name), 1)
    yield from _epochs("spectrum.sft", sft.epochs)
    if not 0 <= sft.heldout_share < 1:
        yield f"spectrum.sft.heldout_share={sft.heldout_share} must lie in [0, 1): 0 is none, 0.05 is usual"
    yield from one_of("spectrum.sft.keep", sft.keep, KEEPS)
    if sft.keep == "specialists" and not {"sft", "probe"} <= {*c.phases}:
        yield f"spectrum.sft.keep=specialists with phases={c.phases}: sft and probe choose them; add both, or keep=all"
    yield from _second_stage(c)
    if c.data.train_per_subdomain and not c.data.train_files and not c.data.sources:
        known = (*STYLES, TRACE_STYLE) if c.data.trace_files else STYLES
        for style in sft.styles:
            yield from one_of("spectrum.sft.styles", style, known)
    yield from optimizer("spectrum.sft.optimizer", sft.optimizer)
    yield from _probe(c)
    yield from _fusion(c)


def _fusion(c: Config) -> Problems:
    fusion = c.spectrum.fusion
    yield from no_error(fusion_rule, fusion)
    yield from one_of("spectrum.fusion.on_loss", fusion.on_loss, ON_LOSS)
    if not 0 < fusion.density <= 1:
        yield f"spectrum.fusion.density={fusion.density} must lie in (0, 1]: 1 keeps all changes, 0.5 half of them"
    for key, default in (("temperature", 0.1), ("scale", 1)):
        if not 0 < getattr(fusion, key) < float("inf"):
            yield f"spectrum.fusion.{key}={getattr(fusion, key)} must be finite and above 0: the default is {default}"
    # The subdomains of the user's probing problems, and the groups of the probing problems, are not known yet.
    unknown = sources_for(c.data, "probe") or c.spectrum.probe.groups
    if fusion.weights and (fusion.method in SETS_WEIGHTS or not unknown):
        yield from no_error(fusion_weights, fusion, sorted(c.data.subdomains))


def _probe(c: Config) -> Problems:
    probe = c.spectrum.probe
    yield from pass_at_k("spectrum.probe", probe.k, probe.samples)
    for k in probe.ks:
        if not 1 <= k <= probe.samples:
            yield (
                f"spectrum.probe.ks={probe.ks}: {k} must lie in 1..spectrum.probe.samples={probe.samples}: draw more "
                "samples or leave it out"
            )
    yield from sampling("spectrum.probe", probe.temperature, probe.top_p, probe.max_new_tokens)
    yield from one_of("spectrum.probe.criterion", probe.criterion, CRITERIA)
    if not 0 <= probe.racing < 1:
        yield f"spectrum.probe.racing={probe.racing} must lie in [0, 1): 0.05 is usual, 0 is off"
    if probe.criterion == "heldout_loss" and probe.racing:
        yield (
            f"spectrum.probe.racing={probe.racing} with spectrum.probe.criterion=heldout_loss: samples do not decide "
            "there; set spectrum.probe.racing=0 or take another criterion"
        )
    if probe.criterion == "heldout_loss" and "sft" not in c.phases:
        yield (
            f"spectrum.probe.criterion=heldout_loss with phases={c.phases}: only SFT measures that loss; add sft, or "
            "take another criterion"
        )
    if probe.criterion == "heldout_loss" and not c.spectrum.sft.heldout_share:
        yield (
            "spectrum.probe.criterion=heldout_loss with spectrum.sft.heldout_share=0: SFT has no held-out examples; "
            "set spectrum.sft.heldout_share=0.05"
        )
    for name, group in probe.groups.items():
        if not str(group).strip():
            yield f"spectrum.probe.groups has no group for {name!r}: give it a name, or leave {name!r} out"


def _epochs(section: str, epochs: float | None) -> Problems:
    if epochs is not None and not 0 < epochs < float("inf"):
        yield f"{section}.epochs={epochs} must be above 0: 1 is one pass, null takes {section}.steps"


def _second_stage(c: Config) -> Problems:
    second, at = c.spectrum.second_stage, "spectrum.second_stage"
    yield from at_least(f"{at}.steps", second.steps, 0)
    yield from _epochs(at, second.epochs)
    if second.on and "sft" not in c.phases:
        yield f"{at} with phases={c.phases}: it continues the SFT of the run; add sft, or set {at}.steps=0"
    if second.checkpoint_every is not None:
        yield from at_least(f"{at}.checkpoint_every", second.checkpoint_every, 1)
    yield from at_least(f"{at}.min_tokens", second.min_tokens, 0)
    if second.on and second.min_tokens > c.spectrum.sft.max_tokens:
        yield (
            f"{at}.min_tokens={second.min_tokens} is above spectrum.sft.max_tokens={c.spectrum.sft.max_tokens}: no "
            "example is that long; lower min_tokens, or raise max_tokens"
        )
    yield from at_least(f"{at}.rollouts", second.rollouts, 1)
    if not 0 <= second.min_error_rate <= 1:
        yield f"{at}.min_error_rate={second.min_error_rate} must lie in [0, 1]: 0.75 is the paper's, 0 takes all"


def _phases(c: Config) -> Problems:
    for phase in c.phases:
        yield from one_of("phases", phase, PHASES)
    if {*c.phases} <= {*PHASES} and c.phases != [phase for phase in PHASES if phase in c.phases]:
        yield f"phases={c.phases} must be in the order of the pipeline, each once: {', '.join(PHASES)}"
    if "fuse" in c.phases and "probe" not in c.phases:
        yield f"phases={c.phases}: fuse needs the specialists that probe chooses: add probe, or use `vt-tools fuse`"
    given = c.spectrum.checkpoints
    if given and "sft" in c.phases:
        yield f"spectrum.checkpoints={given} with phases={c.phases}: SFT makes the checkpoints; leave out one of both"
    elif given and "probe" not in c.phases:
        yield (
            f"spectrum.checkpoints={given} with phases={c.phases}: only probe uses them; add it, or give RL its start "
            "with model=hf model.path=..."
        )
    elif "probe" in c.phases and not given and "sft" not in c.phases:
        yield f"phases={c.phases}: probe needs checkpoints: give spectrum.checkpoints=[...] or add sft"
    elif c.phases == ["rl"] and c.model.source == "scratch":
        yield f"phases={c.phases}: RL would start from random weights: set model=hf model.path=... or add sft"


def signal(c: Config) -> Problems:
    s = c.signal
    cispo = s.mgpo.loss == "cispo"
    if not (0 < s.mgpo.clip_low < 1 or (cispo and s.mgpo.clip_low == 1)) or not 0 < s.mgpo.clip_high < float("inf"):
        yield (
            f"signal.mgpo.clip_low={s.mgpo.clip_low} must lie in (0, 1) and clip_high={s.mgpo.clip_high} above 0: "
            "0.2 and 0.2 are usual, 1 and 4 with loss=cispo"
        )
    if s.mgpo.clip_dual != 0 and not cispo and not 1 + s.mgpo.clip_high < s.mgpo.clip_dual < float("inf"):
        yield (
            f"signal.mgpo.clip_dual={s.mgpo.clip_dual} must be 0 (off) or above "
            f"1 + clip_high={1 + s.mgpo.clip_high:g}: 3 is usual"
        )
    yield from one_of("signal.mgpo.ratio", s.mgpo.ratio, RATIOS)
    if s.mgpo.ratio == "sequence" and max(s.mgpo.clip_low, s.mgpo.clip_high) >= LARGEST_SEQUENCE_CLIP:
        yield (
            f"signal.mgpo.ratio=sequence with signal.mgpo.clip_low={s.mgpo.clip_low} and clip_high={s.mgpo.clip_high}: "
            f"the ratio of a whole sequence hardly ever differs from 1 by {LARGEST_SEQUENCE_CLIP} or more, so these "
            "clips would never act; GSPO's are clip_low=3e-4 and clip_high=4e-4"
        )
    yield from one_of("signal.mgpo.aggregation", s.mgpo.aggregation, AGGREGATIONS)
    if s.mgpo.loss != MgpoConfig.loss:
        yield from no_error(_loss, s.mgpo.loss)
    yield from at_least("signal.mgpo.kl_coef", s.mgpo.kl_coef, 0)
    yield from one_of("signal.schedule", s.schedule, SCHEDULES_OF_STEPS)
    yield from at_least("signal.max_staleness", s.max_staleness, 1)
    if s.schedule == "pipelined" and c.cluster.colocate:
        yield (
            "signal.schedule=pipelined with cluster.colocate=true: a shared GPU cannot generate while it learns; "
            "take signal.schedule=on_policy, or generators with GPUs of their own (cluster.colocate=false)"
        )
    if not 0 <= s.seed < 2**31:
        yield f"signal.seed={s.seed} must lie in 0..2^31-1: choose a smaller one"
    yield from _control(c)
    yield from optimizer("signal.optimizer", s.optimizer)
    yield from at_least("signal.checkpoint_every", s.checkpoint_every, 1)
    yield from at_least("signal.keep_checkpoints", s.keep_checkpoints, 1)
    yield from at_least("signal.evaluate_every", s.evaluate_every, 0)
    if s.evaluate_every > 0 and s.schedule == "pipelined":
        yield (
            f"signal.evaluate_every={s.evaluate_every} with signal.schedule=pipelined: the verifiers are never free "
            "between two steps; set it to 0, or take signal.schedule=on_policy"
        )
    yield from at_least("signal.save_hf_every", s.save_hf_every, 0)
    yield from at_least("signal.keep_hf", s.keep_hf, 1)
    yield from at_least("signal.sync.fingerprint_tokens", s.sync.fingerprint_tokens, 2)
    yield from at_least("signal.sync.bucket_mb", s.sync.bucket_mb, 1)
    if not s.sync.logprob_tolerance > 0:
        yield f"signal.sync.logprob_tolerance={s.sync.logprob_tolerance} must be above 0: 1e-3 is usual for float32"


def _control(c: Config) -> Problems:
    s = c.signal
    yield from one_of("signal.control", s.control, CONTROLS)
    if s.control_sft_like and s.control != "sft":
        yield f"signal.control_sft_like={s.control_sft_like!r} needs signal.control=sft: add it, or leave out the run"
    elif s.control_sft_steps and s.control != "sft":
        yield f"signal.control_sft_steps={s.control_sft_steps} needs signal.control=sft: add it, or leave it out"
    if s.control == "sft":
        yield from at_least("signal.control_sft_steps", s.control_sft_steps, 1)
        if c.spectrum.sft.optimizer.min_lr_ratio == 0 and c.spectrum.sft.optimizer.schedule != "constant":
            yield (
                "signal.control=sft continues at the last learning rate of SFT, which is 0 with "
                "spectrum.sft.optimizer.min_lr_ratio=0: the control would learn nothing; set it to 0.1"
            )


def _loss(value: str) -> None:
    # The import loads torch, so only a loss other than the paper's pays for it.
    from vt_ray.algorithms.losses import named_loss

    named_loss(value)


def tracker(c: Config) -> Problems:
    yield from one_of("tracker.estimator", c.tracker.estimator, ESTIMATORS)
    if not 0 < c.tracker.decay <= 1:
        yield f"tracker.decay={c.tracker.decay} must lie in (0, 1]: 1 never decays, 0.9 halves a count in 7 versions"
    if not c.tracker.prior > 0:
        yield f"tracker.prior={c.tracker.prior} must be above 0: 1 is a uniform prior"


def evaluation(c: Config) -> Problems:
    e = c.evaluation
    yield from pass_at_k("evaluation", e.k, min(e.samples, e.code_samples))
    yield from sampling("evaluation", e.temperature, e.top_p, e.max_new_tokens)
    yield from sampling("evaluation (code)", e.code_temperature, e.top_p, e.max_new_tokens)
    yield from at_least("evaluation.limit", e.limit, 0)
    yield from one_of("evaluation.vote", e.vote, VOTES)
    if e.vote != "none" and not e.benchmarks:
        yield f"evaluation.vote={e.vote} needs evaluation.benchmarks: name one whose answers are voted on"
    if e.benchmark_folder and not Path(e.benchmark_folder).is_dir():
        yield f"evaluation.benchmark_folder={e.benchmark_folder!r} is no folder: give one with files NAME.yaml"
    else:
        yield from no_error(lambda: refuse_useless_vote(e.vote, chosen_benchmarks(e)))
    if e.perturbations and not e.benchmarks:
        yield f"evaluation.perturbations={list(e.perturbations)} needs evaluation.benchmarks: name one to perturb"
    if e.benchmarks and not c.phases and c.model.source == "scratch":
        yield (
            "a model from scratch answers no benchmark: set model=hf model.path=..., or evaluation.models=[...], or "
            "evaluation.models_of=RUN"
        )
    if e.models and c.phases:
        yield f"evaluation.models={list(e.models)} needs phases=[]: a run with phases evaluates its own models"
