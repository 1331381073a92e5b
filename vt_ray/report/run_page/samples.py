"""Rollouts for the report: selected rollouts of the last step of each stage, and a sample of all steps for the search.

rollouts/<stage>/step_*.parquet --> stage_samples: best, worst, longest, most surprising, unverified
                                --> search_sample: up to SEARCH_ROLLOUTS, evenly over stages and steps
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vt_ray.run.paths import RunPaths

if TYPE_CHECKING:
    import pyarrow as pa

# Of a long answer, the start (the reasoning) and the end (the final answer) are shown.
HEAD_CHARACTERS = 2500
TAIL_CHARACTERS = 1500
WITHHELD = "not shown: the authors of the data set ask that its problems are not published"
# `withheld` is not in the files of older versions.
LIGHT = ["stage", "step", "question_id", "subdomain", "finish_reason", "verdict", "reason", "p_c", "advantage"]

# Limits of the sample for the search; each file gets an equal share of both.
SEARCH_ROLLOUTS = 480
SEARCH_CHARACTERS = 1_000_000
SEARCH_STEPS_PER_STAGE = 8
SEARCH_HEAD, SEARCH_TAIL = 1200, 600

# Invisible characters that change the display: control characters except line feed and tab, marks of the writing
# direction, and lone surrogates.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Sample:
    """One selected rollout.

    why: the reason for the selection.
    tokens: its length in tokens.
    row: the columns of the rollout file.
    logprob: mean log-probability of its tokens in nats; None if it was not read.
    """

    why: str
    tokens: int
    row: Mapping[str, Any]
    logprob: float | None = None

    @property
    def question(self) -> str:
        return shortened(self.row.get("question"))

    @property
    def text(self) -> str:
        return shortened(self.row.get("text"))


def stage_samples(root: Path, stage: str) -> list[Sample]:
    """The selected rollouts of the newest file in rollouts/<stage>; empty if there is no readable file."""
    files = _files(root, stage)
    return file_samples(files[-1]) if files else []


def file_samples(file: Path) -> list[Sample]:
    """The selected rollouts of a step; empty if its file cannot be read."""
    table = _read(file, with_logprobs=True)
    if table is None:
        return []
    # Selected by the small columns only: the texts of a step can have hundreds of megabytes.
    light, tokens = table.select(LIGHT).to_pylist(), _lengths(table)
    logprobs = _mean_logprobs(table)
    chosen = choose(light, tokens, logprobs)
    rows = _rows(table, list(chosen))
    return [Sample(why, tokens[i], row, logprobs[i]) for (i, why), row in zip(chosen.items(), rows, strict=True)]


def search_sample(root: Path, stages: Sequence[str]) -> list[dict[str, Any]]:
    """Rollouts as plain data for the search of the page: texts are shortened, and steps are in order."""
    files = [file for stage in stages for file in evenly(_files(root, stage), SEARCH_STEPS_PER_STAGE)]
    return [entry for file in files for entry in _search_entries(file, len(files))]


def stages(root: Path, in_order: Sequence[str]) -> list[str]:
    """Stages with rollouts: first the stages of `in_order`, then all others."""
    found = sorted(path.name for path in RunPaths(root).rollouts.glob("*") if path.is_dir())
    return [s for s in in_order if s in found] + [s for s in found if s not in in_order]


def choose(
    rows: Sequence[Mapping[str, Any]], tokens: Sequence[int], logprobs: Sequence[float | None]
) -> dict[int, str]:
    """{index of a row: reason}. A row that is selected twice has both reasons.

    best: the correct answer with the largest advantage (the rarest success). worst: the wrong answer with the most
    negative advantage. most surprising: the correct answer whose tokens had the lowest mean log-probability.
    """
    indices = range(len(rows))

    def advantage(index: int) -> float:
        return rows[index].get("advantage") or 0.0

    def likelihood(index: int) -> float:
        return logprobs[index] or 0.0

    correct = [i for i in indices if rows[i].get("verdict") == "correct"]
    wrong = [i for i in indices if rows[i].get("verdict") == "wrong"]
    unverified = [i for i in indices if rows[i].get("verdict") == "unverified"]
    picks = [
        ("best", max(correct, key=advantage, default=None)),
        ("worst", min(wrong, key=advantage, default=None)),
        ("longest", max(indices, key=lambda i: tokens[i], default=None)),
        ("most surprising", min(correct, key=likelihood, default=None)),
        ("unverified", unverified[0] if unverified else None),
    ]
    chosen: dict[int, str] = {}
    for why, index in picks:
        if index is not None:
            chosen[index] = f"{chosen[index]}, {why}" if index in chosen else why
    return chosen


def shortened(text: Any, head: int = HEAD_CHARACTERS, tail: int = TAIL_CHARACTERS) -> str:
    """`text` with visible control characters; the middle of a long text is replaced by a note of its length."""
    whole = str(text or "")
    left_out = len(whole) - head - tail
    if left_out <= 0:
        return visible(whole)
    return f"{visible(whole[:head])}\n[... {left_out:,} characters left out ...]\n{visible(whole[-tail:])}"


def visible(text: str) -> str:
    """`text` with control characters replaced by their Unicode pictures or code points."""

    def sign(found: re.Match[str]) -> str:
        code = ord(found.group())
        return chr(0x2400 + code) if code < 0x20 else f"[U+{code:04X}]"

    return CONTROLS.sub(sign, text)


def _files(root: Path, stage: str) -> list[Path]:
    return RunPaths(root).stage(stage).rollout_files()


def evenly(items: Sequence[Any], count: int) -> list[Any]:
    """`count` items at equal distances, including the first and the last; all items if there are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]


def _search_entries(file: Path, num_files: int) -> Iterator[dict[str, Any]]:
    table = _read(file, with_logprobs=False)
    if table is None:
        return
    chosen = evenly(range(len(table)), max(1, SEARCH_ROLLOUTS // num_files))
    tokens, left = _lengths(table), SEARCH_CHARACTERS // num_files
    for index, row in zip(chosen, _rows(table, chosen), strict=True):
        texts = {key: shortened(row[key], SEARCH_HEAD, SEARCH_TAIL) for key in ("question", "text")}
        left -= sum(map(len, texts.values()))
        if left < 0:
            return
        kept = ("stage", "step", "question_id", "subdomain", "verdict", "reason", "finish_reason", "p_c")
        yield {**{key: row[key] for key in kept}, **texts, "tokens": tokens[index]}


def _read(path: Path, with_logprobs: bool) -> pa.Table | None:
    """The rollouts of a file; None if it cannot be read or lacks a column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {*LIGHT, "question", "text", "tokens", *(["rollout_logprobs"] if with_logprobs else [])}
    try:
        names = set(pq.read_schema(path).names)
        return pq.read_table(path, columns=sorted(names & {*columns, "withheld"})) if columns <= names else None
    except (OSError, pa.ArrowException):
        return None


def _lengths(table: pa.Table) -> list[int]:
    import pyarrow.compute as pc

    return [n or 0 for n in pc.list_value_length(table["tokens"]).to_pylist()]


def _mean_logprobs(table: pa.Table) -> list[float | None]:
    return [float(v.mean()) if v is not None and len(v) else None for v in table["rollout_logprobs"].to_numpy()]


def _rows(table: pa.Table, chosen: Sequence[int]) -> list[dict[str, Any]]:
    if not len(chosen):
        return []
    names = [name for name in table.column_names if name not in ("tokens", "rollout_logprobs")]
    rows = table.select(names).take(chosen).to_pylist()
    return [{**row, "question": WITHHELD, "text": WITHHELD} if row.get("withheld") else row for row in rows]
