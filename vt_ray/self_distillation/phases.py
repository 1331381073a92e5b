"""The phases rejection and self_distil of a run: their models, problems and inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from vt_ray.data.problem_sets import of_stage
from vt_ray.data.prompts import sample_seed
from vt_ray.experiment import Experiment
from vt_ray.records import Problem
from vt_ray.run.identity import identity
from vt_ray.run.inputs import code_of, milestone_files, problems_digest
from vt_ray.run.milestone_names import SELF_DISTIL, named_models, rejection_models
from vt_ray.run.paths import forget_scores
from vt_ray.self_distillation.rejection import AskedModel, run_rejection
from vt_ray.self_distillation.self_distil import run_self_distil, traces_alone, traces_as_problems
from vt_ray.spectrum_phase.sft import sft_checkpoints


def sample_traces(e: Experiment, milestones: Mapping[str, Path]) -> None:
    """Write rejection/traces.jsonl: verified completions of the models in `rejection.models`."""
    asked = asked_models(e, milestones)
    kinds, engine = e.config.verify.kinds.values(), e.config.cluster.generation_engine
    inputs = {
        **identity(e.config, "seed", "rejection", "verify", "cluster"),
        **code_of(*kinds, engine),
        "models": {m.name: [milestone_files(m.folder), problems_digest(m.problems)] for m in asked},
    }
    # The base model has the tokenizer and the form of the prompts.
    e.run.phase("rejection", inputs, lambda folder: run_rejection(e, asked, folder), after=e.base)


def asked_models(e: Experiment, milestones: Mapping[str, Path]) -> list[AskedModel]:
    """The models of the phase rejection. The model of an RL stage gets the problems of its stage."""
    stages = {stage.name: stage for stage in e.config.curriculum.stages}
    asked = []
    for entry in rejection_models(asdict(e.config)):
        name = named_models([entry])[0][0]
        train = e.problems.train
        if entry in milestones and name in stages:
            train = of_stage(stages[name], train)
        asked.append(
            AskedModel(name, _folder(entry, milestones), _drawn(train, e.config.rejection.problems, e.config.seed))
        )
    return asked


def distil_student(e: Experiment, milestones: Mapping[str, Path]) -> Path:
    """SFT of the student on chosen traces of the phase rejection, else of `data.trace_files`. Returns its last
    checkpoint."""
    own = "rejection" in e.config.phases
    problems = traces_as_problems(e.run.paths.rejection.traces) if own else traces_alone(e.problems)
    named = e.config.self_distil.student or [*milestones][-1]
    student = _folder(named, milestones)
    inputs = {
        **identity(e.config, "seed", "self_distil", "learner.lora"),
        "student": milestone_files(student),
        "traces": problems.traces.digest,
        # Longer traces are left out.
        "context": e.config.context_tokens,
    }
    after = e.run.paths.rejection.folder if own else e.base

    def work(folder: Path) -> None:
        forget_scores(e.run.paths, SELF_DISTIL)
        run_self_distil(e, student, problems, folder)

    folder = e.run.phase(SELF_DISTIL, inputs, work, after)
    return sft_checkpoints(folder)[-1]


def _folder(entry: str, milestones: Mapping[str, Path]) -> Path:
    """The folder of a milestone, or of an entry FOLDER or NAME=FOLDER."""
    return milestones[entry] if entry in milestones else Path(named_models([entry])[0][1]).absolute()


def _drawn(problems: Sequence[Problem], count: int, seed: int) -> list[Problem]:
    """`count` problems in their order, all for 0. Models with the same problems get the same ones."""
    if not count or count >= len(problems):
        return [*problems]
    chosen = sorted(problems, key=lambda p: sample_seed(seed, "rejection", p.question_id))[:count]
    ids = {p.question_id for p in chosen}
    return [p for p in problems if p.question_id in ids]
