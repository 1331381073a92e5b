"""Rejection sampling: verified completions of several models become SFT traces (arXiv 2606.16140).

problems --generator, verifier, filters--> parts/<model>_000000.json --without copies--> traces.jsonl, rejection.json

A row of traces.jsonl has the chat as the model got it, so that `data.trace_files` reads the file without further keys.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vt_ray.config import ConfigError
from vt_ray.data.traces.reasoning import split_reasoning
from vt_ray.evaluation.repetition import repeated_share
from vt_ray.experiment import Experiment
from vt_ray.interfaces import Generator, Verifier
from vt_ray.progress import bar, console
from vt_ray.records import Completion, GradedGroup, Problem, Sampling
from vt_ray.run.checkpoint import exists, read_json, write_json
from vt_ray.run.paths import RejectionPaths

# Problems in one part file. A killed phase loses the work on at most one part.
CHUNK = 256
# What becomes of a completion. The first reason that holds counts.
KEPT, WRONG, UNVERIFIED, TRUNCATED = "kept", "wrong", "without verdict", "truncated"
REPETITIVE, UNUSABLE, COPY = "repetitive", "unusable text", "copy"
FATES = (KEPT, WRONG, UNVERIFIED, TRUNCATED, REPETITIVE, UNUSABLE, COPY)

Row = dict[str, Any]


@dataclass(frozen=True)
class AskedModel:
    """A model that answers `problems`. `name` is a milestone of the run or the name of the folder."""

    name: str
    folder: Path
    problems: Sequence[Problem]


def run_rejection(e: Experiment, models: Sequence[AskedModel], folder: Path) -> None:
    """Write the traces of all models to `folder`. Parts of an interrupted attempt are read and not sampled again.

    Raises ConfigError if no completion is kept.
    """
    paths = RejectionPaths(folder)
    if not exists(paths.table):
        paths.parts.mkdir(exist_ok=True)
        with e.cluster.generator(e.base) as generator, e.cluster.verifier() as verifier:
            for version, model in enumerate(models):
                _sample(e, model, version, generator, verifier, paths)
        # The table is written last: without it, the traces are collected from the parts once more.
        write_json(paths.table, _collect(models, paths))
    shutil.rmtree(paths.parts, ignore_errors=True)


def _sample(
    e: Experiment, model: AskedModel, version: int, generator: Generator, verifier: Verifier, paths: RejectionPaths
) -> None:
    holds_model = False
    with bar(f"rejection {model.name}", len(model.problems)) as advance:
        for start in range(0, len(model.problems), CHUNK):
            part, path = model.problems[start : start + CHUNK], paths.part(model.name, start)
            if exists(path):
                advance("sampled before", len(part))
                continue
            if not holds_model:
                generator.load_checkpoint(model.folder, version)
                holds_model = True
            sampled = _Sampled(e, model.name, part)
            for group in sampled.groups(generator, verifier):
                sampled.add(group, verifier)
                advance(f"{len(sampled)} traces", 1)
            write_json(path, sampled.record())


class _Sampled:
    """The completions of one part: the kept ones as rows, and the number of each fate by subdomain."""

    def __init__(self, e: Experiment, model: str, problems: Sequence[Problem]):
        self._e, self._model, self._settings = e, model, e.config.rejection
        self._prompts = e.encoder.prompts(problems, self._settings.samples, (e.config.seed, "rejection", model))
        self._rows: dict[str, list[Row]] = {prompt.problem.question_id: [] for prompt in self._prompts}
        self._problems = {prompt.problem.question_id: prompt.problem for prompt in self._prompts}
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._tokens, self._start = 0, time.monotonic()

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def groups(self, generator: Generator, verifier: Verifier) -> Iterator[GradedGroup]:
        s = self._settings
        sampling = Sampling(s.temperature, s.top_p, 0, s.max_new_tokens, logprobs=False)
        return verifier.grade(generator.generate(self._prompts, sampling))

    def add(self, group: GradedGroup, verifier: Verifier) -> None:
        fates = [_fate(verdict.status, cut) for verdict, cut in zip(group.verdicts, group.truncated, strict=True)]
        if KEPT in fates:  # the completions of other groups are not fetched
            problem, completions = self._problems[group.question_id], verifier.rollouts(group).completions
            for index, completion in enumerate(completions):
                if fates[index] == KEPT:
                    fates[index] = self._fate_of_text(problem, completion)
                if fates[index] == KEPT:
                    self._rows[group.question_id].append(self._row(problem, completion))
        self._counts[group.subdomain].update(fates)
        self._tokens += sum(group.completion_tokens)

    def _fate_of_text(self, problem: Problem, completion: Completion) -> str:
        if repeated_share(completion.token_ids, self._settings.ngram) > self._settings.max_repeated:
            return REPETITIVE
        # SFT leaves out a response that is empty or has a second reasoning part, and refuses the end token as text.
        unreadable = split_reasoning(_response(problem, completion))[2]
        return UNUSABLE if unreadable or self._e.encoder.tokenizer.eos_token in completion.text else KEPT

    def _row(self, problem: Problem, completion: Completion) -> Row:
        answer = {"role": "assistant", "content": _response(problem, completion)}
        return {
            "messages": [*self._e.encoder.messages(problem), answer],
            "question_id": problem.question_id,
            "subdomain": problem.subdomain,
            "model": self._model,
            "tokens": len(completion.token_ids),
        }

    def record(self) -> dict[str, Any]:
        """The content of the part file. The rows are in the order of the problems."""
        rows = [row for of_problem in self._rows.values() for row in of_problem]
        seconds = time.monotonic() - self._start
        return {"seconds": seconds, "tokens": self._tokens, "counts": self._counts, "traces": rows}


def _fate(status: str, truncated: bool) -> str:
    if status == "correct":
        return TRUNCATED if truncated else KEPT
    return WRONG if status == "wrong" else UNVERIFIED


def _response(problem: Problem, completion: Completion) -> str:
    """The text of the completion, with the tag that its prompt has opened."""
    return f"<think>\n{completion.text}" if problem.reasoning_open else completion.text


def _collect(models: Sequence[AskedModel], paths: RejectionPaths) -> dict[str, Any]:
    """Write traces.jsonl from all parts, without copies: equal texts, up to white space, for one question.

    Returns the content of rejection.json. Raises ConfigError if no trace is left.
    """
    seen: set[bytes] = set()
    questions: set[str] = set()
    table: dict[str, Any] = {}
    partial = paths.traces.with_suffix(".partial")
    with partial.open("w") as file:
        for model in models:
            entry = table[model.name] = _empty_entry(model)
            for start in range(0, len(model.problems), CHUNK):
                part = read_json(paths.part(model.name, start))
                _add_part(entry, part)
                for row in part["traces"]:
                    if (key := _text_key(row)) in seen:
                        entry["counts"][row["subdomain"]].update({KEPT: -1, COPY: 1})
                        continue
                    seen.add(key)
                    questions.add(row["question_id"])
                    file.write(json.dumps(row) + "\n")
        # Before the table, which says that the traces are whole.
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, paths.traces)
    summary = {"traces": len(seen), "questions": len(questions), "models": table}
    _refuse_none(summary)
    total = sum((counts for entry in table.values() for counts in entry["counts"].values()), Counter[str]())
    shown = ", ".join(f"{total[fate]:,} {fate}" for fate in FATES if total[fate])
    console.print(f"rejection: {len(seen):,} traces of {len(questions):,} questions ({shown})", highlight=False)
    return summary


def _empty_entry(model: AskedModel) -> dict[str, Any]:
    named = {"folder": str(model.folder), "problems": len(model.problems)}
    return {**named, "seconds": 0.0, "tokens": 0, "counts": defaultdict(Counter)}


def _add_part(entry: dict[str, Any], part: dict[str, Any]) -> None:
    for name in ("seconds", "tokens"):
        entry[name] += part[name]
    for subdomain, counts in part["counts"].items():
        entry["counts"][subdomain].update(counts)


def _text_key(row: Row) -> bytes:
    text = " ".join(row["messages"][-1]["content"].split())
    return hashlib.sha256(repr((row["question_id"], text)).encode()).digest()[:16]


def _refuse_none(summary: dict[str, Any]) -> None:
    if not summary["traces"]:
        fates = {name: dict(sum(entry["counts"].values(), Counter())) for name, entry in summary["models"].items()}
        raise ConfigError(
            f"rejection: no completion is kept ({fates}): raise rejection.samples or rejection.max_new_tokens, or name "
            "models in rejection.models that solve some of the training problems"
        )
