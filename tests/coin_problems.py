"""Questions with random answers, 0 or 1: a model that has learnt only the format is right half of the time.

So almost every group has right and wrong completions after a few seconds of SFT.
"""

from __future__ import annotations

import json
import random
from pathlib import Path


def coin_overrides(folder: Path, stage: str) -> list[str]:
    """Writes the coin questions to `folder`. Returns the overrides for a tiny run with them and with `stage`."""
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
