"""One prompt of a run, token by token: the check by eye of chat template, system message and suffix.

problem sets, PromptEncoder --encoded_prompt--> prompt.json --prompt_sentences, token_lines--> dry_run, report
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vt_ray.config import ConfigError
from vt_ray.data.chat_templates import end_token
from vt_ray.evaluation.traces import is_readable
from vt_ray.report.run_page.samples import visible
from vt_ray.run.checkpoint import read_json

if TYPE_CHECKING:
    from vt_ray.benchmarks import Benchmark
    from vt_ray.data.problem_sets import ProblemSets
    from vt_ray.data.prompts import PromptEncoder
    from vt_ray.records import Problem

WIDTH = 118


def encoded_prompt(encoder: PromptEncoder, problems: ProblemSets) -> dict[str, Any]:
    """Returns the prompt of the first problem as plain data: ids, text of each token, end of a response.

    In a run without problems of its own that may be shown, it is the first one of a benchmark, in the benchmark's
    format. Returns {} if no problem may be shown.
    """
    from vt_ray.evaluation.benchmarks import benchmark_encoder

    benchmark, problem = next(((b, p) for b, p in _asked(problems) if is_readable(p)), (None, None))
    if problem is None:
        return {}
    encoder = benchmark_encoder(encoder, benchmark) if benchmark else encoder
    tokenizer, ids = encoder.tokenizer, encoder.chat_ids(problem)
    return {
        "problem": problem.place,
        "text": tokenizer.decode(ids),
        "ids": ids,
        "tokens": [tokenizer.decode([i]) for i in ids],
        "eos_token_id": tokenizer.eos_token_id,
        "eos_token": tokenizer.eos_token,
        "template_end": _template_end(tokenizer),
    }


def _asked(problems: ProblemSets) -> Iterator[tuple[Benchmark | None, Problem]]:
    for split in (problems.train, problems.probe, problems.test):
        yield from ((None, problem) for problem in split)
    for loaded in problems.benchmarks:
        yield from ((loaded.benchmark, problem) for problem in loaded.problems)


def recorded_prompt(file: Path) -> dict[str, Any]:
    """The `encoded_prompt` that a run has written to `file`, {} before."""
    return read_json(file) if file.is_file() else {}


def _template_end(tokenizer: Any) -> str:
    """The token that the tokenizer's own chat template writes after a response, "" if this cannot be seen."""
    try:
        return end_token(tokenizer, tokenizer.get_chat_template(), "")
    except (ConfigError, ValueError):
        return ""


def prompt_sentences(shown: Mapping[str, Any]) -> list[str]:
    """Sentences about an `encoded_prompt`: its problem, its length, and the token that ends a response."""
    end = f"{shown['eos_token']} (id {shown['eos_token_id']})"
    said = [
        f"The prompt of {shown['problem']} has {len(shown['ids']):,} tokens. A response ends with {end}: SFT learns it "
        "and generation stops on it."
    ]
    if shown["template_end"] not in ("", shown["eos_token"]):
        said.append(
            f"The chat template of the model ends a response with {shown['template_end']} instead. If the model "
            f"writes {shown['template_end']}, set model.chat_template: its end of a response becomes the EOS token."
        )
    return said


def token_lines(shown: Mapping[str, Any]) -> list[str]:
    """Each token as its id and its text in quotes, in lines of at most WIDTH characters. A line ends after a line break
    of the prompt."""
    lines = [""]
    for i, text in zip(shown["ids"], shown["tokens"], strict=True):
        part = f"{i} {visible(json.dumps(text, ensure_ascii=False))}"
        if len(lines[-1]) + len(part) > WIDTH:
            lines.append("")
        lines[-1] += f"{part}  "
        if text.endswith("\n"):
            lines.append("")
    return [line.rstrip() for line in lines if line]


def print_prompt(shown: Mapping[str, Any]) -> None:
    """Prints an `encoded_prompt`: its text, then its tokens."""
    from vt_ray.progress import console

    if not shown:
        line = "no prompt to show: the tokenizer is not on this machine yet; the report of the run shows one"
        console.print(line, soft_wrap=True)
        return
    text = textwrap.indent(visible(shown["text"]), "  | ", lambda line: True)
    for part in [*prompt_sentences(shown), text, *token_lines(shown)]:
        console.print(part, markup=False, highlight=False, soft_wrap=True)
