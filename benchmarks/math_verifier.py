"""Math pairs a second on one core: the verifier of vt_ray with its child process, beside math-verify in one process.

    python benchmarks/math_verifier.py [--pairs 3000] [--data FOLDER]

A pair is a gold answer and a completion that ends in a box. Each gold answer is in four pairs: with itself, with
itself in another notation, and with two wrong answers. The gold answers come from the built-in problems and from a
list of shapes that benchmarks have, or, with --data, from the .json and .jsonl files in FOLDER (GSM8K, MATH and
similar). Both ways judge every pair once, in turns, on one CPU. math-verify is called as its README does, `parse` and
`verify` with timeouts of 5 s. A pair that takes either way more than a second is a bomb and is left out of both. The
last line is JSON; the target of `ratio` is 0.9.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from vt_ray.data.makers import make_problems
from vt_ray.data.problem_rows import ProblemFileError
from vt_ray.data.readers import read_problems
from vt_ray.records import Problem
from vt_ray.verify.verifier import Verifier

BOMB_S = 1.0
CHUNK = 40
WARM_UP = 24

# Shapes of gold answers in benchmarks, about in their proportions. The built-in problems add integers and fractions.
SHAPES = r"""
2\sqrt{3} | \frac{\sqrt{2}}{2} | 3+2\sqrt{5} | \frac{1+\sqrt{5}}{2} | 12\pi | \frac{\pi}{3} | 36-9\pi | \sqrt[3]{4}
x^2-5x+6 | 2x+1 | (x-1)(x+2) | \frac{x+1}{x-1} | y=2x-3 | x^3+3x^2-x-3 | 6r^2-4r-24 | (3p-5)(p+9)
(2,3) | (-1,4) | \left(\frac{3}{5},\frac{8}{3}\right) | (1,-2,3) | \left(3,\frac{\pi}{2}\right)
[0,1] | (-\infty,2) | (-2,1)\cup(1,\infty) | [-2,7) | x\ge 3 | \{1,2,3\} | 1,-2 | 3\pm\sqrt{2}
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{pmatrix}-1\\5\end{pmatrix} | 3+4i | 6-5i | 2^{10} | 10^{-3} | \binom{8}{3}
90^\circ | 45^\circ | 10\text{ cm} | 18\text{ square units} | \$12.50 | 25\% | 1{,}250 | 0.75 | 3.14 | 1.5
\text{Tuesday} | \text{(C)} | \text{even} | 1101_2 | 3\frac{1}{2} | \frac{7}{12} | -\frac{3}{8} | \log_2 5 | e^2
"""

Pair = tuple[str, str]
Judge = Callable[[Pair], bool]


def made_golds(count: int) -> Iterator[str]:
    """Yields, without end, shapes from the list with changed numbers, mixed with answers of the built-in problems."""
    dice = Random(0)
    shapes = [shape.strip() for line in SHAPES.strip().splitlines() for shape in line.split(" | ")]
    made = [problem.answer for name in ("algebra", "calculus") for problem in make_problems(name, "train", 400, seed=0)]
    for _ in range(count):
        yield dice.choice(made) if dice.random() < 0.5 else renumbered(dice.choice(shapes), dice)


def renumbered(shape: str, dice: Random) -> str:
    """Returns the shape with another last digit, so that gold answers differ."""
    places = [place for place, char in enumerate(shape) if char in "23456789"]
    if not places or r"\text" in shape:
        return shape
    place = dice.choice(places)
    return shape[:place] + str(dice.randint(2, 9)) + shape[place + 1 :]


def read_golds(folder: Path, count: int) -> Iterator[str]:
    problems: list[Problem] = []
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.jsonl")]):
        try:
            problems += read_problems(path, drop_unanswered=True)
        except ProblemFileError:  # files of programs, and files that are no list of problems
            continue
    golds = sorted({problem.answer for problem in problems if problem.kind == "math"})
    if not golds:
        raise SystemExit(f"{folder} has no .json or .jsonl file of math problems: name a folder that has one")
    yield from Random(0).sample(golds, min(count, len(golds)))


def otherwise(gold: str) -> str:
    """Returns the same answer in another notation."""
    if gold.lstrip("-").isdigit():
        return f"{int(gold):,}" if len(gold) > 4 else f"{gold}.0"
    if r"\left" not in gold and "[" not in gold:
        gold = gold.replace("(", r"\left(").replace(")", r"\right)")
    displayed = gold.replace(r"\frac", r"\dfrac")
    return f" {displayed} "


def pairs_of(golds: list[str], count: int) -> list[Pair]:
    dice = Random(1)
    pairs: list[Pair] = []
    for gold in golds:
        answers = (gold, otherwise(gold), renumbered(gold, dice), dice.choice(golds))
        pairs += [(gold, f"So the answer is $\\boxed{{{answer}}}$.") for answer in answers]
    return pairs[:count]


def by_verifier(verifier: Verifier) -> Judge:
    def judge(pair: Pair) -> bool:
        verdict = verifier.verify(Problem("q", "math", "math", "?", answer=pair[0]), pair[1])
        return verdict.status == "correct"

    return judge


def by_math_verify() -> Judge:
    from math_verify import parse, verify

    def judge(pair: Pair) -> bool:
        return bool(verify(parse(f"${pair[0]}$"), parse(pair[1])))

    return judge


def timed(judge: Judge, pair: Pair) -> tuple[float, bool]:
    begin = time.monotonic()
    correct = judge(pair)
    return time.monotonic() - begin, correct


def measure(judges: dict[str, Judge], pairs: list[Pair]) -> tuple[dict[str, float], Counter[str], int]:
    """Returns the seconds of each way, the verdicts of both by pair, and the number of bombs."""
    seconds = dict.fromkeys(judges, 0.0)
    found: Counter[str] = Counter()
    bombs = 0
    for start in range(0, len(pairs), CHUNK):
        chunk = pairs[start : start + CHUNK]
        results = {name: [timed(judge, pair) for pair in chunk] for name, judge in judges.items()}
        for ours, theirs in zip(*results.values(), strict=True):
            if max(ours[0], theirs[0]) > BOMB_S:
                bombs += 1
                continue
            for name, (spent, _) in zip(judges, (ours, theirs), strict=True):
                seconds[name] += spent
            found[
                "both correct"
                if ours[1] and theirs[1]
                else "only ours"
                if ours[1]
                else "only math-verify's"
                if theirs[1]
                else "both wrong"
            ] += 1
    return seconds, found, bombs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3_000)
    parser.add_argument("--data", type=Path, help="a folder of benchmark files with gold answers")
    options = parser.parse_args()
    cpu = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})  # processes that are started from here on stay on this CPU
    count = -(-options.pairs // 4) + WARM_UP
    golds = list(read_golds(options.data, count) if options.data else made_golds(count))
    with Verifier() as verifier:
        judges = {"verifier": by_verifier(verifier), "math-verify": by_math_verify()}
        for pair in pairs_of(golds[:WARM_UP], 4 * WARM_UP):  # starts the processes
            for judge in judges.values():
                judge(pair)
        time.sleep(3)  # waits until the spare child is ready
        seconds, found, bombs = measure(judges, pairs_of(golds[WARM_UP:], options.pairs))
    judged = sum(found.values())
    rates = {name: judged / spent for name, spent in seconds.items()}
    show(rates, found, f"{judged} pairs on CPU {cpu}, {bombs} bombs left out")
    print(
        json.dumps(
            {
                "pairs": judged,
                "bombs": bombs,
                "pairs_per_s": {name: round(rate, 1) for name, rate in rates.items()},
                "ratio": round(rates["verifier"] / rates["math-verify"], 2),
                "verdicts": dict(found),
            }
        )
    )


def show(rates: dict[str, float], found: Counter[str], title: str) -> None:
    table = Table("way", "pairs/s", "correct", "wrong", title=title)
    only = {"verifier": "only ours", "math-verify": "only math-verify's"}
    for name, rate in rates.items():
        correct = found["both correct"] + found[only[name]]
        table.add_row(name, f"{rate:.0f}", str(correct), str(sum(found.values()) - correct))
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
