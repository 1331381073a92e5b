"""`evaluation.vote=clr`: the model lists and checks the claims of its own samples, and their votes get weights.

traces/<benchmark>.jsonl (texts of the samples) --claims.claim_weights--> votes/<benchmark>.jsonl (weight of each)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vt_ray.config import digest
from vt_ray.data.prompts import PromptEncoder
from vt_ray.evaluation.claims import Generate, Reply, claim_weights, claims_prompt, reply_tokens
from vt_ray.evaluation.energy import EnergyMeter
from vt_ray.evaluation.results import ProblemResult
from vt_ray.evaluation.results_file import JOULES, ResultsFile, votes_path
from vt_ray.evaluation.sampling import graded
from vt_ray.progress import bar, short_rate
from vt_ray.records import Problem, Sampling
from vt_ray.verify.extraction.final_text import whole_response

if TYPE_CHECKING:
    from vt_ray.benchmarks import Benchmark
    from vt_ray.data.benchmark_problems import BenchmarkProblems
    from vt_ray.experiment import Experiment
    from vt_ray.interfaces import Generator, Verifier

# Problems whose claims are asked together. Their votes are written when all their claims are checked.
PROBLEMS_AT_ONCE = 16


def write_votes(
    e: Experiment,
    loaded: BenchmarkProblems,
    results: ResultsFile,
    traces: ResultsFile,
    generator: Generator,
    verifier: Verifier,
    meter: EnergyMeter,
) -> dict[str, int]:
    """Write the weight of each sample to `votes_path`. Returns {question id: tokens of its claims and checks}.

    Problems that are in the file already are not asked again.
    """
    encoder = _encoder(e.encoder, loaded.benchmark)
    generate = _asking(encoder, reply_tokens(loaded.benchmark.max_new_tokens), e.config.seed, generator, verifier)
    with ResultsFile(votes_path(results.path), results.header) as file:
        left = [p for p in loaded.problems if p.question_id not in file.results]
        with bar(f"{results.path.parent.name} {loaded.name} vote", len(loaded.problems), len(file.results)) as advance:
            for start in range(0, len(left), PROBLEMS_AT_ONCE):
                asked = left[start : start + PROBLEMS_AT_ONCE]
                for line in _votes(asked, results.results, traces.results, encoder, generate):
                    file.add({**line, JOULES: meter.joules()})
                tokens = sum(line["tokens"] for line in file.results.values())
                advance(f"{short_rate(tokens / max(file.seconds, 1e-9))} tokens/s", len(asked))
        return {question_id: line["tokens"] for question_id, line in file.results.items()}


def _votes(
    problems: Sequence[Problem],
    results: Mapping[str, Mapping[str, Any]],
    traces: Mapping[str, Mapping[str, Any]],
    encoder: PromptEncoder,
    generate: Generate,
) -> list[dict[str, Any]]:
    """A line for each problem: the weight of each sample, and the tokens of all its claims and checks."""
    asked, places = [], []
    for problem in problems:
        texts = traces[problem.question_id]["texts"]
        chosen = _compared(ProblemResult.from_dict(results[problem.question_id]))
        places.append((len(texts), chosen))
        asked.append((problem.question, [_fitting(encoder, problem.question, texts[place]) for place in chosen]))
    lines = []
    for problem, (samples, chosen), found in zip(problems, places, claim_weights(asked, generate), strict=True):
        # A weight of 0 everywhere is a plain majority vote.
        weights = [0.0] * samples
        for place, weight in zip(chosen, found.weights, strict=True):
            weights[place] = weight
        lines.append({"question_id": problem.question_id, "weights": weights, "tokens": found.tokens})
    return lines


def _compared(result: ProblemResult) -> list[int]:
    """The samples whose claims are asked: those that vote. None if all their answers are equal, because then no weight
    changes the result."""
    voting = result.voting
    return voting if len({result.classes[place] for place in voting}) > 1 else []


def _encoder(encoder: PromptEncoder, benchmark: Benchmark) -> PromptEncoder:
    """An encoder for requests in the benchmark's chat template, without its suffix and its system message."""
    longest = benchmark.context_tokens - reply_tokens(benchmark.max_new_tokens)
    own = PromptEncoder(encoder.tokenizer, replace(encoder.data, max_prompt_tokens=longest), encoder.form)
    return own.with_format(system="", suffix="", chat_template=benchmark.chat_template or None)


def _asking(encoder: PromptEncoder, max_tokens: int, seed: int, generator: Generator, verifier: Verifier) -> Generate:
    """A function that asks the generators: equal prompts once. A prompt over the context gets an empty reply."""
    sampling = Sampling(temperature=1.0, top_p=0.95, top_k=0, max_tokens=max_tokens, logprobs=False)

    def generate(texts: Sequence[str]) -> list[Reply]:
        requests = {text: _request(text) for text in texts}
        prompts = encoder.prompts([p for p in requests.values() if _fits(encoder, p)], 1, (seed, "vote"))
        replies: dict[str, Reply] = {}
        for group in graded(generator, verifier, prompts, sampling):
            rollouts = verifier.rollouts(group)
            (completion,) = rollouts.completions
            text = whole_response(rollouts.problem, completion.text)
            replies[group.question_id] = Reply(text, len(completion.token_ids))
        return [replies.get(requests[text].question_id, Reply("", 0)) for text in texts]

    return generate


def _request(text: str) -> Problem:
    # Its seed follows from its text. The kind "choice" is the cheapest to grade; the verdict is not used.
    return Problem(f"vote/{digest(text)}", "vote", "choice", text, "A")


def _fits(encoder: PromptEncoder, problem: Problem) -> bool:
    return len(encoder.chat_ids(problem)) <= encoder.data.max_prompt_tokens


def _fitting(encoder: PromptEncoder, question: str, trace: str) -> str:
    """The longest end of the trace, in steps of a quarter, whose request for claims fits; "" if none does."""
    while trace and not _fits(encoder, _request(claims_prompt(question, trace))):
        trace = trace[len(trace) // 4 + 1 :]
    return trace
