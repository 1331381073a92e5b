"""The paper as straight-line code: base -> SFT -> probe -> fuse -> MGPO stages, evaluated at every milestone.
Self-distillation, a part of the 3B paper, may follow.

A run has the phases in the setting `phases`. Without SFT, probing takes `spectrum.checkpoints`; RL starts from the
newest model before it.
Each phase is identified by the settings, files and code that its result depends on. A finished phase is not repeated,
and runs that differ only in lambda share one SFT and one fused model.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from vt_ray.algorithms.learning_rate import with_steps
from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import Config, ConfigError
from vt_ray.data.decontamination.flagged import flagged_problems, read_findings
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.data.prompts import PromptEncoder, refuse_foreign_tokenizer
from vt_ray.data.roles import sources_for
from vt_ray.data.source_report import write_sources
from vt_ray.engines.base_model import prepare_base_model, refuse_long_examples, refuse_short_context
from vt_ray.evaluation.benchmarks import encodable
from vt_ray.evaluation.milestones import copy_scores, evaluate
from vt_ray.experiment import Experiment
from vt_ray.interfaces import Cluster
from vt_ray.progress import console
from vt_ray.report.encoded_prompt import encoded_prompt
from vt_ray.report.run_page.report import write_report
from vt_ray.report.run_page.verification import sentence
from vt_ray.report.run_summary import write_summary
from vt_ray.report.tables import print_table
from vt_ray.report.watch.stage_bar import stage_bar
from vt_ray.run.checkpoint import read_json, write_json
from vt_ray.run.identity import identity
from vt_ray.run.inputs import checkpoint_files, code_of, model_files, model_folders, problem_files, problems_digest
from vt_ray.run.metrics_log import read_lines
from vt_ray.run.milestone_names import (
    FIRST,
    SECOND,
    SELF_DISTIL,
    SFT_CONTINUED,
    SPECTRUM_PHASES,
    SpectrumStage,
    model_milestones,
    named_models,
    spectrum_stages,
)
from vt_ray.run.paths import DONE, ProbePaths, SftPaths, forget_scores
from vt_ray.run.recoveries import Recoveries
from vt_ray.run.retention import keep_specialists, refuse_deleted
from vt_ray.run.run_folder import RunFolder
from vt_ray.self_distillation.phases import distil_student, sample_traces
from vt_ray.signal_phase.curriculum import run_curriculum
from vt_ray.spectrum_phase.examples import Examples, encoded_examples, set_aside
from vt_ray.spectrum_phase.fusing import run_fusion
from vt_ray.spectrum_phase.fusion_gate import stop_message
from vt_ray.spectrum_phase.given_checkpoints import (
    refuse_unusable_checkpoints,
    refuse_unusable_models,
    refuse_unusable_teachers,
)
from vt_ray.spectrum_phase.hard_examples import (
    hard_examples,
    measure_error_rates,
    problems_to_measure,
    read_error_rates,
    refuse_short_examples,
)
from vt_ray.spectrum_phase.probing import CHOICE, run_probe
from vt_ray.spectrum_phase.sft import run_sft, sft_checkpoints


def run_pipeline(config: Config, cluster: Cluster, run: RunFolder, problems: ProblemSets) -> dict:
    """Run all phases, write summary.json and the report, and return the summary.

    If actors die, the cluster replaces them and the phases run again: finished phases are skipped, and an interrupted
    phase resumes from its newest commit.
    """
    start = time.monotonic()
    recoveries = Recoveries(run.root)
    while True:
        try:
            milestones = run_phases(config, cluster, run, problems)
            break
        except Exception as error:
            recoveries.record(cluster.recover(error), error)
    seconds = time.monotonic() - start
    summary = write_summary(run.root, config, milestones, seconds, cluster.hardware())
    print_table(summary, console)
    if verified := sentence(read_lines(run.paths.metrics)):
        console.print(verified, markup=False, highlight=False)
    write_report(run.root)
    return summary


def run_phases(config: Config, cluster: Cluster, run: RunFolder, problems: ProblemSets) -> list[str]:
    """base -> SFT -> probe -> fuse -> MGPO stages -> self-distillation. Returns the milestones' names, in order."""
    experiment = prepare(config, cluster, run, problems)
    milestones = {"base": experiment.base}
    for spectrum_stage in spectrum_stages(asdict(config)):
        milestones |= run_spectrum_stage(experiment, spectrum_stage)
    milestones |= other_models(config)
    evaluate_spectrum(experiment, milestones)
    if stop_message(config, run.root):
        return [*milestones]
    start = [*milestones.values()][-1]
    if "rl" in config.phases and config.signal.control == "sft":
        milestones[SFT_CONTINUED] = continue_sft(experiment, start)
    elif "rl" in config.phases:
        stages = run_curriculum(experiment, start, evaluate, stage_bar)
        milestones |= {name: run.paths.stage(name).model for name in stages}
    if "rejection" in config.phases:
        sample_traces(experiment, milestones)
    if SELF_DISTIL in config.phases:
        milestones[SELF_DISTIL] = distil_student(experiment, milestones)
        evaluate_model(experiment, SELF_DISTIL, milestones[SELF_DISTIL])
    return [*milestones]


