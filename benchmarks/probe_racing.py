"""Samples that racing saves in probing, and whether the specialist is that of a probe without racing.

    python benchmarks/probe_racing.py                           100 simulated trajectories for each number of problems
    python benchmarks/probe_racing.py --probe runs/demo/probe   the recorded scores of a finished probe without racing

A simulated trajectory has a skill that rises to a peak and falls, with noise between checkpoints. Problems have a
difficulty, and each problem suits each checkpoint more or less: a sample is correct with probability
sigmoid(skill - difficulty + fit). The scores of a recorded probe are those that a race would draw, since the seed of a
sample depends on question and sample only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vt_ray.algorithms.pass_at_k import pass_at_k  # noqa: E402
from vt_ray.run.paths import ProbePaths  # noqa: E402
from vt_ray.spectrum_phase.probe_scores import read_scores  # noqa: E402
from vt_ray.spectrum_phase.racing import Race  # noqa: E402

SAMPLES, K = 16, 8
# {checkpoint: {question id: Pass@K}}
Table = Mapping[str, Mapping[str, float | None]]


def simulated(problems: int, checkpoints: int, seed: int) -> Table:
    """One subdomain of one trajectory."""
    dice = np.random.default_rng(seed)
    peak, curvature = dice.uniform(0, checkpoints), dice.uniform(0.01, 0.05)
    skill = -curvature * (np.arange(checkpoints) - peak) ** 2 + dice.normal(0, 0.1, checkpoints) - 2
    fit = dice.normal(0, 0.5, (checkpoints, problems))
    right = 1 / (1 + np.exp(dice.normal(0, 1.5, problems) - skill[:, None] - fit))
    values = [pass_at_k(SAMPLES, correct, K) for correct in range(SAMPLES + 1)]
    counts = dice.binomial(SAMPLES, right)
    return {f"step_{t}": {f"q{p}": values[c] for p, c in enumerate(row)} for t, row in enumerate(counts)}


def recorded(folder: Path, k: int) -> dict[str, Table]:
    """{subdomain: the scores of a finished probe}."""
    tables: dict[str, dict[str, dict[str, float | None]]] = {}
    for file in ProbePaths(folder).all_scores():
        for s in read_scores(file):
            of_checkpoint = tables.setdefault(s.subdomain, {}).setdefault(file.stem, {})
            of_checkpoint[s.question_id] = s.pass_at(k) if s.valid else None
    return dict(tables)


def race(table: Table, error: float, seed: int) -> tuple[str, float]:
    """The winner by Pass@K, the later checkpoint if several are equal, and the share of samples that were drawn."""
    ids = list(next(iter(table.values())))
    contest, asked = Race({"": ids}, list(table), error, seed), 0
    for questions in contest.rounds():
        asked += len(questions) * len(contest.active[""])
        contest.stop_losers(table)
    return best(table, contest.active[""]), asked / len(ids) / len(table)


def best(table: Table, names: Sequence[str]) -> str:
    means = {n: np.mean([v for v in table[n].values() if v is not None]) for n in names}
    return max(names, key=lambda n: (means[n], names.index(n)))


def row(name: str, tables: Sequence[Table], error: float, seeds: int = 1) -> str:
    """A line of the result: each table is raced in `seeds` orders of its problems."""
    results = [(table, *race(table, error, seed)) for table in tables for seed in range(seeds)]
    same = sum(winner == best(table, list(table)) for table, winner, _ in results)
    saved = [1 - drawn for _, _, drawn in results]
    low, high = np.percentile(saved, [10, 90])
    return f"| {name} | {error:g} | {same} of {len(results)} | {np.mean(saved):.0%} ({low:.0%} to {high:.0%}) |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probe", type=Path, nargs="*", default=[], help="folders of finished probes without racing")
    parser.add_argument("--orders", type=int, default=20, help="orders of the problems of a recorded probe")
    parser.add_argument("--trajectories", type=int, default=100)
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--problems", type=int, nargs="*", default=[32, 100, 300])
    parser.add_argument("--error", type=float, nargs="*", default=[0.05, 0.2])
    options = parser.parse_args()
    print("| trajectories | error rate | same specialist | samples saved (10% to 90%) |\n|---|---|---|---|")
    for folder in options.probe:
        tables = recorded(folder, json.loads(ProbePaths(folder).table.read_text())["k"])
        for subdomain, table in tables.items():
            size = f"{len(table)} checkpoints, {len(next(iter(table.values())))} problems"
            for error in options.error:
                print(row(f"{folder}, {subdomain}: {size}", [table], error, options.orders), flush=True)
    for problems in () if options.probe else options.problems:
        tables = [simulated(problems, options.checkpoints, seed) for seed in range(options.trajectories)]
        for error in options.error:
            size = f"{options.checkpoints} checkpoints, {problems} problems"
            print(row(f"simulated: {size}", tables, error), flush=True)


if __name__ == "__main__":
    main()
