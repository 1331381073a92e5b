"""A simulation of many generators and one driver: the number of generators at which the driver is the limit.

    python benchmarks/driver_saturation.py --driver-ms 2.2 --generator-tokens 20594

A discrete-event simulation of the pipelined schedule. Each generator decodes `--in-flight` groups at a time, and its
tokens a second are shared among them. A group passes the driver twice, in order of arrival:

    generator --> driver: takes the group, gives it to a verifier, sends the next question --> verifier
              --> driver: takes the verdicts, adds the group to the batch

Times come from measurements: `--driver-ms` is 1,000 x group size / (completions a second of driver CPU time) of
benchmarks/driver_throughput.py, `--generator-tokens` the tokens a second of a generator (docs/status.md has those of
one H200 with a model of 1.5B parameters). The time of a group is exponential, with the mean of `--tokens` tokens for
each completion. In the table, "of the limit" is the throughput divided by that of the generators alone.
"""

from __future__ import annotations

import argparse
import heapq
import json
from dataclasses import dataclass

import numpy as np

GENERATED, VERIFIED = "generated", "verified"


@dataclass(frozen=True)
class Setting:
    """`driver_seconds` are for a group, over both visits; `verifier_seconds` for a completion."""

    generators: int
    tokens: float
    generator_tokens: float
    in_flight: int
    group_size: int
    driver_seconds: float
    verifier_seconds: float
    verifiers: int


@dataclass(frozen=True)
class Outcome:
    """Completions a second, share of the time that the driver works, mean seconds that a group waits for it."""

    completions_per_second: float
    driver_busy: float
    wait_seconds: float


def simulate(s: Setting, groups: int, seed: int = 0) -> Outcome:
    """Runs until `groups` groups are done. The first half fills the queues and is not counted."""
    rng = np.random.default_rng(seed)
    slots = s.generators * s.in_flight
    mean_seconds = s.tokens * s.group_size * s.in_flight / s.generator_tokens
    visit = s.driver_seconds / 2
    # (time, order, what): the order keeps events of one time apart.
    events = [(rng.exponential(mean_seconds), slot, GENERATED) for slot in range(slots)]
    heapq.heapify(events)
    verifiers = [0.0] * s.verifiers
    free, order, done = 0.0, slots, 0
    counted_from = busy = waited = 0.0
    visits = 0
    while done < groups:
        now, _, what = heapq.heappop(events)
        begin = max(free, now)
        free = begin + visit
        if done >= groups // 2:
            busy, waited, visits = busy + visit, waited + begin - now, visits + 1
        order += 2
        if what == GENERATED:
            verified = max(free, heapq.heappop(verifiers)) + s.verifier_seconds * s.group_size
            heapq.heappush(verifiers, verified)
            heapq.heappush(events, (verified, order, VERIFIED))
            heapq.heappush(events, (free + rng.exponential(mean_seconds), order + 1, GENERATED))
        else:
            done += 1
            if done == groups // 2:
                counted_from = free
    elapsed = free - counted_from
    counted = (groups - groups // 2) * s.group_size
    return Outcome(counted / elapsed, min(1.0, busy / elapsed), waited / max(visits, 1))


def main() -> None:
    arguments = parsed()
    rows = []
    for generators in arguments.generators:
        setting = Setting(
            generators=generators,
            tokens=arguments.tokens,
            generator_tokens=arguments.generator_tokens,
            in_flight=arguments.in_flight,
            group_size=arguments.group_size,
            driver_seconds=arguments.driver_ms / 1e3,
            verifier_seconds=arguments.verifier_ms / 1e3,
            verifiers=max(1, round(generators * arguments.verifiers)),
        )
        groups = max(arguments.groups, 8 * generators * arguments.in_flight)
        rows.append((generators, simulate(setting, groups), limit(setting)))
    print_table(rows)
    per_group = arguments.driver_ms / 1e3
    saturated = arguments.tokens * arguments.group_size / (per_group * arguments.generator_tokens)
    print(f"the driver is busy all the time from {saturated:,.0f} generators on")
    print(json.dumps({"saturated": saturated, "rows": [(n, vars(found), at_most) for n, found, at_most in rows]}))


def limit(s: Setting) -> float:
    """Completions a second of the generators if nothing else takes time."""
    return s.generators * s.generator_tokens / s.tokens


def print_table(rows: list[tuple[int, Outcome, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("generators", "completions/s", "of the limit", "driver busy", "wait for the driver, s")
    for generators, found, at_most in rows:
        rate = found.completions_per_second
        table.add_row(
            *(f"{generators:,}", f"{rate:,.0f}", f"{rate / at_most:.0%}"),
            *(f"{found.driver_busy:.0%}", f"{found.wait_seconds:.3f}"),
        )
    Console(width=100).print(table)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generators", type=int, nargs="+", default=[10, 100, 300, 1000, 3000])
    parser.add_argument("--tokens", type=float, default=16_384, help="mean tokens of a completion")
    parser.add_argument("--generator-tokens", type=float, default=20_594, help="tokens a second of one generator")
    parser.add_argument("--in-flight", type=int, default=32, help="groups that a generator decodes at a time")
    parser.add_argument("--group-size", type=int, default=8, help="completions of a question")
    parser.add_argument("--driver-ms", type=float, default=2.2, help="milliseconds of the driver for a group")
    parser.add_argument("--verifier-ms", type=float, default=4.0, help="milliseconds of a verifier for a completion")
    parser.add_argument("--verifiers", type=float, default=0.5, help="verifiers for each generator")
    parser.add_argument("--groups", type=int, default=20_000, help="groups that are simulated, at least")
    return parser.parse_args()


if __name__ == "__main__":
    main()
