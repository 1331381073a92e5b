"""A handful of rollouts worth reading: of the last step of each stage, the best, the worst, the longest, the
unverified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Both ends of a long answer: its beginning shows the way of working, its end the final answer.
HEAD_CHARACTERS = 2500
TAIL_CHARACTERS = 1500
LIGHT = ["step", "question_id", "subdomain", "finish_reason", "verdict", "reason", "p_c", "advantage"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One rollout and why it is shown. `row` has the parquet's columns, `tokens` its length in tokens."""

    why: str
    tokens: int
    row: Mapping[str, Any]

    @property
    def question(self) -> str:
        return shortened(self.row.get("question"))

    @property
    def text(self) -> str:
        return shortened(self.row.get("text"))


def stage_samples(root: Path, stage: str) -> list[Sample]:
    """From the newest file under rollouts/<stage>; none where there is none or it cannot be read."""
    files = sorted((root / "rollouts" / stage).glob("step_*.parquet"))
    return _read(files[-1]) if files else []


def stages(root: Path, in_order: Sequence[str]) -> list[str]:
    """Stages that left rollouts: those of `in_order` first, then any others."""
    there = sorted(path.name for path in (root / "rollouts").glob("*") if path.is_dir())
    return [s for s in in_order if s in there] + [s for s in there if s not in in_order]


def choose(rows: Sequence[Mapping[str, Any]], tokens: Sequence[int]) -> dict[int, str]:
    """Index of each row to show, with why. A row that is chosen twice is shown once, with both reasons.

    The best is the correct answer of the largest advantage (the rarest success), the worst the wrong one of
    the most negative.
    """
    indices = range(len(rows))

    def advantage(index: int) -> float:
        return rows[index].get("advantage") or 0.0

    correct = [i for i in indices if rows[i].get("verdict") == "correct"]
    wrong = [i for i in indices if rows[i].get("verdict") == "wrong"]
    unverified = [i for i in indices if rows[i].get("verdict") == "unverified"]
    picks = [
        ("best", max(correct, key=advantage, default=None)),
        ("worst", min(wrong, key=advantage, default=None)),
        ("longest", max(indices, key=lambda i: tokens[i], default=None)),
        ("unverified", unverified[0] if unverified else None),
    ]
    chosen: dict[int, str] = {}
    for why, index in picks:
        if index is not None:
            chosen[index] = f"{chosen[index]}, {why}" if index in chosen else why
    return chosen


def shortened(text: Any) -> str:
    """`text` with the middle left out, and a note of how much, where it is long."""
    whole = str(text or "")
    left_out = len(whole) - HEAD_CHARACTERS - TAIL_CHARACTERS
    if left_out <= 0:
        return whole
    return f"{whole[:HEAD_CHARACTERS]}\n[... {left_out:,} characters left out ...]\n{whole[-TAIL_CHARACTERS:]}"


def _read(path: Path) -> list[Sample]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=[*LIGHT, "question", "text", "tokens"])
        tokens = pc.list_value_length(table["tokens"]).to_pylist()
    except (OSError, pa.ArrowException, KeyError):
        return []
    # Chosen by the light columns alone: the texts of a step can be hundreds of megabytes.
    light = table.select(LIGHT).to_pylist()
    chosen = choose(light, [n or 0 for n in tokens])
    rows = table.drop_columns(["tokens"]).take(list(chosen)).to_pylist() if chosen else []
    return [Sample(why, tokens[index] or 0, row) for (index, why), row in zip(chosen.items(), rows, strict=True)]