def run_spectrum_stage(e: Experiment, stage: SpectrumStage) -> dict[str, Path]:
    """SFT, probing and fusion, those of them that the run has. Returns {milestone: model folder}, in order."""
    names, checkpoints = stage.milestones, given_checkpoints(e.config)
    milestones: dict[str, Path] = {}
    if "sft" in e.config.phases:
        checkpoints = train_sft(e) if stage is FIRST else train_on_hard_examples(e)
        milestones[names["sft"]] = checkpoints[-1]
    if "probe" in e.config.phases:
        probe = probe_checkpoints(e, stage, checkpoints)
        milestones[names["probe"]] = named(checkpoints, probe["best_pass_at_1"])
    if "fuse" in e.config.phases:
        milestones[names["fuse"]] = fuse_specialists(e, stage, checkpoints, probe)
    if "sft" in e.config.phases and "probe" in e.config.phases and e.config.spectrum.sft.keep == "specialists":
        keep_specialists(e.run.paths.shared_phases, e.run.root / stage.sft, probe)
    return milestones


def prepare(config: Config, cluster: Cluster, run: RunFolder, problems: ProblemSets) -> Experiment:
    """Make the base model and leave out problems whose prompts are too long for it."""
    base = prepare_base(config, run, problems)
    if config.spectrum.checkpoints:
        refuse_unusable_checkpoints(config.spectrum.checkpoints, base, config.model.dtype)
    if config.evaluation.models:
        refuse_unusable_models(named_models(config.evaluation.models), base, config.model.dtype)
    refuse_unusable_teachers(config, base)
    encoder = load_encoder(config, base)
    problems = encodable(problems, encoder)
    write_sources(problems.sources, run.paths.sources, run.paths.bad_rows)
    write_json(run.paths.prompt, encoded_prompt(encoder, problems))
    asked = {b.name: b.problems for b in problems.benchmarks if not b.benchmark.perturbation}
    write_json(run.paths.flagged, flagged_problems(read_findings(run.paths.contaminated), asked))
    return Experiment(config, cluster, run, problems, base, encoder)


def prepare_base(config: Config, run: RunFolder, problems: ProblemSets) -> Path:
    """The base model as a Hugging Face folder. A tokenizer from scratch is trained on the training problems."""
    corpus = [text for p in problems.solved for text in (p.question, *(s.text for s in p.solutions))]
    return run.phase(
        "base",
        {**base_inputs(config), "problems": problems_digest(problems.solved)},
        lambda folder: prepare_base_model(config.model, corpus, config.seed, folder, config.context_tokens),
    )


