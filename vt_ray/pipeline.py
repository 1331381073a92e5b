"""The paper as straight-line code: base -> sft -> probe -> fuse -> MGPO stages, evaluated at every milestone.

Each phase is known by the settings, files and code that its result rests on: a finished one is not repeated, and runs
that differ in lambda alone share one SFT and one fused model.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from vt_ray.config import Config
from vt_ray.data.problem_sets import ProblemSets, fitting
from vt_ray.data.prompts import PromptEncoder, refuse_foreign_tokenizer
from vt_ray.engines.base_model import prepare_base_model, refuse_short_context
from vt_ray.evaluation.milestones import evaluate
from vt_ray.interfaces import Cluster, Generator, Verifier
from vt_ray.progress import bar, console
from vt_ray.report.run_page.report import write_report
from vt_ray.report.run_page.verification import sentence
from vt_ray.report.run_summary import write_summary
from vt_ray.report.tables import print_table
from vt_ray.run.identity import identity
from vt_ray.run.metrics_log import read_lines
from vt_ray.run.milestone_names import SFT_CONTINUED
from vt_ray.run.paths import FUSED_PROBE
from vt_ray.run.recoveries import Recoveries
from vt_ray.run.run_folder import RunFolder, model_files, problem_files, problems_digest
from vt_ray.signal_phase.curriculum import run_curriculum
from vt_ray.spectrum_phase.examples import encoded_examples
from vt_ray.spectrum_phase.fusion import fuse, fusion_weights
from vt_ray.spectrum_phase.probing import probe_model, run_probe
from vt_ray.spectrum_phase.sft import run_sft, sft_checkpoints


def run_pipeline(config: Config, cluster: Cluster, run: RunFolder, problems: ProblemSets) -> dict:
    """Walk the whole path and return the summary, which lies in summary.json too.

    Where actors are lost on the way, others take their place and the path is walked again: finished work is not
    repeated, and a phase goes on from its newest commit.
    """
    start = time.monotonic()
    recoveries = Recoveries(run.root)
    while True:
        try:
            names = walk(config, cluster, run, problems)
            break
        except Exception as error:
            recoveries.note(cluster.recover(error), error)
    seconds = time.monotonic() - start
    summary = write_summary(run.root, config, names, seconds, cluster.hardware())
    print_table(summary, console)
    if verified := sentence(read_lines(run.root / "metrics.jsonl")):
        console.print(verified, markup=False, highlight=False)
    write_report(run.root)
    return summary


def walk(config: Config, cluster: Cluster, run: RunFolder, problems: ProblemSets) -> list[str]:
    """base -> sft -> probe -> fuse -> MGPO stages. Returns the names of the milestones, in order."""
    base = prepare_base(config, run, problems)
    encoder = load_encoder(config, base)
    problems = fitting(problems, encoder)
    sft = train_spectrum(config, cluster, run, base, encoder, problems)
    probe = probe_spectrum(config, cluster, run, base, sft, encoder, problems)
    fused = fuse_spectrum(config, run, sft, probe)
    milestones = {"base": base, **spectrum_milestones(sft, probe), "fused": fused}
    evaluate_spectrum(config, cluster, run, milestones, encoder, problems)
    if config.signal.control == "sft":
        after = [continue_sft(config, cluster, run, base, fused, encoder, problems)]
    else:
        after = amplify_signal(config, cluster, run, base, fused, encoder, problems)
    return [*milestones, *after]


def prepare_base(config: Config, run: RunFolder, problems: ProblemSets) -> Path:
    """The base model as a Hugging Face folder; a scratch tokenizer learns from the training problems."""
    corpus = [text for p in problems.train for text in (p.question, *(s.text for s in p.solutions))]
    return run.phase(
        "base",
        {**base_inputs(config), "problems": problems_digest(problems.train)},
        lambda folder: prepare_base_model(config.model, corpus, config.seed, folder, config.context_tokens),
    )


def load_encoder(config: Config, base: Path) -> PromptEncoder:
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model, shape = config.model.path or config.model.source, AutoConfig.from_pretrained(base)
    # A run with shorter sequences may have made the base model.
    refuse_short_context(config.context_tokens, shape.max_position_embeddings, model)
    refuse_foreign_tokenizer(len(tokenizer), shape.vocab_size, model)
    return PromptEncoder(tokenizer, config.data)


def train_spectrum(
    config: Config,
    cluster: Cluster,
    run: RunFolder,
    base: Path,
    encoder: PromptEncoder,
    problems: ProblemSets,
) -> Path:
    sft = config.spectrum.sft

    def work(folder: Path) -> None:
        examples = encoded_examples(encoder, problems.train, sft, folder / "examples")
        run_sft(cluster, base, examples, sft, config.seed, folder)

    return run.phase("sft", {**sft_inputs(config), "problems": problems_digest(problems.train)}, work, after=base)


def probe_spectrum(
    config: Config,
    cluster: Cluster,
    run: RunFolder,
    base: Path,
    sft: Path,
    encoder: PromptEncoder,
    problems: ProblemSets,
) -> dict:
    """The probe's table: which checkpoint is the specialist of which subdomain."""
    probe = config.spectrum.probe

    def work(folder: Path) -> None:
        run_probe(cluster, base, sft_checkpoints(sft), problems.probe, encoder, probe, config.seed, folder)

    inputs = {**probe_inputs(config), "problems": problems_digest(problems.probe)}
    return json.loads((run.phase("probe", inputs, work, after=sft) / "probe.json").read_text())


