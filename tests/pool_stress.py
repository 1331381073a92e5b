"""A stress test of a pool of real verifiers: it grades hostile rows while its workers are killed at random.

rows --> VerifierPool --> figures about the verdicts, the memory and the processes, as a dict
              ^-- SIGKILL about every second
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import ray
from hostile_rows import Row, rollouts

from vt_ray.actors.verifier_pool import VerifierPool
from vt_ray.actors.verifiers import VerifierActor
from vt_ray.records import GradedGroup
from vt_ray.signal_phase.verify_record import verify_record
from vt_ray.verify.limits import Limits


def open_pool(workers: int, limits: Limits, logs: Path, actor=VerifierActor, **changes) -> VerifierPool:
    """Opens a pool on the Ray that this process is connected to. The workers reserve no CPUs."""
    names = [f"stressed_{i}" for i in range(workers)]
    options = {"num_cpus": 0}
    return VerifierPool(
        names,
        lambda name: actor.options(name=name, **options).remote(name, limits, logs),
        lambda: None,
        **{"startup_timeout_s": 120.0, "hangs_after_s": 300.0, **changes},
    )


def close_pool(pool: VerifierPool) -> None:
    for worker in pool._workers:
        with contextlib.suppress(Exception):
            ray.kill(worker.actor)


def worker_pids(logs: Path) -> list[int]:
    """Ids of the processes whose standard output is a log in the folder `logs`: each worker has its own log."""
    found = []
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):
            if output.readlink().parent == logs:
                found.append(int(output.parts[2]))
    return found


def stress(pool: VerifierPool, groups: list[list[Row]], logs: Path, kill_every_s: float, seed: int = 0) -> dict:
    """Grades all `groups` while workers are killed. Returns the figures of this and of the state afterwards."""
    grade(pool, groups[:: max(1, len(groups) // 6)])  # starts every child process
    before, counts = Footprint(logs), pool.counts()
    with Killer(logs, kill_every_s, seed) as killer:
        begin = time.monotonic()
        graded = grade(pool, groups)
        seconds = time.monotonic() - begin
    # The pool notices a worker that was killed while idle only when it sends the next chunk.
    again, deadline = [], time.monotonic() + 60
    while not again or (len(worker_pids(logs)) < len(pool._workers) and time.monotonic() < deadline):
        again += [verdict for graded in grade(pool, groups[-12:]) for verdict in graded.verdicts]
        pool.wait_for_start()
    left = killer.count_survivors(wait_s=30)
    after = Footprint(logs)
    kinds = [rows_of(groups, group)[0].problem.kind for group in graded]
    return {
        **check_answers(groups, graded),
        "wall_seconds": seconds,
        "killed": killer.killed,
        **verify_record(graded, kinds, counts, pool.counts()),
        "alive_afterwards": all(verdict.valid for verdict in again),
        "left_of_the_killed": left,
        **{f"{name}_before": value for name, value in vars(before).items()},
        **{f"{name}_after": value for name, value in vars(after).items()},
    }


def grade(pool: VerifierPool, groups: list[list[Row]]) -> list[GradedGroup]:
    return list(pool.grade(ray.put(rollouts(rows, number)) for number, rows in enumerate(groups)))


def rows_of(groups: list[list[Row]], group: GradedGroup) -> list[Row]:
    return groups[group.prompt_tokens]


def check_answers(groups: list[list[Row]], graded: list[GradedGroup]) -> dict:
    """Whether every row has exactly one verdict, and an expected one."""
    pairs = [(row, v) for g in graded for row, v in zip(rows_of(groups, g), g.verdicts, strict=True)]
    numbers = sorted(group.prompt_tokens for group in graded)
    lost = [row for row, v in pairs if v.reason == "worker lost"]
    unexpected = [(row, v) for row, v in pairs if v.status not in row.expect and v.reason != "worker lost"]
    return {
        "rows": sum(map(len, groups)),
        "answered_once": numbers == list(range(len(groups))),
        "controls": sum(row.control for row, _ in pairs),
        "controls_as_expected": sum(row.control and v.status in row.expect for row, v in pairs),
        "wrongly_correct": sum(v.status == "correct" and "correct" not in row.expect for row, v in pairs),
        "worker_lost": dict(Counter(row.name for row in lost)),
        "not_as_expected": [f"{row.name} {row.problem.question_id}: {v.status} {v.reason}" for row, v in unexpected],
    }


class Footprint:
    """Memory (MiB) and processes of the driver and the workers at one moment."""

    def __init__(self, logs: Path):
        workers = worker_pids(logs)
        self.driver_mib = _resident_mib(os.getpid())
        self.workers = len(workers)
        self.largest_worker_mib = max(map(_resident_mib, workers), default=0)
        self.children_of_workers = sum(len(list(_descendants(pid))) for pid in workers)
        self.zombies = sum(_state(child) == "Z" for pid in (os.getpid(), *workers) for child in _descendants(pid))


class Killer:
    """Kills a random worker about every `every_s` seconds, and records the children of the killed workers."""

    def __init__(self, logs: Path, every_s: float, seed: int):
        self.killed, self._processes = 0, set[tuple[int, str]]()
        self._logs, self._every_s, self._rng = logs, every_s, random.Random(seed)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def count_survivors(self, wait_s: float) -> int:
        """Number of killed workers and of their children that still exist after `wait_s`, zombies included."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and self._survivors():
            time.sleep(0.2)
        return self._survivors()

    def _survivors(self) -> int:
        return sum(_start_time(pid) == started for pid, started in self._processes if started)

    def _run(self) -> None:
        while not self._done.wait(self._every_s * self._rng.uniform(0.5, 1.5)):
            if pids := worker_pids(self._logs):
                pid = self._rng.choice(sorted(pids))
                self._processes |= {(each, _start_time(each)) for each in (pid, *_descendants(pid))}
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed += 1


def _descendants(pid: int) -> Iterator[int]:
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, listing.read_text().split()):
                yield child
                yield from _descendants(child)


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str:
    return "".join(_stat(pid)[:1])


def _start_time(pid: int) -> str:
    """Start time of the process. It tells two processes with the same id apart."""
    return "".join(_stat(pid)[19:20])


def _resident_mib(pid: int) -> int:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) >> 10
    return 0
