"""The SFT examples: encoded once into the folder of the phase, then read from there batch by batch.

    problems, traces --encoder, by chunks--> examples/tokens.int32, ends.npy, examples.json --map--> TrainSequence

The driver's memory holds 16 bytes for each example. The tokens, 4 bytes each, stay in the file.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import ConfigError, SftConfig
from vt_ray.data.prompts import PromptEncoder
from vt_ray.data.traces.files import NO_TRACES, TraceFiles, chosen_traces
from vt_ray.progress import bar, console
from vt_ray.records import Problem
from vt_ray.run.checkpoint import write_folder, write_json

# tokens.int32: prompt, completion, prompt, completion, ... ends.npy: int64 [examples, 2], for each example the indices
# in tokens.int32 after its prompt and after its completion.
TOKENS, ENDS, RECORD = "tokens.int32", "ends.npy", "examples.json"
TOKEN = np.dtype(np.int32)
# Encoding takes about a second per million characters. Above ten seconds it gets a progress bar.
BAR_FROM_CHARS = 10_000_000


class Examples(Sequence[TrainSequence]):
    """The sequences in `folder`. Each is copied from the memory map at access and has `token_weight` 0."""

    def __init__(self, folder: Path):
        self._ends = np.load(folder / ENDS)
        self._tokens = np.memmap(folder / TOKENS, TOKEN, mode="r")

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
        start = self._ends[index - 1, 1] if index else 0
        middle, end = self._ends[index]
        return TrainSequence(tuple(self._tokens[start:middle].tolist()), np.array(self._tokens[middle:end]), 0.0)


def encoded_examples(
    encoder: PromptEncoder,
    problems: Sequence[Problem],
    sft: SftConfig,
    folder: Path,
    traces: TraceFiles = NO_TRACES,
) -> Examples:
    """The worked solutions of `problems` in `sft.styles`, then the traces, that have at most `sft.max_tokens` tokens
    with their prompts.

    They are encoded into `folder`, unless an earlier attempt has finished this. Longer ones are left out, and counted
    in `folder`/examples.json and on the screen. Raises ConfigError if none is left.
    """
    if not _is_whole(folder):
        write_folder(folder, partial(_encode, encoder, problems, sft, traces))
    record = json.loads((folder / RECORD).read_text())
    if record["left_out"]:
        console.print(
            f"{_left_out(record)} and are left out: raise it to keep them",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if not record["examples"]:
        raise ConfigError(
            f"no worked solution of styles {sft.styles} fits in spectrum.sft.max_tokens={sft.max_tokens} "
            f"({_left_out(record)}): raise it to {record['longest']}, or give training problems with shorter solutions"
        )
    return Examples(folder)


def _left_out(record: dict[str, Any]) -> str:
    files = record.get("left_out_of", {})
    of_files = "".join(f"; {count:,} of {path}" for path, count in files.items() if count)
    return (
        f"{record['left_out']:,} of {record['solutions']:,}{' traces and' if files else ''} solutions are longer than "
        f"spectrum.sft.max_tokens={record['max_tokens']} (the longest has {record['longest']:,} tokens with its prompt"
        f"{of_files})"
    )


def _is_whole(folder: Path) -> bool:
    """Whether an earlier attempt has written all examples, and a crash of the machine has truncated no file since."""
    try:
        record = json.loads((folder / RECORD).read_text())
        ends = len(np.load(folder / ENDS, mmap_mode="r"))
        return ends == record["examples"] and (folder / TOKENS).stat().st_size == record["tokens"] * TOKEN.itemsize
    except (FileNotFoundError, ValueError, EOFError):
        return False


def _encode(
    encoder: PromptEncoder, problems: Sequence[Problem], sft: SftConfig, traces: TraceFiles, folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ends = array("q")
    written = solutions = longest = 0
    left_out_of = {source.path: 0 for source in traces.sources}
    with (folder / TOKENS).open("wb") as tokens, _bar_if_long(problems, sft.styles, traces) as advance:
        for path, sequence in _sequences(encoder, problems, sft, traces):
            solutions, longest = solutions + 1, max(longest, len(sequence))
            if len(sequence) <= sft.max_tokens:
                for ids in (sequence.prompt_ids, sequence.completion_ids):
                    tokens.write(np.asarray(ids, TOKEN).tobytes())
                ends.extend((written + len(sequence.prompt_ids), written + len(sequence)))
                written += len(sequence)
            elif path:
                left_out_of[path] += 1
            advance(f"{written:,} tokens")
    np.save(folder / ENDS, np.frombuffer(ends, np.int64).reshape(-1, 2) if ends else np.zeros((0, 2), np.int64))
    record = {
        "solutions": solutions,
        "examples": len(ends) // 2,
        "left_out": solutions - len(ends) // 2,
        "longest": longest,
        "max_tokens": sft.max_tokens,
        "tokens": written,
    }
    write_json(folder / RECORD, record | ({"left_out_of": left_out_of} if traces.sources else {}))


def _sequences(
    encoder: PromptEncoder, problems: Sequence[Problem], sft: SftConfig, traces: TraceFiles
) -> Iterator[tuple[str, TrainSequence]]:
    """Yields each example with the path of its file of traces, "" for a worked solution."""
    yield from (("", sequence) for sequence in encoder.solutions(problems, sft.styles))
    for source in traces.sources:
        yield from ((source.path, sequence) for sequence in encoder.traces(chosen_traces(source, traces.contaminated)))


@contextmanager
def _bar_if_long(
    problems: Sequence[Problem], styles: Sequence[str], traces: TraceFiles
) -> Iterator[Callable[[str], None]]:
    lengths = [len(s.text) for p in problems for s in p.solutions if not styles or s.style in styles]
    if sum(lengths) < BAR_FROM_CHARS and not traces.sources:
        yield lambda note: None
        return
    with bar("encode examples", len(lengths) + sum(counted.chosen for counted in traces.counts)) as advance:
        yield advance
