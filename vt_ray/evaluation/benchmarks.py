"""Asks a model the problems of a benchmark.

BenchmarkProblems --its prompts, seeds--> completions --verdict, answer--> ProblemResult lines in a results file
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vt_ray.config import ConfigError, digest
from vt_ray.data.problem_sets import ProblemSets, fitting
from vt_ray.data.prompts import PromptEncoder
from vt_ray.evaluation.answers import AnswerReader, AnswerReaders, has_answers
from vt_ray.evaluation.benchmark_figures import SECOND
from vt_ray.evaluation.claim_votes import write_votes
from vt_ray.evaluation.energy import EnergyMeter, machine_readings, no_energy
from vt_ray.evaluation.repetition import ends_in_loop
from vt_ray.evaluation.results import ProblemResult
from vt_ray.evaluation.results_file import JOULES, ResultsFile, traces_path
from vt_ray.evaluation.sampling import Score, graded
from vt_ray.evaluation.traces import is_readable, trace_line
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
    return [p.kind, p.question, p.answer, p.options, p.tests, p.system, *([p.tolerance] if p.tolerance else [])]


def evaluate_benchmark(
    e: Experiment, loaded: BenchmarkProblems, generator: Generator, verifier: Verifier, path: Path
) -> list[Score]:
    """Write the results of the weights that `generator` holds to `path`, problem by problem.

    Problems that are in the file already are not asked again. Returns the scores of all problems, with the benchmark as
    their subdomain.
    """
    b = loaded.benchmark
    # A perturbed benchmark is for the change of Pass@1 only, and programs have no answers to vote on.
    votes = not b.perturbation and any(has_answers(p.kind) for p in loaded.problems)
    rule = e.config.evaluation.vote if votes else "none"
    head = {**header(loaded), "vote": rule}
    meter = EnergyMeter(machine_readings if e.config.cluster.ray_address is None else no_energy)
    with (
        ResultsFile(path, head) as file,
        ResultsFile(traces_path(path), head) as traces,
        AnswerReaders(e.config.verify) as readers,
    ):
        # A vote needs the texts of all samples; the report shows some of them.
        done = file.results.keys() & traces.results.keys() if rule == "clr" else file.results.keys()
        left = [p for p in loaded.problems if p.question_id not in done]
        totals = _Totals(file, len(loaded.problems))
        with bar(f"{path.parent.name} {b.name}", len(loaded.problems), len(done)) as advance:
            asked = _rollouts(e, b, left, generator, verifier)
            for rollouts, line in readers.map(partial(_line, dates=loaded.dates, levels=loaded.levels), asked):
                if rule == "clr" or (not b.perturbation and is_readable(rollouts.problem)):
                    traces.add(trace_line(rollouts, of_all_samples=rule == "clr"))
                file.add({**line, JOULES: meter.joules()})
                totals.add(ProblemResult.from_dict(line))
                advance(totals.note(), 1)
        spent = write_votes(e, loaded, file, traces, generator, verifier, meter) if rule == "clr" else {}
        return [_score(b.name, ProblemResult.from_dict(line), spent) for line in file.results.values()]


def _rollouts(
    e: Experiment, b: Benchmark, problems: Sequence[Problem], generator: Generator, verifier: Verifier
) -> Iterator[tuple[GradedGroup, Rollouts]]:
    """Each problem's completions and their verdicts, in the order of arrival."""
    sampling = Sampling(b.temperature, b.top_p, 0, b.max_new_tokens, logprobs=False)
    # The same seeds at every milestone: paired differences have less noise.
    prompts = benchmark_encoder(e.encoder, b).prompts(problems, b.samples, (e.config.seed, "evaluate"))
    for group in graded(generator, verifier, prompts, sampling):
        yield group, verifier.rollouts(group)


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


def _line(
    reader: AnswerReader,
    graded: tuple[GradedGroup, Rollouts],
    dates: Mapping[str, str],
    levels: Mapping[str, int | str],
) -> tuple[Rollouts, dict[str, Any]]:
    """The completions of a problem with its line of the results file."""
    group, rollouts = graded
    verdicts = [verdict.status for verdict in group.verdicts]
    answers, classes = reader.read(rollouts, verdicts)
    result = ProblemResult(
        question_id=group.question_id,
        subdomain=group.subdomain,
        verdicts=verdicts,
        tokens=[int(n) for n in group.completion_tokens],
        truncated=list(group.truncated),
        answers=answers,
        classes=classes,
        loops=[ends_in_loop(c.token_ids) for c in rollouts.completions],
        level=levels.get(group.question_id),
        date=dates.get(group.question_id, ""),
    )
    return rollouts, {**result.as_dict(), SECOND: reader.second_verdicts(rollouts)}


class _Totals:
    """Sums over the results so far, for the line beside the bar."""

    def __init__(self, file: ResultsFile, problems: int):
        self._file, self._problems = file, problems
        self._scored, self._score, self._tokens = 0, 0.0, 0
        for line in file.results.values():
            self.add(ProblemResult.from_dict(line))

    def add(self, result: ProblemResult) -> None:
        self._tokens += sum(result.tokens)
        if result.valid:
            self._scored += 1
            self._score += result.pass_at(1)

    def note(self) -> str:
        """Pass@1, tokens a second, the tokens so far, and the tokens of all problems at the mean length."""
        mean = f"Pass@1 {self._score / self._scored:.1%}  " if self._scored else ""
        rate = short_rate(self._tokens / max(self._file.seconds, 1e-9))
        expected = short_rate(self._tokens * self._problems / len(self._file.results))
        return f"{mean}{rate} tokens/s  {short_rate(self._tokens)} of {expected} tokens"


def _score(benchmark: str, result: ProblemResult, spent: Mapping[str, int]) -> Score:
    """The score of a problem. Its tokens are those of all samples and of the vote, the cost of the evaluation."""
    return Score(
        question_id=f"{benchmark}/{result.question_id}",
        subdomain=benchmark,
        correct=result.correct,
        valid=result.valid,
        samples=len(result.verdicts),
        truncated=sum(result.truncated),
        tokens=sum(result.tokens) + spent.get(result.question_id, 0),
    )
