"""Asks a model the problems of a benchmark.

BenchmarkProblems --its prompts, seeds--> completions --verdict, answer--> ProblemResult lines in a results file
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vt_ray.config import ConfigError, digest
from vt_ray.data.problem_sets import ProblemSets, fitting
from vt_ray.data.prompts import PromptEncoder
from vt_ray.evaluation.answers import AnswerReader
from vt_ray.evaluation.benchmark_figures import SECOND
from vt_ray.evaluation.repetition import ends_in_loop
from vt_ray.evaluation.results import ProblemResult
from vt_ray.evaluation.results_file import ResultsFile
from vt_ray.evaluation.sampling import Score, graded
from vt_ray.progress import bar, short_rate
from vt_ray.records import GradedGroup, Problem, Rollouts, Sampling

if TYPE_CHECKING:
    from vt_ray.benchmarks import Benchmark
    from vt_ray.data.benchmark_problems import BenchmarkProblems
    from vt_ray.experiment import Experiment
    from vt_ray.interfaces import Generator, Verifier


def benchmark_encoder(encoder: PromptEncoder, benchmark: Benchmark) -> PromptEncoder:
    """An encoder with the benchmark's system message, suffix, chat template and prompt limit."""
    data = replace(encoder.data, max_prompt_tokens=benchmark.max_prompt_tokens)
    own = PromptEncoder(encoder.tokenizer, data, encoder.form)
    return own.with_format(
        system=benchmark.system or None, suffix=benchmark.suffix, chat_template=benchmark.chat_template or None
    )


def encodable(problems: ProblemSets, encoder: PromptEncoder) -> ProblemSets:
    """The problems whose prompts fit, and the benchmarks with their fingerprints. Raises ConfigError as `fitting` and
    `with_fingerprint` do."""
    benchmarks = tuple(with_fingerprint(loaded, encoder) for loaded in problems.benchmarks)
    return replace(fitting(problems, encoder), benchmarks=benchmarks)


def with_fingerprint(loaded: BenchmarkProblems, encoder: PromptEncoder) -> BenchmarkProblems:
    """The benchmark with the fingerprint of its problems, prompts and settings.

    Two figures can be compared if their fingerprints are equal. `parts` has a hash of each of the three, to say which
    one differs. Order, ids and paths of the problems do not count. Raises ConfigError for a prompt that is too long.
    """
    benchmark, own = loaded.benchmark, benchmark_encoder(encoder, loaded.benchmark)
    lengths = [(len(ids), ids, p) for p in loaded.problems if (ids := own.chat_ids(p))]
    _refuse_long_prompt(benchmark, lengths)
    settings = {name: getattr(benchmark, name) for name in ("samples", "temperature", "top_p", "max_new_tokens")}
    parts = {
        "problems": digest(sorted(digest(_content(p)) for p in loaded.problems)),
        "prompts": digest(sorted(digest(own.tokenizer.decode(ids)) for _, ids, _ in lengths)),
        "settings": digest(settings),
    }
    return replace(loaded, fingerprint=digest(parts), parts=parts)


def _refuse_long_prompt(benchmark: Benchmark, lengths: Sequence[tuple[int, list[int], Problem]]) -> None:
    longest, _, problem = max(lengths, key=lambda found: found[0])
    if longest > benchmark.max_prompt_tokens:
        raise ConfigError(
            f"{benchmark.name}: the prompt of {problem.place} has {longest} tokens, the limit of the benchmark is "
            f"max_prompt_tokens={benchmark.max_prompt_tokens}: set evaluation.override.max_prompt_tokens={longest}"
        )


def _content(p: Problem) -> list[Any]:
    return [p.kind, p.question, p.answer, p.options, p.tests, p.system]


def evaluate_benchmark(
    e: Experiment, loaded: BenchmarkProblems, generator: Generator, verifier: Verifier, path: Path
) -> list[Score]:
    """Write the results of the weights that `generator` holds to `path`, problem by problem.

    Problems that are in the file already are not asked again. Returns the scores of all problems, with the benchmark as
    their subdomain.
    """
    b = loaded.benchmark
    sampling = Sampling(b.temperature, b.top_p, 0, b.max_new_tokens)
    with ResultsFile(path, header(loaded)) as file, AnswerReader(e.config.verify) as reader:
        left = [p for p in loaded.problems if p.question_id not in file.results]
        # The same seeds at every milestone: paired differences have less noise.
        prompts = benchmark_encoder(e.encoder, b).prompts(left, b.samples, (e.config.seed, "evaluate"))
        with bar(f"{path.parent.name} {b.name}", len(loaded.problems), len(file.results)) as advance:
            for group in graded(generator, verifier, prompts, sampling):
                rollouts = verifier.rollouts(group)
                result = _result(group, rollouts, reader, loaded.dates)
                file.add({**result.as_dict(), SECOND: reader.second_verdicts(rollouts)})
                advance(_note(file), 1)
        return [_score(b.name, ProblemResult.from_dict(line)) for line in file.results.values()]


def header(loaded: BenchmarkProblems) -> dict[str, Any]:
    """The first line of a results file: what a table needs besides the results."""
    b = loaded.benchmark
    return {
        "benchmark": b.name,
        "original": b.original,
        "perturbation": b.perturbation,
        "place": loaded.place,
        "title": b.title or b.name,
        "fingerprint": loaded.fingerprint,
        "parts": loaded.parts,
        "k": [k for k in b.k if k <= b.samples],
        "temperature": b.temperature,
        "top_p": b.top_p,
        "max_new_tokens": b.max_new_tokens,
        "notes": [*loaded.notes, *([b.note] if b.note else [])],
        "published": [asdict(figure) for figure in b.published],
    }


def _result(group: GradedGroup, rollouts: Rollouts, reader: AnswerReader, dates: Mapping[str, str]) -> ProblemResult:
    verdicts = [verdict.status for verdict in group.verdicts]
    answers, classes = reader.read(rollouts, verdicts)
    return ProblemResult(
        question_id=group.question_id,
        subdomain=group.subdomain,
        verdicts=verdicts,
        tokens=[int(n) for n in group.completion_tokens],
        truncated=list(group.truncated),
        answers=answers,
        classes=classes,
        loops=[ends_in_loop(c.token_ids) for c in rollouts.completions],
        level=rollouts.problem.level,
        date=dates.get(group.question_id, ""),
    )


def _note(file: ResultsFile) -> str:
    results = [ProblemResult.from_dict(line) for line in file.results.values()]
    scores = [r.pass_at(1) for r in results if r.valid]
    tokens = sum(sum(r.tokens) for r in results)
    mean = f"Pass@1 {sum(scores) / len(scores):.1%}  " if scores else ""
    return f"{mean}{short_rate(tokens / max(file.seconds, 1e-9))} tokens/s"


def _score(benchmark: str, result: ProblemResult) -> Score:
    return Score(
        question_id=f"{benchmark}/{result.question_id}",
        subdomain=benchmark,
        correct=result.correct,
        valid=result.valid,
        samples=len(result.verdicts),
        truncated=sum(result.truncated),
        tokens=sum(result.tokens),
    )
