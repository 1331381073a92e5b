"""The examples of the second SFT: long ones whose questions the first SFT's model often fails (arXiv 2606.16140).

    long examples --questions--> problems --last checkpoint of SFT--> verdicts --> error rates --> hard examples

A trace is measured with the gold answer of the training problem that asks its question. Traces of other questions have
no gold answer, so that their error rate cannot be known: they are not in the second SFT.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vt_ray.config import ConfigError, SecondStageConfig
from vt_ray.evaluation.verdicts_in_parts import verdicts_in_parts
from vt_ray.experiment import Experiment
from vt_ray.interfaces import Generator, Verifier
from vt_ray.progress import console
from vt_ray.records import GradedGroup, Problem, Sampling
from vt_ray.run.checkpoint import write_json
from vt_ray.spectrum_phase.examples import Examples, question_key

# {question key: error rate}, in the folder of the phase error_rates.
RATES = "error_rates.json"


def refuse_short_examples(examples: Examples, second: SecondStageConfig) -> None:
    """Raises ConfigError if no example is long enough for the second SFT: known before the first SFT begins."""
    longest = int(examples.completion_tokens.max(initial=0))
    if longest < second.min_tokens:
        raise ConfigError(
            f"spectrum.second_stage.min_tokens={second.min_tokens}, but the longest solution or trace for SFT has "
            f"{longest} tokens: lower min_tokens, or give longer traces and a larger spectrum.sft.max_tokens"
        )


def problems_to_measure(examples: Examples, second: SecondStageConfig, problems: Sequence[Problem]) -> list[Problem]:
    """The problems whose questions have an example of at least `min_tokens`. Raises ConfigError if there are none."""
    asked = {*examples.questions[examples.completion_tokens >= second.min_tokens].tolist()}
    # By id: a source for SFT and a source for RL may have the same problem.
    found = [*{p.question_id: p for p in problems if question_key(p.question) in asked}.values()]
    if not found:
        raise ConfigError(
            f"none of the {len(asked):,} questions with an example of at least spectrum.second_stage.min_tokens="
            f"{second.min_tokens} is a training problem with a gold answer: give their problems in data.train_files, "
            "or set spectrum.second_stage.steps=0"
        )
    return found


def measure_error_rates(
    e: Experiment, problems: Sequence[Problem], generator: Generator, verifier: Verifier, folder: Path
) -> None:
    """Writes {question key: error rate} of the weights that `generator` holds to `folder`.

    The verdicts are in `folder`, in parts that an interrupted attempt does not measure again.
    """
    probe, samples = e.config.spectrum.probe, e.config.spectrum.second_stage.rollouts
    sampling = Sampling(probe.temperature, probe.top_p, 0, probe.max_new_tokens, logprobs=False)
    key = (e.config.seed, "error rates")
    groups = verdicts_in_parts("error rates", problems, e.encoder, samples, sampling, key, generator, verifier, folder)
    write_json(folder / RATES, error_rates(problems, groups))


def read_error_rates(folder: Path) -> dict[int, float]:
    return {int(key): rate for key, rate in json.loads((folder / RATES).read_text()).items()}


def error_rates(problems: Sequence[Problem], groups: Sequence[GradedGroup]) -> dict[int, float]:
    """{question key: share of wrong completions among those with a verdict}, without questions without a verdict.

    `groups` are those of `problems`, in the same order.
    """
    wrong, valid = Counter[int](), Counter[int]()
    for problem, group in zip(problems, groups, strict=True):
        key = question_key(problem.question)
        valid[key] += sum(group.valid)
        wrong[key] += sum(group.valid) - int(sum(group.rewards))
    return {key: wrong[key] / count for key, count in valid.items() if count}


def hard_examples(examples: Examples, second: SecondStageConfig, rates: Mapping[int, float]) -> Examples:
    """The long examples of the questions with at least `min_error_rate`. Raises ConfigError if there are none."""
    hard = [key for key, rate in rates.items() if rate >= second.min_error_rate]
    is_long = examples.completion_tokens >= second.min_tokens
    chosen = examples.where(is_long & np.isin(examples.questions, np.array(hard, np.int64)))
    unmeasured = int((is_long & ~np.isin(examples.questions, np.array([*rates], np.int64))).sum())
    said = (
        f"{len(hard):,} of {len(rates):,} measured questions have an error rate of at least "
        f"spectrum.second_stage.min_error_rate={second.min_error_rate:g}"
    )
    if not len(chosen):
        highest = max(rates.values(), default=0.0)
        raise ConfigError(
            f"{said}, the highest is {highest:g}: the second SFT has no example. Lower it, or set "
            "spectrum.second_stage.steps=0; another run_name=... takes the finished phases of this run"
        )
    console.print(
        f"second SFT: {said}; {len(chosen):,} of {int(is_long.sum()):,} examples of at least {second.min_tokens:,} "
        f"tokens{f'; {unmeasured:,} have no gold answer to measure' if unmeasured else ''}",
        highlight=False,
        soft_wrap=True,
    )
    return chosen
