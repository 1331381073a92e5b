"""Reads the problems of benchmarks from the folders of the variable VT_BENCHMARKS.

Benchmark --source, VT_BENCHMARKS--> files --readers--> problems --dates, count, limit--> BenchmarkProblems
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vt_ray.benchmarks import Benchmark, departures, file_protocol
from vt_ray.config import Config, ConfigError
from vt_ray.data.makers import SUBDOMAINS, make_problems
from vt_ray.data.perturbations.hints import paraphrased_instruction
from vt_ray.data.perturbations.table import perturbed
from vt_ray.data.question_words import question_words
from vt_ray.data.readers import read_problems
from vt_ray.data.sources.errors import ProblemFileError
from vt_ray.data.sources.names import parts
from vt_ray.records import Problem

FOLDERS = "VT_BENCHMARKS"


@dataclass(frozen=True)
class BenchmarkProblems:
    """A benchmark with its problems.

    notes: what a reader of the result must know: differences from the protocol of the benchmark's file, and limits of
    the source. place: its place in the table. fingerprint: "" until the tokenizer is known, with its `parts`
    (`evaluation.benchmarks.with_fingerprint`).
    """

    benchmark: Benchmark
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    place: int = 0
    fingerprint: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.benchmark.name

    @property
    def dates(self) -> dict[str, str]:
        """{question id: date} of the problems whose rows have a date."""
        return {p.question_id: date for p in self.problems if (date := date_of(p))}

    @property
    def levels(self) -> dict[str, int | str]:
        """{question id: level of difficulty}; empty if all problems have the same one."""
        found = {p.question_id: level_of(p) for p in self.problems}
        return found if len({*found.values()}) > 1 else {}


class MissingSourceError(ConfigError):
    """The files of a benchmark are not on this machine."""


def load_benchmarks(config: Config) -> tuple[BenchmarkProblems, ...]:
    """The benchmarks of `evaluation.benchmarks` with their problems, in this order.

    Raises ConfigError for a file that cannot be read or has another number of problems than the benchmark's file
    states, and MissingSourceError with everything that is missing, what to download, and where to put it.
    """
    loaded: dict[str, BenchmarkProblems] = {}
    missing = []
    for place, benchmark in enumerate(config.benchmarks):
        try:
            if not benchmark.perturbation:
                stated = file_protocol(benchmark.name, config.evaluation.benchmark_folder)
                read = read_benchmark(benchmark, stated, config.evaluation.benchmark_folder)
                loaded[benchmark.name] = replace(read, place=place)
            elif benchmark.original in loaded:
                original = replace(loaded[benchmark.original], benchmark=benchmark, place=place)
                loaded[benchmark.name] = with_perturbation(original, config.seed)
        except MissingSourceError as error:
            missing.append(str(error))
    if missing:
        given = os.environ.get(FOLDERS, "")
        raise MissingSourceError(
            "\n       ".join(
                [*missing, f"then set {FOLDERS}=FOLDER (it is {given!r}; several folders: A{os.pathsep}B)"]
            )
        )
    for name in config.evaluation.perturbations:
        if name != "all" and not any(b.problems for b in loaded.values() if b.benchmark.perturbation == name):
            raise ConfigError(
                f"evaluation.perturbations: {name} changes no problem of {', '.join(config.evaluation.benchmarks)}: "
                "leave it out, or add a benchmark that it changes (docs/statistics.md)"
            )
    # A perturbation that changes no problem of a benchmark, such as another order of options in a math benchmark.
    return tuple(benchmark for benchmark in loaded.values() if benchmark.problems)


def with_perturbation(loaded: BenchmarkProblems, seed: int) -> BenchmarkProblems:
    """The benchmark with its perturbation: the problems that it changes, or another instruction after all of them."""
    benchmark = loaded.benchmark
    problems, note = loaded.problems, "instruction: other words for the suffix"
    if benchmark.perturbation == "instruction":
        suffix = paraphrased_instruction(benchmark.kind, seed)
        benchmark, problems = replace(benchmark, suffix=suffix), problems if suffix else ()
    else:
        problems = tuple(perturbed(loaded.problems, benchmark.perturbation, seed))
        note = f"{benchmark.perturbation}: {len(problems)} of {len(loaded.problems)} problems, the others stay out"
    return replace(loaded, benchmark=benchmark, problems=problems, notes=(*loaded.notes, note))


def read_benchmark(benchmark: Benchmark, stated: Benchmark, own_folder: str = "") -> BenchmarkProblems:
    """One benchmark with its problems; `stated` is its file's protocol, `own_folder` the user's folder of such files.

    A problem's system message is the benchmark's if it states one. Raises as `load_benchmarks` does.
    """
    if benchmark.is_made:
        made = made_problems(benchmark.problems)
        return BenchmarkProblems(benchmark, _first(made, benchmark), tuple(departures(benchmark, stated, len(made))))
    files, is_instead = source_files(benchmark, own_folder)
    notes = [benchmark.instead_note] if is_instead else []
    expected = benchmark.instead_problems if is_instead else benchmark.problems
    try:
        problems = [problem for file in files for problem in _read(benchmark, file, len(files) > 1)]
    except ProblemFileError as error:
        raise ConfigError(f"{benchmark.name}: {error}") from error
    problems = between_dates(problems, benchmark.dates)
    if not problems:
        raise ConfigError(
            f"{benchmark.name}: no problem of {', '.join(files)} is in dates={benchmark.dates}: give other dates"
        )
    _refuse_repeated_ids(benchmark, problems)
    _refuse_other_kinds(benchmark, problems)
    if expected and benchmark.problems and len(problems) != expected:
        raise ConfigError(
            f"{benchmark.name}: {len(problems)} problems in {', '.join(files)}, expected {expected}: the source is "
            "incomplete or another version; get the right one, or set evaluation.override.problems=0 for any number"
        )
    return BenchmarkProblems(
        benchmark, _first(problems, benchmark), tuple(notes + departures(benchmark, stated, len(problems)))
    )


def _first(problems: Sequence[Problem], benchmark: Benchmark) -> tuple[Problem, ...]:
    return tuple(problems[: benchmark.limit] if benchmark.limit else problems)


def made_problems(count: int) -> list[Problem]:
    """The first `count` test problems that vt_ray makes, one of each subdomain in turn; the same ones in every run.

    A run takes its own test problems with its seed, so they may be among these; its training problems are not.
    """
    each = -(-count // len(SUBDOMAINS))
    by_subdomain = [make_problems(subdomain, "test", each, seed=0) for subdomain in SUBDOMAINS]
    return [problem for turn in zip(*by_subdomain, strict=True) for problem in turn][:count]


def source_files(benchmark: Benchmark, own_folder: str) -> tuple[list[str], bool]:
    """The files of the benchmark, and whether they are those of `instead`; none for made problems. Raises
    MissingSourceError."""
    if benchmark.is_made:
        return [], False
    folders = search_folders(own_folder)
    if found := _find(benchmark.source, folders):
        return found, False
    if benchmark.instead and (found := _find(benchmark.instead, folders)):
        return found, True
    how = f"download {benchmark.download} and save it under this name" if benchmark.download else "put it there"
    lost = ", ".join(benchmark.source)
    if own_folder:
        raise MissingSourceError(
            f"{benchmark.name}: {lost} is neither in {own_folder} nor in a folder of {FOLDERS}: {how}"
        )
    raise MissingSourceError(f"{benchmark.name}: {lost} is in no folder of {FOLDERS}: {how}")


def search_folders(own_folder: str) -> list[Path]:
    """The folders in which the file of a benchmark is looked for: the user's own, then those of VT_BENCHMARKS, each
    with the folders in it."""
    named = [own_folder, *os.environ.get(FOLDERS, "").split(os.pathsep)]
    roots = [Path(name).expanduser() for name in named if name]
    return [folder for root in roots for folder in [root, *_folders_in(root)]]


def _folders_in(root: Path) -> Iterable[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else ()


def _find(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The files of the names and globs in the first folder that has all of them, with hub names as they are; empty if
    no folder has them."""
    for folder in folders or [Path.cwd()]:
        found = [_files(name, folder) for name in names]
        if all(found):
            return [file for files in found for file in files]
    return []


