"""The registry of benchmarks: conf/benchmark/NAME.yaml, one file each, and the suites that name several.

evaluation.benchmarks=[aime24, paper]  --chosen_benchmarks-->  [Benchmark], with evaluation.limit and .override applied

To add a benchmark is to add a file, here or in `evaluation.benchmark_folder`. `evaluation/benchmark_problems.py` reads
the problems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from vt_ray.config import CONF, BenchmarkOverride, ConfigError, EvaluationConfig

SHIPPED = CONF / "benchmark"
SUITES = "suites"
# In place of a source: problems that vt_ray makes.
MADE = "made"
# The values of `evaluation.vote`.
VOTES = ("none", "majority", "clr")
# The perturbations of benchmarks; `data.perturbations.table` has the functions. Here, so that checking a configuration
# loads no problems.
PERTURBED = (
    *("typos", "white_space", "irrelevant_sentence", "wrong_hint"),
    *("renamed_variable", "other_digits", "reordered_options", "number_twin", "instruction"),
)
# The settings that `evaluation.override` and a suite may replace.
PROTOCOL = (*(f.name for f in fields(BenchmarkOverride)), "limit")


@dataclass
class Published:
    """A published figure: Pass@1 in percent."""

    model: str = ""
    value: float = 0.0
    # Where it was published, for example "arXiv 2511.06221, table 1".
    source: str = ""


@dataclass
class Benchmark:
    """One benchmark: where its problems are, how a model is asked, and what has been published.

    The defaults are the protocol of arXiv 2511.06221, section 4, for a math problem.
    """

    # The name of the file without .yaml. Not a key of the file.
    name: str = ""
    # A name for people: "AIME 2024".
    title: str = ""
    # File name, or several, or a glob, in one of the folders of the variable VT_BENCHMARKS. A file of your own folder
    # may also give a path relative to itself, an absolute path, or hf://owner/name?split=test&revision=COMMIT. "made":
    # vt_ray's own test problems, `problems` of them, from all subdomains and levels.
    source: list[str] = field(default_factory=list)
    # The files to take if those of `source` are absent, and what a reader must know of a result from them.
    instead: list[str] = field(default_factory=list)
    instead_note: str = ""
    # Number of problems in `instead`. 0: any number.
    instead_problems: int = 0
    # Where to get the files, as text for the error message.
    download: str = ""
    # How the rows are read, as in data.test_files[] (docs/data.md).
    layout: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    encoding: str = ""
    subdomain: str | None = None
    option_seed: int = 0
    # Leave out rows whose gold answer the verifier cannot read. false: they stay, without a verdict, if they are few.
    drop_unanswered: bool = False
    # First and last date of the problems, inclusive: [2024-08-01, 2025-01-31]. Empty: all. Rows without a date stay.
    dates: list[str] = field(default_factory=list)
    # "math", "choice" or "code": the kind of its problems. Empty: several kinds.
    kind: str = "math"
    # Number of problems that the source must have. 0: any number.
    problems: int = 0
    # First N problems. 0: all. `evaluation.limit` replaces it.
    limit: int = 0
    # Text after each question. null: data.math_suffix or data.code_suffix.
    suffix: str | None = None
    # System message. Empty: as the rows and the settings say.
    system: str = ""
    # Chat template, as in model.chat_template. Empty: the model's.
    chat_template: str = ""
    # Completions of each problem.
    samples: int = 64
    temperature: float = 1.0
    top_p: float = 0.95
    max_new_tokens: int = 40960
    # Longest prompt in tokens, chat template included.
    max_prompt_tokens: int = 2048
    # The K values of Pass@K. Values above `samples` are left out.
    k: list[int] = field(default_factory=lambda: [4, 8, 16, 32, 64])
    published: list[Published] = field(default_factory=list)
    # What a reader of the result must know.
    note: str = ""

    # The perturbation of its problems, from `evaluation.perturbations`. Not a key of the file.
    perturbation: str = ""

    @property
    def original(self) -> str:
        """The name of the benchmark without its perturbation."""
        return self.name.removesuffix(f"+{self.perturbation}")

    @property
    def is_made(self) -> bool:
        return self.source == [MADE]

    @property
    def context_tokens(self) -> int:
        return self.max_prompt_tokens + self.max_new_tokens


@dataclass
class Suite:
    """Several benchmarks under one name, with the settings that replace those of their files."""

    title: str = ""
    benchmarks: list[str] = field(default_factory=list)
    override: dict[str, Any] = field(default_factory=dict)


def chosen_benchmarks(evaluation: EvaluationConfig) -> list[Benchmark]:
    """The benchmarks of `evaluation.benchmarks`, suites replaced by their members, with the run's own settings.

    Raises ConfigError for an unknown name, a benchmark that is named twice, or a setting that cannot work.
    """
    found: dict[str, Benchmark] = {}
    for name in evaluation.benchmarks:
        for benchmark in _named(name, evaluation.benchmark_folder):
            if benchmark.name in found:
                raise ConfigError(f"evaluation.benchmarks: {benchmark.name} is named twice: leave one out")
            found[benchmark.name] = benchmark
    changes = {name: value for name, value in vars(evaluation.override).items() if value is not None}
    if evaluation.limit:
        changes["limit"] = evaluation.limit
    chosen = [_overridden(b, changes, "evaluation.override") for b in found.values()]
    return [*chosen, *(_perturbed(b, name) for b in chosen for name in chosen_perturbations(evaluation.perturbations))]


def refuse_useless_vote(vote: str, benchmarks: Sequence[Benchmark]) -> None:
    """Raises ConfigError if no benchmark can have a vote: programs have no answers to compare, one sample no others."""
    if vote in VOTES[1:] and benchmarks and not any(b.kind != "code" and b.samples > 1 for b in benchmarks):
        raise ConfigError(
            f"evaluation.vote={vote} has no effect on {', '.join(b.name for b in benchmarks)}: a vote needs math or "
            "choice problems with at least 2 samples each; set evaluation.override.samples=8, or vote=none"
        )


def chosen_perturbations(names: Sequence[str]) -> list[str]:
    """The perturbations of `evaluation.perturbations`, without duplicates. Raises ConfigError for an unknown name."""
    if unknown := [name for name in names if name not in (*PERTURBED, "all")]:
        raise ConfigError(f"evaluation.perturbations: {unknown[0]!r} is none of all, {', '.join(PERTURBED)}")
    return list(PERTURBED) if "all" in names else list(dict.fromkeys(names))


def _perturbed(benchmark: Benchmark, perturbation: str) -> Benchmark:
    """The benchmark under a name of its own, such as gsm8k+typos. Nothing has been published about it."""
    return replace(benchmark, name=f"{benchmark.name}+{perturbation}", perturbation=perturbation, published=[])


def file_protocol(name: str, folder: str) -> Benchmark:
    """The benchmark as its file states it, without the settings of a suite or of the run."""
    (benchmark,) = _named(name, folder)
    return benchmark


def departures(benchmark: Benchmark, stated: Benchmark, problems: int) -> list[str]:
    """The settings in which a run differs from the protocol that the benchmark's file states, as text.

    `problems` is the number of problems before `limit`: a limit that leaves out none is no difference.
    """
    pairs = [(name, getattr(benchmark, name), getattr(stated, name)) for name in PROTOCOL]
    plain = [f"{name} {now} instead of {was}" for name, now, was in pairs if now != was and name not in ("limit", "k")]
    return plain + ([f"only the first {benchmark.limit} problems"] if 0 < benchmark.limit < problems else [])


def benchmark_files(folder: str = "") -> dict[str, Path]:
    """{name: file} of all benchmarks and suites. The user's `folder` comes before the shipped ones."""
    found: dict[str, Path] = {}
    for root in [Path(folder), SHIPPED] if folder else [SHIPPED]:
        for file in sorted([*root.glob("*.yaml"), *(root / SUITES).glob("*.yaml")]):
            found.setdefault(file.stem, file)
    return found