def load_encoder(config: Config, base: Path) -> PromptEncoder:
    """The prompt encoder of the model in `base`. Raises ConfigError if its context is too short for the run."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model, shape = config.model.path or config.model.source, AutoConfig.from_pretrained(base)
    # The base model may come from another run, with shorter sequences.
    refuse_short_context(config.context_tokens, shape.max_position_embeddings, model)
    if "sft" in config.phases:
        refuse_long_examples(config.spectrum.sft.max_tokens, shape.max_position_embeddings, model)
    refuse_foreign_tokenizer(len(tokenizer), shape.vocab_size, model)
    return PromptEncoder(tokenizer, config.data)


def given_checkpoints(config: Config) -> list[Path]:
    return [Path(path).absolute() for path in config.spectrum.checkpoints]


def other_models(config: Config) -> dict[str, Path]:
    """{milestone: folder} of `evaluation.models` besides the base model, in a run without a phase."""
    names = model_milestones(asdict(config))
    return {name: Path(path).absolute() for name, path in named_models(config.evaluation.models) if name in names}


def named(checkpoints: Sequence[Path], name: str) -> Path:
    """The checkpoint with this name: the probe table has the names only. Raises ConfigError if it was deleted."""
    found = [checkpoint for checkpoint in checkpoints if checkpoint.name == name]
    if not found:
        raise ConfigError(
            f"probing chose {name}, which is not in {checkpoints[-1].parent}: a run with spectrum.sft.keep=specialists "
            "deleted it. Delete the folder of this SFT in runs/phases/ and in the run to train it again"
        )
    return found[0]


def newest_phase(e: Experiment, stage: SpectrumStage, *phases: str) -> Path:
    """The folder of the last of these phases that the run has, else of the base model: later phases rest on it."""
    made = [e.run.root / stage.folders[phase] for phase in phases if phase in e.config.phases]
    return [e.base, *made][-1]


def last_before_rl(e: Experiment) -> Path:
    """The folder of the last phase before RL, or of the base model."""
    stages = spectrum_stages(asdict(e.config))
    return newest_phase(e, stages[-1], *SPECTRUM_PHASES) if stages else e.base


def train_sft(e: Experiment) -> list[Path]:
    """SFT on the worked solutions and the traces: the checkpoints of one trajectory, oldest first."""
    config, sft = e.config, e.config.spectrum.sft

    def work(folder: Path) -> None:
        examples = encoded_examples(e.encoder, e.problems, sft, SftPaths(folder).examples)
        if config.spectrum.second_stage.on:
            refuse_short_examples(examples, config.spectrum.second_stage)
        learned, heldout = set_aside(examples, sft.heldout_share, config.seed)
        run_sft(e.cluster, e.base, learned, with_steps(sft, len(learned)), config.seed, folder, heldout)

    return sft_checkpoints(e.run.phase("sft", first_inputs(e), work, after=e.base))


def train_on_hard_examples(e: Experiment) -> list[Path]:
    """The second SFT, from the last checkpoint of the first: the checkpoints of its trajectory, oldest first."""
    config, second = e.config, e.config.spectrum.second_stage
    start, measured = sft_checkpoints(e.run.paths.sft.folder)[-1], measure_questions(e)

    def work(folder: Path) -> None:
        learned, heldout = first_examples(e)
        hard = hard_examples(learned, second, read_error_rates(measured))
        sft = with_steps(config.spectrum.second_sft, len(hard))
        run_sft(e.cluster, start, hard, sft, config.seed, folder, heldout)

    inputs = {**first_inputs(e), **identity(config, "spectrum.second_stage")}
    return sft_checkpoints(e.run.phase(SECOND.sft, inputs, work, after=measured))


def measure_questions(e: Experiment) -> Path:
    """The folder with the error rates of the first SFT's last checkpoint on the questions with long examples."""
    second, start = e.config.spectrum.second_stage, sft_checkpoints(e.run.paths.sft.folder)[-1]

    def work(folder: Path) -> None:
        problems = problems_to_measure(first_examples(e)[0], second, e.problems.solved)
        with e.cluster.generator(e.base) as generator, e.cluster.verifier() as verifier:
            generator.load_checkpoint(start, 0)
            measure_error_rates(e, problems, generator, verifier, folder)

    inputs = {**first_inputs(e), **error_rates_inputs(e.config)}
    return e.run.phase("error_rates", inputs, work, after=e.run.paths.sft.folder)


def first_examples(e: Experiment) -> tuple[Examples, Sequence[TrainSequence]]:
    """The examples that the first SFT learned, and its held-out examples."""
    return set_aside(Examples(e.run.paths.sft.examples), e.config.spectrum.sft.heldout_share, e.config.seed)


