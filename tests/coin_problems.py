"""Questions that nobody can know the answer of: a model that has learnt the format alone is right half the time, and
every group has a signal after a few seconds of SFT."""

from __future__ import annotations

import json
import random
from pathlib import Path


def coin_overrides(folder: Path, stage: str) -> list[str]:
    """Overrides that make a tiny run of coin questions with the one `stage`; their files are written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 64), ("probe", 4), ("test", 4)):
        rows = [_row(split, number) for number in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [f"data.{split}_files=[{{path: {folder}/{split}.jsonl}}]" for split in ("train", "probe", "test")]
    return [
        *files,
        *(f"data.{split}_per_subdomain=0" for split in ("train", "probe", "test")),
        *("data.subdomains=[]", "spectrum.sft.styles=[]", "spectrum.sft.steps=160", "spectrum.sft.checkpoint_every=80"),
        f"curriculum.stages=[{stage}]",
    ]


def _row(split: str, number: int) -> dict:
    answer = str(random.Random(f"{split} {number}").randrange(2))
    return {
        "question_id": f"{split}/{number}",
        "subdomain": "coins",
        "kind": "math",
        "question": f"Coin {split} {number}: 0 or 1?",
        "answer": answer,
        "solutions": [{"style": "direct", "text": f"\\boxed{{{answer}}}"}],
    }
