"""Reads whole public data sets and writes a table of their contents: docs/data_sets.md.

python benchmarks/real_sets.py FOLDER [--output docs/data_sets.md] [--tokenizer tokenizer.json]

Each file of FOLDER (all formats, also in its subfolders; "layouts" and "found" are left out) is read in a process of
its own, as `vt-tools data` reads it, so that seconds and peak memory are of this file alone. GPQA's rows are counted
like the others; no row of any file is printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vt_ray.data.contents import contents
from vt_ray.data.sources.names import parts

_LEFT_OUT = ("layouts", "found", "verify")
_LIMIT_TOKENS = 1_024
_HEAD = """# Public data sets, read whole

`python benchmarks/real_sets.py FOLDER` wrote this table: each file as published, read by `vt-tools data`.

- *Questions* are distinct; *copies* repeat one of them and are merged; *conflicts* repeat one with another answer.
- *Golds* are gold answers under test: a sample of at most 2,000 math and choice answers and 200 programs. A gold
  answer passes if it is accepted in a box, names an option, or if a reference program passes its tests.
- *Dropped* counts rows, traces and tested gold answers with a fault, by reason.
- *Over-long* are questions of more than 1,024 tokens, the default of `data=files`, without the chat template.
- Seconds and the peak memory of the process include the tests of the gold answers. {machine}

| file | layout | rows | questions | copies | conflicts | traces | golds | dropped | over-long | seconds | MiB |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--output", type=Path, default=Path("docs/data_sets.md"))
    options.add_argument("--tokenizer", default="")
    options.add_argument("--one", action="store_true", help="read one file here and print its line as JSON")
    given = options.parse_args()
    if given.one:
        print(json.dumps(_measure(given.folder, given.tokenizer)))
        return
    lines = []
    for file in map(Path, map(str, parts(given.folder))):
        if not set(file.relative_to(given.folder).parts) & set(_LEFT_OUT):
            lines.append(_line(file.relative_to(given.folder), _in_a_process(file, given.tokenizer)))
            print(lines[-1], flush=True)
            machine = "Two cores of a shared machine."
            given.output.write_text(_HEAD.format(machine=machine) + "\n".join(lines) + "\n")


def _in_a_process(file: Path, tokenizer: str) -> dict[str, Any]:
    command = [sys.executable, __file__, str(file), "--one", "--tokenizer", tokenizer]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"error": done.stderr.splitlines()[-1]}


def _measure(file: Path, tokenizer: str) -> dict[str, Any]:
    length = _length(tokenizer)
    begin = time.monotonic()
    found = contents(str(file), 0, "", length)
    return {
        **found.as_json(),
        "overlong": sum(n > _LIMIT_TOKENS for n in found.question_lengths),
        "seconds": time.monotonic() - begin,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _length(tokenizer: str) -> Callable[[str], int]:
    if not tokenizer:
        return len
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(tokenizer)
    return lambda text: len(encoder.encode(text).ids)


def _line(name: Path, found: dict[str, Any]) -> str:
    if "error" in found:
        return f"| {name} | refused: {found['error'][:160]} | | | | | | | | | | |"
    dropped = "; ".join(f"{count:,} {reason[:80]}" for reason, count in found["dropped"].items()).replace("|", "/")
    layout = " + ".join(filter(None, (found["problem_layout"], found["trace_layout"])))
    counts = (found[name] for name in ("rows", "questions", "copies", "conflicts", "traces", "golds_checked"))
    figures = [*(f"{count:,}" for count in counts), dropped, str(found["overlong"])]
    cost = f"{found['seconds']:.1f} | {found['mib']:,}"
    return f"| {name} | {layout} | {' | '.join(figures)} | {cost} |".replace("\n", " ")


if __name__ == "__main__":
    main()