def probe_checkpoints(e: Experiment, stage: SpectrumStage, checkpoints: Sequence[Path]) -> dict:
    """Pass@K of every checkpoint on the probing sets, and the best checkpoint of each subdomain (probe.json).

    Probings that differ in settings of CHOICE only share their samples.
    """
    inputs = {**probe_inputs(e.config), "problems": problems_digest(e.problems.probe)}
    after = newest_phase(e, stage, "sft")

    def work(folder: Path) -> None:
        refuse_deleted(after)
        run_probe(e, checkpoints, folder, e.run.similar(folder, CHOICE))

    folder = e.run.phase(stage.probe, inputs, work, after)
    return json.loads(ProbePaths(folder).table.read_text())


def fuse_specialists(e: Experiment, stage: SpectrumStage, checkpoints: Sequence[Path], probe: dict) -> Path:
    """The specialists as one model, by the rule of the config, or the best one if fusion lost Pass@K."""
    specialists = {d: named(checkpoints, name) for d, name in probe["specialists"].items()}
    measured = newest_phase(e, stage, "probe")
    base = e.base if stage is FIRST else sft_checkpoints(e.run.paths.sft.folder)[-1]
    work = partial(run_fusion, e, specialists, measured, base)
    return e.run.phase(stage.fused, fused_inputs(e.config), work, after=measured)


def evaluate_spectrum(e: Experiment, milestones: dict[str, Path]) -> None:
    """Test scores of the models before RL. Runs with equal inputs share them."""

    def work(folder: Path) -> None:
        with e.cluster.generator(e.base) as generator, e.cluster.verifier() as verifier:
            measured: dict[Path, str] = {}
            for version, (name, model) in enumerate(milestones.items()):
                if model in measured:  # the last checkpoint is often the best
                    copy_scores(folder, measured[model], name)
                    continue
                generator.load_checkpoint(model, version)
                evaluate(e, name, generator, verifier, folder)
                measured[model] = name

    benchmarks = {f"benchmark {b.name}": b.fingerprint for b in e.problems.benchmarks}
    inputs = {**scores_inputs(e.config), "problems": problems_digest(e.problems.test), **benchmarks}
    if e.config.spectrum.second_stage.on:
        # The models of both stages are evaluated, and `after` is the last phase of the second one.
        inputs["first stage"] = read_json(newest_phase(e, FIRST, *SPECTRUM_PHASES) / DONE)["id"]
    scores = e.run.phase("spectrum_scores", inputs, work, after=last_before_rl(e))
    e.run.paths.evaluation.mkdir(exist_ok=True)
    for name in milestones:
        shutil.copy2(scores / f"{name}.json", e.run.paths.evaluation)
        if (scores / name).is_dir():
            shutil.copytree(scores / name, e.run.paths.evaluation / name, dirs_exist_ok=True)


def continue_sft(e: Experiment, start: Path) -> Path:
    """The control in place of the stages: more SFT of the start model, at the learning rate that SFT ended with.

    The optimizer is new, as that of RL is, so it warms up again.
    """
    config, first = e.config, e.config.spectrum.sft
    lowest = 1.0 if first.optimizer.schedule == "constant" else first.optimizer.min_lr_ratio
    rate = replace(first.optimizer, lr=first.optimizer.lr * lowest, min_lr_ratio=1.0)
    steps = config.signal.control_sft_steps
    sft = replace(first, steps=steps, epochs=None, checkpoint_every=steps, optimizer=rate)

    def work(folder: Path) -> None:
        forget_scores(e.run.paths, SFT_CONTINUED)
        examples = encoded_examples(e.encoder, e.problems, sft, SftPaths(folder).examples)
        learned, heldout = set_aside(examples, sft.heldout_share, config.seed)
        # seed + 1: the examples come in another order than in the first SFT.
        run_sft(e.cluster, start, learned, sft, config.seed + 1, folder, heldout)

    own = {**identity(config, "signal.control_sft_steps"), "problems": problems_digest(e.problems.solved)}
    inputs = {**sft_inputs(config), **own, **traces_digest(e.problems)}
    folder = e.run.phase(SFT_CONTINUED, inputs, work, last_before_rl(e))
    model = sft_checkpoints(folder)[-1]
    evaluate_model(e, SFT_CONTINUED, model)
    return model


