"""Memory and time of the driver with many short problems: from a file to the order of RL.

    made-up .jsonl --load_problem_sets--> sets --fitting--> sets --stage_problems--> pool --batch_indices--> order of RL

    python benchmarks/driver_memory.py --rows 2000000

The rows have an id, a question of about 80 characters, an answer, a level and a source. Each step is measured in one
process: seconds, seconds of CPU, and the largest resident memory of the process until then (VmHWM), Python and its
libraries included.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vt_ray.config import DataConfig, DataSource, ModelConfig, StageConfig  # noqa: E402
from vt_ray.data.problem_sets import fitting, load_problem_sets, stage_problems  # noqa: E402
from vt_ray.data.prompts import PromptEncoder  # noqa: E402
from vt_ray.data.stream import batch_indices, refill_indices  # noqa: E402

SUBJECTS = ["algebra", "geometry", "calculus", "statistics"]
THINGS = ["pears", "coins", "books", "cards", "stamps", "shells", "tiles", "beads", "cubes", "rods"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="training rows")
    parser.add_argument("--decontaminate", default="drop", help="data.decontaminate: drop, report or off")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = {split: Path(folder) / f"{split}.jsonl" for split in ("train", "probe", "test")}
        for split, path in files.items():
            write_rows(path, split, args.rows if split == "train" else 200)
        measure(files, args.decontaminate)


def write_rows(path: Path, split: str, count: int) -> None:
    chance = random.Random(split)
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps(row(split, number, chance)) + "\n")


def row(split: str, number: int, chance: random.Random) -> dict[str, Any]:
    first, second, third = (chance.randrange(1_000) for _ in range(3))
    thing, other = chance.choice(THINGS), chance.choice(THINGS)
    boxes = f"Box {number} of the {split} set holds {first} {thing} and {second} {other}."
    return {
        "problem": f"{boxes} {third} are lost. How many?",
        "answer": str(first + second - third),
        "id": f"{split}-{number}",
        "subject": chance.choice(SUBJECTS),
        "level": chance.randrange(1, 6),
        "source": f"part {number % 7}",
    }


def measure(files: dict[str, Path], decontaminate: str) -> None:
    sources = {f"{split}_files": [DataSource(str(path))] for split, path in files.items()}
    data = DataConfig(train_per_subdomain=0, probe_per_subdomain=0, test_per_subdomain=0, **sources)
    data.decontaminate = decontaminate
    stage = StageConfig("all", prompts_per_step=256)
    encoder = PromptEncoder(tokenizer(), data)
    show("start", lambda: None)
    sets = show("load_problem_sets", lambda: load_problem_sets(data, 0))
    sets = show("fitting", lambda: fitting(sets, encoder))
    pool = show("stage_problems", lambda: stage_problems(stage, sets.train))
    show("batch_indices", lambda: batch_indices(len(pool), 256, 3, ("rl", 0)))
    show("refill_indices", lambda: refill_indices(len(pool), ("refill", 0)))
    print(f"{len(pool):,} problems")


def tokenizer() -> Any:
    """The tokenizer of a scratch model. It splits these rows into more tokens than that of a pretrained model."""
    from vt_ray.engines.base_model import _train_tokenizer

    return _train_tokenizer(ModelConfig(), (f"{w} " for w in json.dumps(row("", 0, random.Random(0))).split()))


def show(name: str, work: Callable[[], Any]) -> Any:
    start, cpu_start = time.monotonic(), time.process_time()
    result = work()
    seconds, cpu = time.monotonic() - start, time.process_time() - cpu_start
    status = dict(lines())
    memory = f"peak {status['VmHWM']:6.3f} GB, then {status['VmRSS']:6.3f} GB"
    print(f"{name:<18} {seconds:7.1f} s  {cpu:7.1f} s of CPU  {memory}", flush=True)
    return result


def lines() -> Iterator[tuple[str, float]]:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmHWM", "VmRSS"):
            yield name, int(value.split()[0]) * 1024 / 1e9


if __name__ == "__main__":
    main()