def _named(name: str, folder: str, within: tuple[str, ...] = ()) -> list[Benchmark]:
    """The benchmark of this name, or the members of the suite. `within` names the suites that it was found in."""
    if name in within:
        chain = " > ".join([*within, name])
        raise ConfigError(f"the suite {name} contains itself ({chain}): leave it out of {within[-1]}")
    files = benchmark_files(folder)
    if name not in files:
        raise ConfigError(
            f"evaluation.benchmarks: {name!r} is none of {', '.join(sorted(files))}: take one of them, or write "
            f"{name}.yaml and name its folder in evaluation.benchmark_folder"
        )
    if files[name].parent.name != SUITES:
        return [_read(files[name])]
    suite = _checked(files[name], Suite)
    members = [benchmark for member in suite.benchmarks for benchmark in _named(member, folder, (*within, name))]
    return [_overridden(benchmark, suite.override, str(files[name])) for benchmark in members]


def _read(file: Path) -> Benchmark:
    benchmark = replace(_checked(file, Benchmark), name=file.stem)
    if not benchmark.source:
        raise ConfigError(f"{file}: source is empty: name the file with the problems")
    _refuse_faults(benchmark, str(file))
    return benchmark


@cache
def _checked(file: Path, schema: type) -> Any:
    """The file as an object of `schema`. Raises ConfigError with the file for unknown keys and wrong types."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        values: Any = OmegaConf.load(file)
        for name in ("source", "instead"):
            if OmegaConf.is_dict(values) and isinstance(values.get(name), str):
                values[name] = [values[name]]
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except (ValueError, TypeError, OSError, yaml.YAMLError, OmegaConfBaseException) as error:
        known = ", ".join(f.name for f in fields(schema) if f.name not in ("name", "perturbation"))
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file}: {reason:.300}: the keys are {known}, see docs/evaluation.md") from error


def _overridden(benchmark: Benchmark, settings: Mapping[str, Any], where: str) -> Benchmark:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if unknown := sorted(settings.keys() - {*PROTOCOL}):
        raise ConfigError(f"{where}: {', '.join(unknown)} cannot be replaced: take some of {', '.join(PROTOCOL)}")
    try:
        changed: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(benchmark), dict(settings)))
    except (ValueError, OmegaConfBaseException) as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split()):.300}: give values as in the file") from error
    _refuse_faults(changed, where)
    return changed


def _refuse_faults(b: Benchmark, where: str) -> None:
    """Raises ConfigError for a value that cannot work, with `where` it was set."""
    faults = [f"{n}={getattr(b, n)} must be at least 1" for n in ("samples", "max_new_tokens") if getattr(b, n) < 1]
    faults += [f"{n}={getattr(b, n)} must be at least 0" for n in ("limit", "problems") if getattr(b, n) < 0]
    if b.max_prompt_tokens < 8:
        faults.append(f"max_prompt_tokens={b.max_prompt_tokens} must be at least 8")
    if b.temperature < 0 or (b.temperature == 0 and b.samples > 1):
        faults.append(f"temperature={b.temperature} with samples={b.samples}: above 0, or 0 (greedy) with one sample")
    if not 0 < b.top_p <= 1:
        faults.append(f"top_p={b.top_p} must lie in (0, 1]")
    if any(k < 1 for k in b.k):
        faults.append(f"k={b.k}: every K must be at least 1")
    if b.kind not in ("", "math", "choice", "code"):
        faults.append(f"kind={b.kind!r} must be math, choice, code or empty")
    if b.dates and (len(b.dates) != 2 or b.dates[0] > b.dates[1]):
        faults.append(f"dates={b.dates}: give the first and the last date, such as [2024-08-01, 2025-01-31]")
    if b.is_made and not b.problems:
        faults.append(f"source={MADE} without problems: give their number, such as problems: 100")
    if faults:
        raise ConfigError(f"{where}: {b.name}: {'; '.join(faults)}")
