"""The SFT examples: encoded once into the folder of the phase, then read from there batch by batch.

    problems, traces --encoder, by chunks--> examples/tokens.int32, ends.npy, questions.npy, examples.json
    examples/ --memory map--> Examples --set_aside--> examples to learn, held-out examples

The driver's memory holds 24 bytes for each example. The tokens, 4 bytes each, stay in the file.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import groupby, tee
from pathlib import Path
from typing import Any, overload

import numpy as np

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import ConfigError, SftConfig
from vt_ray.data.mixture import Mixture
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.data.prompts import PromptEncoder, sample_seed
from vt_ray.data.question_words import question_words
from vt_ray.data.source_report import SFT_ONLY, report_of
from vt_ray.data.traces.files import chosen_traces
from vt_ray.data.traces.trace import TRACE_STYLE, Trace
from vt_ray.progress import bar, console
from vt_ray.records import Problem, Solution
from vt_ray.run.checkpoint import write_folder, write_json

# tokens.int32: prompt, completion, prompt, completion, ... ends.npy: int64 [examples, 2], for each example the indices
# in tokens.int32 after its prompt and after its completion. questions.npy: int64 [examples], `question_key` of each.
TOKENS, ENDS, QUESTIONS, RECORD = "tokens.int32", "ends.npy", "questions.npy", "examples.json"
TOKEN = np.dtype(np.int32)
# Encoding takes about a second per million characters. Above ten seconds it gets a progress bar.
BAR_FROM_CHARS = 10_000_000


class Examples(Sequence[TrainSequence]):
    """The sequences in `folder`, or those at `indices` (int64, ascending). Each is copied from the memory map at access
    and has `token_weight` 0.

    questions: int64 [examples], the `question_key` of each.
    completion_tokens: int64 [examples], the tokens of each solution or trace, with the EOS token.
    mixture: the source of each, None if the sources have no weights.
    """

    def __init__(self, folder: Path, indices: np.ndarray | None = None):
        ends = np.load(folder / ENDS)
        chosen = np.arange(len(ends)) if indices is None else indices
        begins = np.concatenate([[0], ends[:-1, 1]]) if len(ends) else ends[:, 1]
        self.folder, self._indices = folder, chosen
        self._begins, self._ends = begins[chosen], ends[chosen]
        self.questions = np.load(folder / QUESTIONS)[chosen]
        self._tokens = np.memmap(folder / TOKENS, TOKEN, mode="r")
        record = json.loads((folder / RECORD).read_text())
        sources = np.array([index for index, count in record.get("runs", ()) for _ in range(count)], np.int64)
        self.mixture = Mixture(sources[chosen].tolist(), record["weights"]) if len(sources) else None

    @property
    def completion_tokens(self) -> np.ndarray:
        return self._ends[:, 1] - self._ends[:, 0]

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, its prompt included."""
        return int((self._ends[:, 1] - self._begins).max(initial=0))

    def where(self, mask: np.ndarray) -> Examples:
        """The examples for which `mask`, bool [examples], is true."""
        return Examples(self.folder, self._indices[mask])

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> TrainSequence: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrainSequence]: ...
    def __getitem__(self, index: int | slice) -> TrainSequence | list[TrainSequence]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        begin, (middle, end) = self._begins[index], self._ends[index]
        return TrainSequence(tuple(self._tokens[begin:middle].tolist()), np.array(self._tokens[middle:end]), 0.0)


def set_aside(examples: Examples, share: float, seed: int) -> tuple[Examples, Sequence[TrainSequence]]:
    """The examples to learn, and the held-out examples: all of a `share` of the questions, chosen by `seed`.

    With a share above 0, at least one question is in each part. Raises ConfigError if there is only one question.
    """
    if share == 0:
        return examples, ()
    questions = np.unique(examples.questions)
    if len(questions) < 2:
        raise ConfigError(
            f"spectrum.sft.heldout_share={share:g} of {len(questions)} question leaves nothing to learn: set it to 0, "
            "or give more questions"
        )
    count = min(max(round(share * len(questions)), 1), len(questions) - 1)
    # The order by a hash of the question: the held-out questions stay the same if others are added.
    ordered = sorted(questions.tolist(), key=lambda question: (sample_seed("held-out", seed, question), question))
    heldout = np.isin(examples.questions, ordered[:count])
    return examples.where(~heldout), examples.where(heldout)