def evaluate_model(e: Experiment, milestone: str, model: Path) -> None:
    """Held-out scores of a model that no generator holds."""
    with e.cluster.generator(e.base) as generator, e.cluster.verifier() as verifier:
        generator.load_checkpoint(model, 1)
        evaluate(e, milestone, generator, verifier, e.run.paths.evaluation)


def base_inputs(config: Config) -> dict:
    """The settings and files of the base model. Its scratch tokenizer is trained on the training problems."""
    others = ("data.probe_", "data.test_", "data.trace_", "data.sources")
    data = {k: v for k, v in identity(config, "data").items() if not k.startswith(others)}
    sources = [source for source in config.data.sources if {"sft", "rl"} & {*source.use}]
    files = problem_files([*config.data.train_files, *sources]) | model_files(config.model)
    return {**identity(config, "seed", "model"), **data, **settings_of(config, "sft", "rl"), "files": files}


def settings_of(config: Config, *uses: str) -> dict:
    """The settings of the sources in data.sources for these uses; {} without such a source."""
    found = [asdict(source) for source in config.data.sources if {*uses} & {*source.use}]
    return {f"data.sources for {', '.join(uses)}": found} if found else {}


def first_inputs(e: Experiment) -> dict:
    """The settings, files and problems of the first SFT."""
    return {**sft_inputs(e.config), "problems": problems_digest(e.problems.solved), **traces_digest(e.problems)}


def sft_inputs(config: Config) -> dict:
    traces = identity(config, "data.trace_files") if config.data.trace_files else {}
    return {**base_inputs(config), **identity(config, "spectrum.sft", "learner.lora"), **traces}


def probe_inputs(config: Config) -> dict:
    engine = config.cluster.generation_engine
    names = ("data.probe_per_subdomain", "data.probe_files", "spectrum.probe", "verify", "cluster")
    files = {"probe_files": problem_files(sources_for(config.data, "probe")), **settings_of(config, "probe")}
    given = {**identity(config, "spectrum.checkpoints"), **checkpoint_files(config)}
    code = code_of(*config.verify.kinds.values(), engine)
    return {**sft_inputs(config), **identity(config, *names), **files, **given, **code}


def error_rates_inputs(config: Config) -> dict:
    """The settings of the sampling. The choice of specialists does not change the error rates."""
    second = ("spectrum.second_stage.min_tokens", "spectrum.second_stage.rollouts")
    sampling = ("spectrum.probe.temperature", "spectrum.probe.top_p", "spectrum.probe.max_new_tokens")
    engine = config.cluster.generation_engine
    code = code_of(*config.verify.kinds.values(), engine)
    return {**identity(config, *second, *sampling, "verify", "cluster"), **code}


def fused_inputs(config: Config) -> dict:
    fusion = identity(config, "spectrum.fusion")
    # With stop and continue, the fused model is the same.
    fusion["spectrum.fusion.on_loss"] = "best" if config.spectrum.fusion.on_loss == "best" else "continue"
    return {**probe_inputs(config), **fusion, **code_of(config.spectrum.fusion.method)}


def scores_inputs(config: Config) -> dict:
    own = identity(config, "data.test_per_subdomain", "data.test_files", "evaluation")
    if config.spectrum.second_stage.on:
        own |= identity(config, "spectrum.second_stage")
    # With or without RL and the phases after it, the models before RL are the same.
    own["phases"] = [phase for phase in config.phases if phase in SPECTRUM_PHASES] + ["rl"]
    own |= model_folders(folder for _, folder in named_models(config.evaluation.models))
    files = {"test_files": problem_files(sources_for(config.data, "test")), **settings_of(config, "test")}
    return {**fused_inputs(config), **own, **files}


def traces_digest(problems: ProblemSets) -> dict[str, str]:
    return {"traces": problems.traces.digest} if problems.traces.sources else {}