def _files(name: str, folder: Path) -> list[str]:
    if name.startswith("hf:"):
        return [name]
    try:
        files = [str(part) for part in parts(folder / Path(name).expanduser())]
    except ProblemFileError:  # a glob without a file
        return []
    return files if all(Path(file).is_file() for file in files) else []


def _read(benchmark: Benchmark, file: str, is_one_of_several: bool) -> list[Problem]:
    """The problems of one file. If there are several files, each is a subdomain with the name of the file."""
    problems = read_problems(
        file,
        subdomain=benchmark.subdomain or (Path(file).name.split(".")[0] if is_one_of_several else None),
        drop_unanswered=benchmark.drop_unanswered,
        layout=benchmark.layout,
        fields=benchmark.fields,
        option_seed=benchmark.option_seed,
        encoding=benchmark.encoding,
    )
    if not benchmark.system:
        return problems
    return [replace(problem, system=benchmark.system) for problem in problems]


def between_dates(problems: list[Problem], dates: Sequence[str]) -> list[Problem]:
    """The problems of the window, both days inclusive, and those without a date."""
    if not dates:
        return problems
    first, last = dates
    return [p for p in problems if not (date := date_of(p)) or first <= date <= last]


def date_of(problem: Problem) -> str:
    """The date of a problem, "2025-02-01"; "" if its row has none."""
    meta = problem.meta or {}
    found = next((meta[name] for name in ("contest_date", "date", "release_date") if meta.get(name)), "")
    return str(found)[:10]