def question_key(question: str) -> int:
    """63 bits of a hash of the question's words: all solutions and traces of a question have the same key."""
    return int.from_bytes(hashlib.sha256(question_words(question).encode()).digest()[:8]) >> 1


def trace_key(trace: Trace, suffix: str) -> int:
    """`question_key` of the first question of the chat, without the suffix that the source adds to it."""
    first = next(message for message in trace.messages if message.role == "user")
    return question_key(first.content.removesuffix(suffix))


def encoded_examples(encoder: PromptEncoder, problems: ProblemSets, sft: SftConfig, folder: Path) -> Examples:
    """The worked solutions of `problems` in `sft.styles`, then the traces, that have at most `sft.max_tokens` tokens
    with their prompts.

    They are encoded into `folder`, unless an earlier attempt has finished this. Longer ones are left out or truncated,
    as `on_overlong` of their source says, and counted in `folder`/examples.json and on the screen. Raises ConfigError
    if none is left, and for a longer one of a source with `on_overlong: error`.
    """
    if not _is_whole(folder):
        write_folder(folder, partial(_encode, encoder, problems, sft))
    print_fit(json.loads((folder / RECORD).read_text()), sft)
    return Examples(folder)


def measured(encoder: PromptEncoder, problems: ProblemSets, sft: SftConfig) -> dict[str, Any]:
    """The counts of `encoded_examples`, without a file. Raises ConfigError as it does."""
    fit = _Fit(problems, sft)
    with _bar_if_long(problems, sft.styles) as advance:
        for _ in fit.examples(encoder):
            advance("measured")
    return fit.record()


