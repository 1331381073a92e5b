"""The three disjoint problem sets of a run: train, probe and held-out test."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vt_ray.config import ConfigError, DataConfig, DataSource, StageConfig
from vt_ray.data.decontamination.run_check import RunCheck, RunLeakage, problem_questions
from vt_ray.data.makers import make_problems
from vt_ray.data.question_words import question_words
from vt_ray.data.readers import read_problems
from vt_ray.data.sources.names import with_files
from vt_ray.data.subdomains import with_subdomains
from vt_ray.data.traces.files import NO_TRACES, TraceFiles, survey_traces
from vt_ray.data.traces.trace import TRACE_STYLE
from vt_ray.progress import console
from vt_ray.records import Problem

if TYPE_CHECKING:
    from vt_ray.data.prompts import PromptEncoder

SPLITS = ("train", "probe", "test")
# An error names at most this many overlong prompts, and counts all.
NAMED_PROMPTS = 5


@dataclass(frozen=True)
class ProblemSets:
    """`train` is for SFT and RL, `probe` for the choice of specialists and the gates, `test` for evaluation only.
    `traces` are files of further examples for SFT. `leakage` is what decontamination found, None if it is off."""

    train: list[Problem]
    probe: list[Problem]
    test: list[Problem]
    traces: TraceFiles = NO_TRACES
    leakage: RunLeakage | None = field(default=None, compare=False)


def load_problem_sets(
    data: DataConfig, seed: int, custom_kinds: Collection[str] = (), known: RunLeakage | None = None
) -> ProblemSets:
    """Make and read all problems, survey the traces, and decontaminate both.

    `custom_kinds` are the names in the setting verify.kinds. `known` is the result of an earlier decontamination of
    the same inputs. Raises ConfigError for a file that cannot be read, with its row, for more problems than can be
    made, for a question that is in both the probing and the test set, and for a training set of which nothing is left.
    """
    counts = {
        "train": data.train_per_subdomain,
        "probe": data.probe_per_subdomain,
        "test": data.test_per_subdomain,
    }
    files = {"train": data.train_files, "probe": data.probe_files, "test": data.test_files}
    try:
        sets = {split: _made(data, split, counts[split], seed) + _read(files[split], custom_kinds) for split in counts}
        sets = with_subdomains(sets, data)
        check = _check(data.decontaminate, sets, known)
        if check:
            sets["train"] = _decontaminated(sets["train"], check, bool(data.trace_files))
        taken = {} if check else _taken(sets)
        traces = survey_traces(data.trace_files, taken, check) if data.trace_files else NO_TRACES
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _refuse_overlap(sets, data.decontaminate)
    return ProblemSets(**sets, traces=traces, leakage=check.result() if check else None)


def _check(policy: str, sets: Mapping[str, Sequence[Problem]], known: RunLeakage | None) -> RunCheck | None:
    return None if policy == "off" else RunCheck({name: sets[name] for name in ("probe", "test")}, policy, known)


def _decontaminated(train: list[Problem], check: RunCheck, has_traces: bool) -> list[Problem]:
    """Returns the training problems without those that the check leaves out. Raises ConfigError if none is left."""
    drops = check.drops(problem_questions(train, "train"))
    kept = [problem for problem, drop in zip(train, drops, strict=True) if not drop]
    if train and not kept and not has_traces:
        raise ConfigError(
            f"data.decontaminate=drop leaves no training problem: each of the {len(train):,} contains a probing or "
            "test question: give other files, or set data.decontaminate=report and look at the matches"
        )
    return kept


def fitting(sets: ProblemSets, encoder: PromptEncoder) -> ProblemSets:
    """Returns the problems whose prompts have at most `data.max_prompt_tokens`.

    Raises ConfigError with the number of longer prompts and their files and rows. With `data.drop_overlong`, it prints
    them and leaves them out instead, but raises ConfigError if a set would be empty.
    """
    limit, drop = encoder.data.max_prompt_tokens, encoder.data.drop_overlong
    problems = [p for split in SPLITS for p in getattr(sets, split)]
    lengths = [len(encoder.chat_ids(p)) for p in problems]
    long = sorted(((n, p) for n, p in zip(lengths, problems, strict=True) if n > limit), key=lambda found: -found[0])
    if not long:
        return sets
    longest = long[0][0]
    others = "".join(f"; {p.place}: {n:,}" for n, p in long[1:NAMED_PROMPTS])
    more = f" and {len(long) - NAMED_PROMPTS} more" if len(long) > NAMED_PROMPTS else ""
    said = (
        f"{len(long):,} of {len(problems):,} prompts are longer than data.max_prompt_tokens={limit}; the longest has "
        f"{longest:,} tokens ({long[0][1].place}{others}{more})"
    )
    if not drop:
        raise ConfigError(f"{said}: raise it to {longest} or set data.drop_overlong=true, which leaves them out")
    gone = {p.question_id for _, p in long}
    kept = {split: [p for p in getattr(sets, split) if p.question_id not in gone] for split in SPLITS}
    for split, left in kept.items():
        if not left:
            raise ConfigError(f"{said}: data.drop_overlong=true leaves no problem in the {split} set: raise the limit")
    console.print(f"{said}: left out (data.drop_overlong=true)", markup=False, highlight=False, soft_wrap=True)
    return ProblemSets(**kept, traces=sets.traces, leakage=sets.leakage)


def stage_problems(stage: StageConfig, problems: Sequence[Problem]) -> list[Problem]:
    """Returns the stage's training problems. Raises ConfigError if they are fewer than the prompts of a step."""
    pool = of_stage(stage, problems)
    if len(pool) < stage.prompts_per_step:
        there = sorted({p.subdomain for p in problems})
        raise ConfigError(
            f"stage {stage.name} takes {stage.prompts_per_step} prompts a step but has {len(pool)} training problems "
            f"in subdomains {stage.subdomains or 'all'}, levels {stage.levels or 'all'} and sources "
            f"{stage.sources or 'all'} (the training set has {there}): name its subdomains in the files, lower "
            "prompts_per_step, or take curriculum=single_stage"
        )
    return pool


