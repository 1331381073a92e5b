"""The three disjoint problem sets of a run: train, probe and held-out test."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vt_ray.config import ConfigError, DataConfig, DataSource, StageConfig
from vt_ray.data.benchmark_problems import BenchmarkProblems, refuse_probed_benchmarks
from vt_ray.data.copies import MergedCopies, merge_copies
from vt_ray.data.decontamination.run_check import RunCheck, RunLeakage, problem_questions
from vt_ray.data.makers import make_problems
from vt_ray.data.mixture import Mixture
from vt_ray.data.question_words import question_words
from vt_ray.data.readers import ReadProblems, read_source
from vt_ray.data.roles import Role, roles
from vt_ray.data.solved_share import with_solved_share
from vt_ray.data.source_report import OVERLONG, SFT_ONLY, SourceReport, mixture_of, report_of, source_reports, without
from vt_ray.data.sources.errors import ProblemFileError
from vt_ray.data.sources.names import with_files
from vt_ray.data.subdomains import with_subdomains
from vt_ray.data.traces.files import CONTAMINATED, NO_TRACES, TraceFiles, survey_traces
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
    """`train` is for RL, and SFT learns from its solutions. `probe` is for the choice of specialists and the gates,
    `test` for evaluation only. `traces` are further examples for SFT, and `sft_only` are problems whose solutions SFT
    learns and RL does not see. `sources` says what became of the rows of each source, and `leakage` what the
    decontamination found; None if it is off. `benchmarks` are asked beside `test`."""

    train: list[Problem]
    probe: list[Problem]
    test: list[Problem]
    traces: TraceFiles = NO_TRACES
    sft_only: Sequence[Problem] = ()
    sources: Sequence[SourceReport] = ()
    leakage: RunLeakage | None = field(default=None, compare=False)
    benchmarks: tuple[BenchmarkProblems, ...] = ()

    @property
    def solved(self) -> list[Problem]:
        """The problems whose worked solutions SFT learns: a problem for RL alone has none."""
        return [*self.train, *self.sft_only]


def load_problem_sets(
    data: DataConfig,
    seed: int,
    custom_kinds: Collection[str] = (),
    known: RunLeakage | None = None,
    benchmarks: tuple[BenchmarkProblems, ...] = (),
) -> ProblemSets:
    """Make and read all problems, survey the traces, and decontaminate both.

    `custom_kinds` are the names in the setting verify.kinds. `known` is the result of an earlier decontamination of
    the same inputs. Training rows are also compared with the problems of `benchmarks`. Raises ConfigError for a source
    that cannot be read, with its row, for more problems than can be made, for a question that is in both the probing
    and the test set or a benchmark, and for a training set of which nothing is left.
    """
    try:
        found = roles(data)
        reads = [_read(role, custom_kinds) for role in found]
        sets = {split: [*_made(data, split, seed), *_of_split(split, found, reads)] for split in (*SPLITS, SFT_ONLY)}
        sets = with_subdomains(sets, data)
        merged = {split: _merged(split, sets[split], found) for split in SPLITS}
        sets |= {split: of_split.problems for split, of_split in merged.items()}
        with_traces = [role.source for role in found if role.traces]
        plain = [loaded for loaded in benchmarks if not loaded.benchmark.perturbation]
        held_out = [*sets["test"], *(p for loaded in plain for p in loaded.problems)]
        check = _check(data.decontaminate, {"probe": sets["probe"], "test": held_out}, known)
        contaminated: dict[str, list[Problem]] = {}
        if check:
            for split in ("train", SFT_ONLY):
                sets[split], contaminated[split] = _decontaminated(sets[split], check, bool(with_traces))
        sets["train"] = with_solved_share(sets["train"], data.solved_share, seed)
        taken = {} if check else _taken(sets)
        traces = survey_traces(with_traces, taken, check) if with_traces else NO_TRACES
        reports: Sequence[SourceReport] = source_reports(found, reads, traces.counts)
        for split in SPLITS:
            reports = merged[split].counted(reports, split)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    sft_only = sets.pop(SFT_ONLY)
    _refuse_overlap(sets, data.decontaminate)
    refuse_probed_benchmarks(sets["probe"], plain)
    if sft_only:
        _refuse_overlap({**sets, "train": sft_only}, data.decontaminate)
    for split, problems in contaminated.items():
        reports = without(reports, split, problems, CONTAMINATED)
    leakage = check.result() if check else None
    return ProblemSets(
        sets["train"], sets["probe"], sets["test"], traces, sft_only, reports, leakage=leakage, benchmarks=benchmarks
    )


def _of_split(split: str, found: Sequence[Role], reads: Sequence[ReadProblems]) -> Iterator[Problem]:
    """The problems of files for a set, without the solutions that SFT must not learn."""
    for role, read in zip(found, reads, strict=True):
        uses = role.problem_uses
        if split == "train" and "rl" in uses:
            yield from read.problems if "sft" in uses else map(_without_solutions, read.problems)
        elif split in uses or (split == SFT_ONLY and "sft" in uses and "rl" not in uses):
            yield from read.problems


def _merged(split: str, problems: list[Problem], found: Sequence[Role]) -> MergedCopies:
    """The problems of a set without copies of a question of an earlier source."""
    several = sum(("rl" if split == "train" else split) in role.problem_uses for role in found) > 1
    return merge_copies(problems) if several else MergedCopies(problems)


def _without_solutions(problem: Problem) -> Problem:
    return replace(problem, solutions=()) if problem.solutions else problem


def _check(policy: str, sets: Mapping[str, Sequence[Problem]], known: RunLeakage | None) -> RunCheck | None:
    return None if policy == "off" else RunCheck(sets, policy, known)


def _decontaminated(train: list[Problem], check: RunCheck, has_traces: bool) -> tuple[list[Problem], list[Problem]]:
    """Returns the kept training problems, and the problems that the check drops. Raises ConfigError if none is left."""
    drops = check.drops(problem_questions(train, "train"))
    kept, left_out = ([p for p, drop in zip(train, drops, strict=True) if drop == out] for out in (False, True))
    if train and not kept and not has_traces:
        raise ConfigError(
            f"data.decontaminate=drop leaves no training problem: each of the {len(train):,} contains a probing or "
            "test question: give other files, or set data.decontaminate=report and look at the matches"
        )
    return kept, left_out


def _read(role: Role, custom_kinds: Collection[str]) -> ReadProblems:
    read = read_source(role.source, custom_kinds) if role.problem_uses else ReadProblems()
    if role.problem_uses == {"sft"} and not any(problem.solutions for problem in read.problems):
        raise ProblemFileError(
            f"{role.source.path}: use={role.source.use}, but no row has a trace or a worked solution: name "
            "its layout or its fields, or take another use"
        )
    return read


def fitting(sets: ProblemSets, encoder: PromptEncoder) -> ProblemSets:
    """Returns the problems whose prompts have at most `data.max_prompt_tokens`.

    Raises ConfigError with the number of longer prompts and their files and rows. A source with `on_overlong: drop`, or
    without a rule if `data.drop_overlong` is True, leaves them out instead: they are printed and counted in
    `sets.sources`. Raises ConfigError if a set would be empty.
    """
    limit = encoder.data.max_prompt_tokens
    problems = {split: [*getattr(sets, split)] for split in (*SPLITS, SFT_ONLY)}
    long: list[tuple[int, Problem, int]] = []
    for split, of_split in problems.items():
        for problem in of_split:
            if not encoder.fits(problem):
                long.append((len(encoder.chat_ids(problem)), problem, report_of(sets.sources, split, problem)))
    if not long:
        return sets
    long.sort(key=lambda found: -found[0])
    rules = [encoder.data.drop_overlong, *(_drops(report.source, encoder.data) for report in sets.sources)]
    refused = [found for found in long if not rules[found[2] + 1]]
    total = sum(map(len, problems.values()))
    if refused:
        said = _overlong(refused, total, limit)
        raise ConfigError(f"{said}: raise it to {refused[0][0]} or set data.drop_overlong=true, which leaves them out")
    said = _overlong(long, total, limit)
    gone = {p.question_id for _, p, _ in long}
    kept = {split: [p for p in of_split if p.question_id not in gone] for split, of_split in problems.items()}
    for split in SPLITS:
        if problems[split] and not kept[split]:
            raise ConfigError(f"{said}: data.drop_overlong=true leaves no problem in the {split} set: raise the limit")
    console.print(f"{said}: left out (data.drop_overlong=true)", markup=False, highlight=False, soft_wrap=True)
    reports = sets.sources
    for split in problems:
        gone_of_split = [p for p in problems[split] if p.question_id in gone]
        reports = without(reports, split, gone_of_split, OVERLONG)
    return replace(
        sets, train=kept["train"], probe=kept["probe"], test=kept["test"], sft_only=kept[SFT_ONLY], sources=reports
    )


def _drops(source: DataSource, data: DataConfig) -> bool:
    """Whether a prompt over the limit is left out. Prompts cannot be truncated."""
    return source.on_overlong == "drop" or (source.on_overlong != "error" and data.drop_overlong)


def _overlong(long: Sequence[tuple[int, Problem, int]], total: int, limit: int) -> str:
    longest, first, _ = long[0]
    others = "".join(f"; {p.place}: {n:,}" for n, p, _ in long[1:NAMED_PROMPTS])
    more = f" and {len(long) - NAMED_PROMPTS} more" if len(long) > NAMED_PROMPTS else ""
    return (
        f"{len(long):,} of {total:,} prompts are longer than data.max_prompt_tokens={limit}; the longest has "
        f"{longest:,} tokens ({first.place}{others}{more})"
    )


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


def stage_mixture(stage: StageConfig, pool: Sequence[Problem], sources: Sequence[SourceReport]) -> Mixture | None:
    """Returns the mixture of a stage's pool, None without weights. Raises ConfigError if a step would ask a question
    twice, because a source has fewer questions than its share of the prompts."""
    mixture = mixture_of(sources, pool)
    for source, share in enumerate(mixture.shares if mixture else ()):
        most, there = math.ceil(share * stage.prompts_per_step), list(mixture.sources).count(source) if mixture else 0
        if most > there:
            raise ConfigError(
                f"stage {stage.name}: weight={sources[source].source.weight:g} of {sources[source].source.path} asks "
                f"for {most} of {stage.prompts_per_step} prompts a step, it has {there} questions there: lower the "
                "weight or prompts_per_step"
            )
    return mixture


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
            f"spectrum.sft.styles={list(styles)} leaves out the traces of its sources: add {TRACE_STYLE!r} to it, "
            "or leave it empty for all"
        )
    there = {s.style for p in problems for s in p.solutions} | ({TRACE_STYLE} if traces else set())
    if not there:
        raise ConfigError(
            "SFT has nothing to learn: no source for SFT has a trace or a worked solution: give one, for example "
            "data.trace_files, or leave the phase out, for example phases=[rl]"
        )
    if not (there & set(styles) if styles else there):
        raise ConfigError(
            f"spectrum.sft.styles={list(styles)}: the training problems have solutions of styles {sorted(there)}; name "
            "one of them, leave it empty for all, or give training problems with solutions"
        )


def _made(data: DataConfig, split: str, seed: int) -> list[Problem]:
    count = 0 if split == SFT_ONLY else getattr(data, f"{split}_per_subdomain")
    return [
        problem
        for subdomain in (data.subdomains if count else ())
        for problem in make_problems(subdomain, split, count, seed, data.levels, data.families)
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
    # Without the training problems, which may be millions: each of them is only looked up.
    home: dict[str, tuple[str, Problem]] = {}
    for split in ("probe", "test"):
        for problem in sets[split]:
            other, first = home.setdefault(question_words(problem.question), (split, problem))
            if other != split:
                raise _shared(split, problem, other, first)
    if decontaminate != "report":
        for problem in sets["train"]:
            if found := home.get(question_words(problem.question)):
                raise _shared(*found, "train", problem)
    by_id: dict[str, Problem] = {}
    for problem in (p for split in SPLITS for p in sets[split]):
        first = by_id.setdefault(problem.question_id, problem)
        if first is problem or (decontaminate == "report" and _same_words(first, problem)):
            continue
        if _same_words(first, problem):
            raise ConfigError(f"{problem.place} has the question of {first.place}: delete one of the two rows")
        raise ConfigError(
            f"question id {problem.question_id} is in {first.source} and in {problem.source}: ids must be unique "
            "over all files: rename a file or give its rows ids"
        )


def _same_words(one: Problem, other: Problem) -> bool:
    return question_words(one.question) == question_words(other.question)


def _shared(split: str, problem: Problem, other: str, first: Problem) -> ConfigError:
    return ConfigError(
        f"question {problem.question_id} of the {split} set is also {first.question_id} of the {other} set: remove it "
        "from one of the files"
        + (", or set data.decontaminate=drop, which leaves it out of training" if other == "train" else "")
    )