def print_fit(record: dict[str, Any], sft: SftConfig) -> None:
    """Prints how many examples are too long. Raises ConfigError if none is left."""
    if record["left_out"] or record.get("truncated_of"):
        console.print(
            f"{_left_out(record)} and are {'left out or truncated' if record.get('truncated_of') else 'left out'}: "
            "raise it to keep them",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if not record["examples"]:
        raise ConfigError(
            f"no worked solution of styles {sft.styles} fits in spectrum.sft.max_tokens={sft.max_tokens} "
            f"({_left_out(record)}): raise it to {record['longest']}, or give training problems with shorter solutions"
        )


def _left_out(record: dict[str, Any]) -> str:
    files, cut = record.get("left_out_of", {}), record.get("truncated_of", {})
    of_files = "".join(f"; {count:,} of {path}" for path, count in (Counter(files) + Counter(cut)).items() if count)
    count, both = record["left_out"] + sum(cut.values()), " traces and" if files else ""
    return (
        f"{count:,} of {record['solutions']:,}{both} solutions are longer than spectrum.sft.max_tokens="
        f"{record['max_tokens']} (the longest has {record['longest']:,} tokens with its prompt{of_files})"
    )


def _is_whole(folder: Path) -> bool:
    """Whether an earlier attempt has written all examples, and a crash of the machine has truncated no file since."""
    try:
        record = json.loads((folder / RECORD).read_text())
        ends, questions = (len(np.load(folder / name, mmap_mode="r")) for name in (ENDS, QUESTIONS))
        return (
            ends == questions == record["examples"]
            and (folder / TOKENS).stat().st_size == record["tokens"] * TOKEN.itemsize
        )
    except (FileNotFoundError, ValueError, EOFError):
        return False


class _Fit:
    """The examples within `sft.max_tokens`, and the counts of the others."""

    def __init__(self, problems: ProblemSets, sft: SftConfig):
        self._problems, self._sft = problems, sft
        self._solutions = self._examples = self._longest = 0
        self._left_out, self._truncated = Counter[str](), Counter[str]()
        self._refused: dict[str, int] = {}
        # The indices of the sources, -1 for generated problems, with the number of their examples, in order.
        self._runs: list[list[int]] = []

    def examples(self, encoder: PromptEncoder) -> Iterator[tuple[int, TrainSequence] | None]:
        """For each example: yields the key of its question and its sequence, or None if it is left out."""
        for index, question, sequence in self._all(encoder):
            path = self._problems.sources[index].source.path if index >= 0 else ""
            rule = self._problems.sources[index].source.on_overlong if index >= 0 else ""
            self._solutions, self._longest = self._solutions + 1, max(self._longest, len(sequence))
            room = self._sft.max_tokens - len(sequence.prompt_ids)
            if len(sequence) > self._sft.max_tokens and rule == "error":
                self._refused[path] = self._refused.get(path, 0) + 1
            if len(sequence) > self._sft.max_tokens and (rule != "truncate" or room < 1):
                self._left_out[path] += 1
                yield None
                continue
            if len(sequence) > self._sft.max_tokens:
                # Without the EOS token: the model must not learn to stop in the middle.
                sequence = replace(sequence, completion_ids=sequence.completion_ids[:room])
                self._truncated[path] += 1
            self._examples += 1
            if not self._runs or self._runs[-1][0] != index:
                self._runs.append([index, 0])
            self._runs[-1][1] += 1
            yield question, sequence
        for path, count in self._refused.items():
            raise ConfigError(
                f"{count:,} traces or solutions of {path} are longer than spectrum.sft.max_tokens="
                f"{self._sft.max_tokens}, the longest example has {self._longest:,} tokens (on_overlong=error): raise "
                "it, or set on_overlong to drop or truncate"
            )

    def _all(self, encoder: PromptEncoder) -> Iterator[tuple[int, int, TrainSequence]]:
        """Yields each worked solution, then each trace, with the index of its source and the key of its question."""
        sources, styles = self._problems.sources, self._sft.styles
        for split, problems in (("train", self._problems.train), (SFT_ONLY, self._problems.sft_only)):
            for index, found in groupby(problems, partial(report_of, sources, split)):
                group = list(found)
                keys = (key for p in group for key in [question_key(p.question)] * len(_chosen(p, styles)))
                for key, sequence in zip(keys, encoder.solutions(group, styles), strict=True):
                    yield index, key, sequence
        traces = self._problems.traces
        for source in traces.sources if not styles or TRACE_STYLE in styles else ():
            index = next(i for i, report in enumerate(sources) if report.source is source)
            # The copy holds the traces of one chunk, which the encoder reads ahead.
            chosen, copy = tee(chosen_traces(source, traces.contaminated))
            for sequence, trace in zip(encoder.traces(chosen), copy, strict=True):
                yield index, trace_key(trace, source.suffix), sequence

    def record(self) -> dict[str, Any]:
        """The content of examples.json, without the number of tokens."""
        sources = [report.source for report in self._problems.sources]
        counts: dict[str, Any] = {
            "solutions": self._solutions,
            "examples": self._examples,
            "left_out": self._left_out.total(),
            "longest": self._longest,
            "max_tokens": self._sft.max_tokens,
        }
        if any("sft" in source.use for source in sources):
            counts["left_out_of"] = {s.path: self._left_out[s.path] for s in sources if "sft" in s.use}
            counts["truncated_of"] = dict(self._truncated)
        if any(source.weight is not None for source in sources if "sft" in source.use):
            counts |= {"runs": self._runs, "weights": [source.weight or 0.0 for source in sources]}
        return counts


def _chosen(problem: Problem, styles: Sequence[str]) -> list[Solution]:
    return [solution for solution in problem.solutions if not styles or solution.style in styles]


def _encode(encoder: PromptEncoder, problems: ProblemSets, sft: SftConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ends, questions, written, fit = array("q"), array("q"), 0, _Fit(problems, sft)
    with (folder / TOKENS).open("wb") as tokens, _bar_if_long(problems, sft.styles) as advance:
        for example in fit.examples(encoder):
            if example is not None:
                question, sequence = example
                questions.append(question)
                for ids in (sequence.prompt_ids, sequence.completion_ids):
                    tokens.write(np.asarray(ids, TOKEN).tobytes())
                ends.extend((written + len(sequence.prompt_ids), written + len(sequence)))
                written += len(sequence)
            advance(f"{written:,} tokens")
    np.save(folder / ENDS, np.frombuffer(ends, np.int64).reshape(-1, 2) if ends else np.zeros((0, 2), np.int64))
    np.save(folder / QUESTIONS, np.array(questions, np.int64))
    write_json(folder / RECORD, {**fit.record(), "tokens": written})


@contextmanager
def _bar_if_long(problems: ProblemSets, styles: Sequence[str]) -> Iterator[Callable[[str], None]]:
    lengths = [len(s.text) for p in problems.solved for s in _chosen(p, styles)]
    traces = problems.traces
    if sum(lengths) < BAR_FROM_CHARS and not traces.sources:
        yield lambda note: None
        return
    with bar("encode examples", len(lengths) + sum(counted.chosen for counted in traces.counts)) as advance:
        yield advance