def of_stage(stage: StageConfig, problems: Sequence[Problem]) -> list[Problem]:
    """Returns the problems of the stage's subdomains, levels and sources."""
    sources = with_files(stage.sources)
    return [
        p
        for p in problems
        if (not stage.subdomains or p.subdomain in stage.subdomains)
        and (not stage.levels or p.level in stage.levels)
        and (not sources or p.source in sources)
    ]


def refuse_without_solutions(problems: Sequence[Problem], styles: Sequence[str], traces: bool = False) -> None:
    """Raises ConfigError if SFT has nothing to learn from: no worked solution in one of these styles, and no traces.

    `traces` says whether the run has files of traces; styles without "trace" would leave them out.
    """
    if traces and styles and TRACE_STYLE not in styles:
        raise ConfigError(
            f"spectrum.sft.styles={list(styles)} leaves out the traces of data.trace_files: add {TRACE_STYLE!r} to it, "
            "or leave it empty for all"
        )
    there = {s.style for p in problems for s in p.solutions} | ({TRACE_STYLE} if traces else set())
    if not (there & set(styles) if styles else there):
        raise ConfigError(
            f"spectrum.sft.styles={list(styles)}: the training problems have solutions of styles {sorted(there)}; name "
            "one of them, leave it empty for all, or give training problems with solutions"
        )


def _made(data: DataConfig, split: str, count: int, seed: int) -> list[Problem]:
    if count == 0:
        return []
    return [
        problem
        for subdomain in data.subdomains
        for problem in make_problems(subdomain, split, count, seed, data.levels, data.families)
    ]


def _read(sources: list[DataSource], custom_kinds: Collection[str]) -> list[Problem]:
    return [
        problem
        for source in sources
        for problem in read_problems(
            source.path,
            source.subdomain,
            source.drop_unanswered,
            custom_kinds,
            source.layout,
            source.fields,
            source.option_seed,
            source.encoding,
        )
    ]


def _taken(sets: dict[str, list[Problem]]) -> dict[str, str]:
    """{words of a question: its name in a message} of the probing and the held-out problems."""
    return {
        question_words(p.question): f"{p.question_id} of the {split} set"
        for split in ("probe", "test")
        for p in sets[split]
    }


def _refuse_overlap(sets: dict[str, list[Problem]], decontaminate: str) -> None:
    """Raises ConfigError if two sets share a question, even with different ids, or if two questions share an id.

    With data.decontaminate=report, training problems may repeat a question of the other sets: they are reported.
    """
    home: dict[str, tuple[str, str]] = {}
    sources: dict[str, str] = {}
    for split, problems in sets.items():
        for problem in problems:
            words = question_words(problem.question)
            other, question_id = home.setdefault(words, (split, problem.question_id))
            if other == "train" != split and decontaminate == "report":
                home[words] = (split, problem.question_id)
                continue
            if other != split:
                raise ConfigError(
                    f"question {problem.question_id} of the {split} set is also {question_id} of the {other} set: "
                    "remove it from one of the files"
                    + (", or set data.decontaminate=drop, which leaves it out of training" if other == "train" else "")
                )
            if problem.question_id in sources:
                raise ConfigError(
                    f"question id {problem.question_id} is in {sources[problem.question_id]} and in "
                    f"{problem.source}: ids must be unique over all files: rename a file or give its rows ids"
                )
            sources[problem.question_id] = problem.source
