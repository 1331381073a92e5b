"""How often the 95% intervals of a benchmark contain the true value: a simulation with known accuracies.

    python benchmarks/interval_coverage.py      (about 5 minutes, mostly for the BCa bootstrap)

Each trial draws 30 problems, the accuracy of a model on each of them, and several samples a problem. The accuracies
come from a Beta distribution with the true mean: "alike" (all problems are equally hard), "spread" (Beta with
a + b = 4), "U-shaped" (a + b = 1) or "solved or not" (a + b = 0.3: most problems are always or never solved). The
script prints coverage / mean width of the intervals of a mean (first table) and of a paired difference (second table).
scipy's BCa bootstrap and the percentile bootstrap stand beside them. The third table is of the mean over seeds with 160
problems of their own (`mean_over_nested_seeds`).
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PROBLEMS = 30
TRUE_MEANS = (0.05, 0.5, 0.8)
SPREADS = {"alike": 1e6, "spread": 4.0, "U-shaped": 1.0, "solved or not": 0.3}
# The change in log-odds of a second model: its mean, and its standard deviation between problems.
CHANGES = {"none": (0.0, 0.0), "small": (0.5, 0.5), "large": (1.5, 1.0)}
# Standard deviation between problems of the difference between two models.
SPREAD_OF_A_DIFFERENCE = 0.22
Ends = tuple[float, float]


def accuracies(rng: np.random.Generator, mean: float, spread: str, count: int) -> np.ndarray:
    a, b = mean * SPREADS[spread], (1 - mean) * SPREADS[spread]
    return rng.beta(a, b, count).clip(1e-9, 1 - 1e-9)


def changed(rng: np.random.Generator, rates: np.ndarray, change: str) -> np.ndarray:
    """The accuracies of the second model on the same problems."""
    shift, deviation = CHANGES[change]
    return 1 / (1 + np.exp(-np.log(rates / (1 - rates)) - shift - deviation * rng.normal(size=len(rates))))


def benchmark(scores: np.ndarray, samples: int, rng: np.random.Generator) -> Ends:
    from vt_ray.evaluation.statistics import benchmark_interval

    found = benchmark_interval(scores.tolist(), samples)
    return found.low, found.high


def wilson(scores: np.ndarray, samples: int, rng: np.random.Generator) -> Ends:
    from vt_ray.evaluation.statistics import mean_interval

    found = mean_interval(scores.tolist(), samples)
    return found.low, found.high


def percentile(scores: np.ndarray, samples: int, rng: np.random.Generator) -> Ends:
    means = scores[rng.integers(len(scores), size=(1000, len(scores)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return low, high


def bca(scores: np.ndarray, samples: int, rng: np.random.Generator) -> Ends:
    from scipy.stats import bootstrap

    if np.ptp(scores) == 0:
        return scores[0], scores[0]
    found = bootstrap((scores,), np.mean, n_resamples=999, method="BCa", rng=rng).confidence_interval
    return found.low, found.high


def paired(differences: np.ndarray, samples: int, rng: np.random.Generator) -> Ends:
    from vt_ray.evaluation.statistics import benchmark_difference

    after = {f"{i:04}": d for i, d in enumerate(differences.tolist())}
    found = benchmark_difference(dict.fromkeys(after, 0.0), after)
    return found.low, found.high


Method = Callable[[np.ndarray, int, np.random.Generator], Ends]
OF_MEAN: list[Method] = [benchmark, wilson, bca, percentile]
OF_DIFFERENCE: list[Method] = [paired, bca, percentile]


def coverage(trials: Iterator[np.ndarray], true: float, samples: int, methods: list[Method], seed: int) -> str:
    """One row: coverage and mean width of each method, over the scores of all trials."""
    rng = np.random.default_rng(seed)
    hits, widths, count = np.zeros(len(methods)), np.zeros(len(methods)), 0
    for scores in trials:
        count += 1
        for i, method in enumerate(methods):
            low, high = method(scores, samples, rng)
            hits[i] += low - 1e-12 <= true <= high + 1e-12
            widths[i] += high - low
    cells = (f"{hit / count:.3f} / {width / count:.3f}" for hit, width in zip(hits, widths, strict=True))
    return " | ".join(cells)


def mean_table(trials: int, problems: int) -> None:
    print("| mean | problems are | samples |", " | ".join(m.__name__ for m in OF_MEAN), "|")
    print("|---" * (3 + len(OF_MEAN)) + "|")
    for mean in TRUE_MEANS:
        for spread in SPREADS:
            for samples in (4, 64):
                rng = np.random.default_rng(1)
                drawn = (
                    rng.binomial(samples, accuracies(rng, mean, spread, problems)) / samples for _ in range(trials)
                )
                print(f"| {mean} | {spread} | {samples} | {coverage(drawn, mean, samples, OF_MEAN, 2)} |", flush=True)


def difference_table(trials: int, problems: int) -> None:
    print("\n| mean before | change | samples |", " | ".join(m.__name__ for m in OF_DIFFERENCE), "|")
    print("|---" * (3 + len(OF_DIFFERENCE)) + "|")
    for mean in TRUE_MEANS:
        for change in CHANGES:
            many = accuracies(np.random.default_rng(0), mean, "U-shaped", 1_000_000)
            true = float(changed(np.random.default_rng(1), many, change).mean() - many.mean())
            for samples in (4, 64):
                drawn = differences(trials, problems, mean, change, samples)
                row = coverage(drawn, true, samples, OF_DIFFERENCE, 2)
                print(f"| {mean} | {change} | {samples} | {row} |", flush=True)


def differences(trials: int, problems: int, mean: float, change: str, samples: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(1)
    for _ in range(trials):
        before = accuracies(rng, mean, "U-shaped", problems)
        after = changed(rng, before, change)
        yield (rng.binomial(samples, after) - rng.binomial(samples, before)) / samples


def seeds_table(trials: int) -> None:
    """Coverage of the mean over seeds with 160 problems each, for several effects of a seed (standard deviation)."""
    from vt_ray.evaluation.statistics import mean_over_nested_seeds

    effects = (0.0, 0.01, 0.03, 0.05)
    print("\n| seeds | " + " | ".join(f"{100 * effect:g} points" for effect in effects) + " |")
    print("|---" * (1 + len(effects)) + "|")
    rng = np.random.default_rng(0)
    for seeds in (2, 3, 5):
        cells = []
        for effect in effects:
            inside = 0
            for _ in range(trials):
                means = rng.normal(0, effect, seeds)
                scores = rng.normal(means[:, None], SPREAD_OF_A_DIFFERENCE, (seeds, 160))
                found = mean_over_nested_seeds({s: dict(enumerate(row)) for s, row in enumerate(scores)})
                inside += found.interval.low <= 0 <= found.interval.high
            cells.append(f"{inside / trials:.3f}")
        print(f"| {seeds} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--problems", type=int, default=PROBLEMS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*degenerate.*")
    mean_table(arguments.trials, arguments.problems)
    difference_table(arguments.trials, arguments.problems)
    seeds_table(arguments.trials)


if __name__ == "__main__":
    main()