def level_of(problem: Problem) -> int | str:
    """The level that the row of a problem states: 5 for "Level 5", "medium"; `Problem.level` if it states none."""
    meta = problem.meta or {}
    stated = next((meta[name] for name in ("level", "difficulty") if type(meta.get(name)) in (int, str)), "")
    if number := re.fullmatch(r"(?i:level)?\s*(\d+)", str(stated)):
        return int(number[1])
    return str(stated).strip().lower() or problem.level


def _refuse_repeated_ids(benchmark: Benchmark, problems: Sequence[Problem]) -> None:
    places: dict[str, Problem] = {}
    for problem in problems:
        first = places.setdefault(problem.question_id, problem)
        if first is not problem:
            raise ConfigError(
                f"{benchmark.name}: {problem.place} has the id {problem.question_id!r} of {first.place}: ids must be "
                "unique in a benchmark, delete one of the two rows"
            )


def _refuse_other_kinds(benchmark: Benchmark, problems: Sequence[Problem]) -> None:
    other = next((p for p in problems if benchmark.kind and p.kind != benchmark.kind), None)
    if other:
        raise ConfigError(
            f"{benchmark.name}: {other.place} is a problem of kind {other.kind}, the benchmark's file states "
            f"kind: {benchmark.kind}: correct kind or source"
        )


def refuse_probed_benchmarks(probe: Sequence[Problem], benchmarks: Sequence[BenchmarkProblems]) -> None:
    """Raises ConfigError if a probing problem is a problem of a benchmark: the probing set chooses checkpoints, and a
    benchmark only reports."""
    words = {question_words(p.question): p for p in probe if benchmarks}
    for loaded in benchmarks:
        shared = [words[found] for p in loaded.problems if (found := question_words(p.question)) in words]
        if shared:
            raise ConfigError(
                f"{len(shared):,} of the {len(probe):,} probing problems are problems of the benchmark {loaded.name} "
                f"({shared[0].place}): its result would choose the checkpoints that it is to report on: give other "
                f"files for probing, or leave {loaded.name} out of evaluation.benchmarks"
            )