def fuse_spectrum(config: Config, run: RunFolder, sft: Path, probe: dict) -> Path:
    specialists = {d: sft / "checkpoints" / name for d, name in probe["specialists"].items()}
    weights = fusion_weights(config.spectrum.fusion.weights, list(specialists))
    probed = run.root / "probe"
    return run.phase("fused", fused_inputs(config), lambda folder: fuse(specialists, weights, folder), after=probed)


def spectrum_milestones(sft: Path, probe: dict) -> dict[str, Path]:
    """The last SFT checkpoint, and the best by Pass@1 on the probing sets."""
    checkpoints = sft_checkpoints(sft)
    return {"sft_last": checkpoints[-1], "sft_best": sft / "checkpoints" / probe["best_pass_at_1"]}


def evaluate_spectrum(
    config: Config,
    cluster: Cluster,
    run: RunFolder,
    milestones: dict[str, Path],
    encoder: PromptEncoder,
    problems: ProblemSets,
) -> None:
    """Held-out scores of the spectrum phase's models, shared by runs with equal inputs."""

    def work(folder: Path) -> None:
        with cluster.generator(milestones["base"]) as generator, cluster.verifier() as verifier:
            for version, (name, model) in enumerate(milestones.items()):
                generator.load_checkpoint(model, version)
                held_out(config, name, generator, verifier, encoder, problems, folder)
                if name == "fused":
                    probe_fused(config, generator, verifier, encoder, problems, folder / FUSED_PROBE)

    inputs = {**scores_inputs(config), "problems": problems_digest(problems.test)}
    scores = run.phase("spectrum_scores", inputs, work, after=milestones["fused"])
    (run.root / "evaluation").mkdir(exist_ok=True)
    for name in milestones:
        shutil.copy2(scores / f"{name}.json", run.root / "evaluation")


def probe_fused(
    config: Config,
    generator: Generator,
    verifier: Verifier,
    encoder: PromptEncoder,
    problems: ProblemSets,
    path: Path,
) -> None:
    """The fused model on the specialists' own problems: whether it is as broad as the best of them."""
    if path.exists():
        return
    with bar("probe fused", len(problems.probe)) as advance:
        tell = partial(advance, "", 1)
        probe_model(generator, verifier, encoder, problems.probe, config.spectrum.probe, config.seed, path, tell)


def amplify_signal(
    config: Config,
    cluster: Cluster,
    run: RunFolder,
    base: Path,
    fused: Path,
    encoder: PromptEncoder,
    problems: ProblemSets,
) -> list[str]:
    """The MGPO stages, each followed by its evaluation; a stage is finished when that is there. Returns their names."""
    names = [stage.name for stage in config.curriculum.stages]
    if all((run.root / "evaluation" / f"{name}.json").exists() for name in names):
        return names

    def after_stage(stage, generator: Generator, verifier: Verifier) -> None:
        held_out(config, stage.name, generator, verifier, encoder, problems, run.root / "evaluation")

    run_curriculum(config, cluster, base, fused, problems, encoder, run.root, after_stage)
    return names


def continue_sft(
    config: Config,
    cluster: Cluster,
    run: RunFolder,
    base: Path,
    fused: Path,
    encoder: PromptEncoder,
    problems: ProblemSets,
) -> str:
    """In place of the stages: the fused model learns on from the worked solutions, at the rate that SFT ended with."""
    first = config.spectrum.sft
    rate = replace(first.optimizer, lr=first.optimizer.lr * first.optimizer.min_lr_ratio, min_lr_ratio=1.0)
    steps = config.signal.control_sft_steps
    sft = replace(first, steps=steps, checkpoint_every=steps, optimizer=rate)

    def work(folder: Path) -> None:
        examples = encoded_examples(encoder, problems.train, sft, folder / "examples")
        # Another order of the examples than the first time.
        run_sft(cluster, fused, examples, sft, config.seed + 1, folder)

    own = {**identity(config, "signal.control_sft_steps"), "problems": problems_digest(problems.train)}
    inputs = {**sft_inputs(config), **own}
    folder = run.phase(SFT_CONTINUED, inputs, work, after=fused)
    with cluster.generator(base) as generator, cluster.verifier() as verifier:
        generator.load_checkpoint(sft_checkpoints(folder)[-1], 1)
        held_out(config, SFT_CONTINUED, generator, verifier, encoder, problems, run.root / "evaluation")
    return SFT_CONTINUED


def held_out(
    config: Config,
    name: str,
    generator: Generator,
    verifier: Verifier,
    encoder: PromptEncoder,
    problems: ProblemSets,
    folder: Path,
) -> None:
    path = folder / f"{name}.json"
    evaluate(name, generator, verifier, encoder, problems.test, config.evaluation, config.seed, path)


def base_inputs(config: Config) -> dict:
    """What the base model rests on: a scratch tokenizer learns from the training problems."""
    data = {k: v for k, v in identity(config, "data").items() if not k.startswith(("data.probe_", "data.test_"))}
    files = problem_files(config.data.train_files) | model_files(config.model)
    return {**identity(config, "seed", "model"), **data, "files": files}


def sft_inputs(config: Config) -> dict:
    return {**base_inputs(config), **identity(config, "spectrum.sft")}


def probe_inputs(config: Config) -> dict:
    own = identity(config, "data.probe_per_subdomain", "data.probe_files", "spectrum.probe", "verify")
    return {**sft_inputs(config), **own, "probe_files": problem_files(config.data.probe_files)}


def fused_inputs(config: Config) -> dict:
    return {**probe_inputs(config), **identity(config, "spectrum.fusion")}


def scores_inputs(config: Config) -> dict:
    own = identity(config, "data.test_per_subdomain", "data.test_files", "evaluation")
    return {**fused_inputs(config), **own, "test_files": problem_files(config.data.test_files)}
