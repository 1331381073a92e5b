"""Pass@K: the expected maximum over K samples, estimated without bias from n >= K (arXiv 2511.06221, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import comb


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k): the probability that k of n samples, drawn without replacement, include a correct one.

    Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"num_correct={num_correct} must lie in 0..num_samples={num_samples}")
    if not 1 <= k <= num_samples:
        raise ValueError(f"k={k} must lie in 1..num_samples={num_samples}: draw more samples or lower k")
    return 1.0 - comb(num_samples - num_correct, k) / comb(num_samples, k)


def expected_distinct(num_samples: int, counts: Iterable[int], k: int) -> float:
    """The expected number of different kinds among k of n samples, drawn without replacement (Hurlbert 1971).

    `counts` has the number of samples of each kind: answers, or solution paths. Pass@K is the case of one kind, the
    correct samples. Raises ValueError as `pass_at_k` does.
    """
    return sum(pass_at_k(num_samples, count, k) for count in counts)


def mean_accuracy(counts: Sequence[tuple[int, int]]) -> float | None:
    """The mean of correct / valid over questions, from their (correct, valid) counts. None without any verdict."""
    shares = [correct / valid for correct, valid in counts if valid]
    return sum(shares) / len(shares) if shares else None
