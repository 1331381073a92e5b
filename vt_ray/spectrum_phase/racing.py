"""Racing: a checkpoint gets no more samples in a subdomain once it cannot win there.

problems in a random order, in rounds --scores of all checkpoints--> evidence against each checkpoint --> it stops

The winner of a subdomain has the highest mean score over all its problems. The scores are fixed numbers, since the seed
of a sample depends on question and sample only; the order of the problems is random. So the problems so far are a
sample without replacement of a finite population.

Test of "c is the winner" (its mean is at least that of j), for scores in [0, 1] and N problems: X = (1 + S_j - S_c) / 2
has a mean of at most 1/2 over all problems, hence at most m_t = (N/2 - sum of X before t) / (N - t + 1) over the
problems from t on. The capital of bets of the fraction f on X,

    product over t of (1 + f * (X_t / m_t - 1)),

is then a supermartingale that starts at 1 (betting without replacement: Waudby-Smith and Ramdas, arXiv 2010.09686), as
are its mean over several f, and the mean over all opponents j (Vovk and Wang, arXiv 1912.06116). By Ville's inequality
the true winner reaches a capital of 1 / error with a probability of at most `error`, whenever it is tested. The mean
over the opponents is at least as strong as a test of each opponent with a union bound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from math import inf

import numpy as np

# Parts of each subdomain's problems. After each part, checkpoints that cannot win stop.
ROUNDS = 8
FRACTIONS = tuple(f / 10 for f in range(1, 10))
# Scores are multiples of 1 / C(n, K): a difference below this is an error of rounding.
ROUNDING = 1e-9


class Race:
    """The rounds of a probe, and the checkpoints that may still win.

    problems: {subdomain: its question ids}. With `error` 0 there is one round, and no checkpoint stops.

    active: {subdomain: checkpoints that may still win}.
    stopped: {subdomain: {checkpoint: problems that it answered before it stopped}}.
    """

    def __init__(self, problems: Mapping[str, Sequence[str]], names: Sequence[str], error: float, seed: int):
        self._error = error
        self._order = {d: _random_order(ids, seed) for d, ids in problems.items()}
        self._asked = dict.fromkeys(problems, 0)
        self.active = {d: list(names) for d in problems}
        self.stopped: dict[str, dict[str, int]] = {d: {} for d in problems}

    def rounds(self) -> Iterator[set[str]]:
        """The question ids of each round, over all subdomains."""
        count = ROUNDS if self._error else 1
        for done in range(1, count + 1):
            before, self._asked = self._asked, {d: len(ids) * done // count for d, ids in self._order.items()}
            yield {q for d, order in self._order.items() for q in order[before[d] : self._asked[d]]}

    def stop_losers(self, scores: Mapping[str, Mapping[str, float | None]]) -> None:
        """Stop checkpoints after a round. `scores`: {checkpoint: {question id: score in [0, 1]}}, None for a problem
        without a verdict. Scores of later rounds, from an interrupted attempt, are not used."""
        if not self._error:
            return
        for d, order in self._order.items():
            asked = self._asked[d]
            so_far = {
                name: [found[q] for q in order[: self.stopped[d].get(name, asked)]] for name, found in scores.items()
            }
            losers = [n for n in self.active[d] if evidence(so_far, n, len(order)) >= 1 / self._error]
            self.stopped[d] |= dict.fromkeys(losers, asked)
            self.active[d] = [name for name in self.active[d] if name not in losers]


def evidence(scores: Mapping[str, Sequence[float | None]], name: str, total: int) -> float:
    """The capital of the bets against "`name` is the winner over `total` problems": the mean over its opponents.

    1 is no evidence. `scores` are in the order of the race; a checkpoint that stopped has fewer. A problem without a
    verdict counts as a success of `name` and a failure of the opponent, so that it adds no evidence.
    """
    capitals = [_capital(scores[other], scores[name], total) for other in scores if other != name]
    return sum(capitals) / len(capitals) if capitals else 1.0


def _capital(other: Sequence[float | None], own: Sequence[float | None], total: int) -> float:
    """The capital of the bets on "the mean of `other` is above that of `own`", over the problems that both answered."""
    pairs = zip(other, own, strict=False)
    x = np.array([1 + (0.0 if o is None else o) - (1.0 if s is None else s) for o, s in pairs]) / 2
    left = total / 2 - np.concatenate(([0.0], np.cumsum(x)))
    if left.min() < -ROUNDING:
        return inf  # the problems that are left would need a mean below 0
    largest = left[:-1] / (total - np.arange(len(x)))
    surprise = np.where(x > ROUNDING, inf, 1.0)
    ratios = np.divide(x, largest, out=surprise, where=largest > ROUNDING)
    capitals = [float(np.prod(1 + fraction * (ratios - 1))) for fraction in FRACTIONS]
    return sum(capitals) / len(capitals)


def _random_order(ids: Sequence[str], seed: int) -> list[str]:
    return sorted(ids, key=lambda q: hashlib.sha256(f"{seed}/race/{q}".encode()).digest())
