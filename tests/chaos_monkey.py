"""Kills processes of a real run at random. After a kill of the driver it starts the command again.

run --logs/<actor>.log--> pid --SIGKILL--> the run recovers, or the same command continues it
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

DRIVER = "driver"


@dataclass
class ChaosResult:
    """Kills by actor name, the number of starts of the command, and how the run ended."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    seconds: float = 0.0
    returncode: int | None = None
    errors: str = ""


def pids_writing_to(log: Path) -> list[int]:
    """Ids of the processes whose standard output is `log`. Each actor has its own log."""
    found = []
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            if output.readlink() == log:
                found.append(int(output.parts[2]))
        except OSError:
            continue
    return found


def run_with_kills(
    command: Sequence[str],
    run_folder: Path,
    max_kills: int,
    mean_seconds_between_kills: float,
    seed: int,
    victims: Sequence[str],
    phase: str = "rl",
    limit_s: float = 3600.0,
) -> ChaosResult:
    """Runs `command` to its end, and kills at most `max_kills` processes of `victims` meanwhile.

    The time between two kills has an exponential distribution. The first kill comes after the first metrics of `phase`
    ("rl", or "sft" for the whole run). A run that ends with an error by itself is not started again.
    """
    rng, result, began = random.Random(seed), ChaosResult(), time.monotonic()
    while result.returncode is None:
        result.starts += 1
        killed = False
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
            _wait_for_phase(run, run_folder, phase)
            while run.poll() is None and result.kills.total() < max_kills:
                _sleep(run, rng.expovariate(1 / mean_seconds_between_kills))
                victim = rng.choice(victims)
                pids = [run.pid] if victim == DRIVER else pids_writing_to(run_folder / "logs" / f"{victim}.log")
                if run.poll() is None and pids and not (victim == DRIVER and result.kills.total() == 0):
                    os.kill(pids[-1], signal.SIGKILL)
                    result.kills[victim] += 1
                    killed = victim == DRIVER
                if killed:
                    break
            _, result.errors = run.communicate(timeout=max(limit_s - (time.monotonic() - began), 1))
        if not killed:
            result.returncode = run.returncode
    result.seconds = time.monotonic() - began
    return result


def _wait_for_phase(run: subprocess.Popen, run_folder: Path, phase: str) -> None:
    began = time.time()
    while run.poll() is None:
        first_output = run_folder / "metrics.jsonl" if phase == "rl" else run_folder / "phase.json"
        if first_output.exists() and first_output.stat().st_size and first_output.stat().st_mtime > began:
            return
        time.sleep(0.1)


def _sleep(run: subprocess.Popen, seconds: float) -> None:
    until = time.monotonic() + seconds
    while run.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
