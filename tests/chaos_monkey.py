"""Kills the processes of a real run at random, and starts its command again whenever the driver was one of them.

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
class Chaos:
    """What was done to a run: kills by actor, how often its command was started, how it ended and when."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    seconds: float = 0.0
    returncode: int | None = None
    errors: str = ""


def writers(log: Path) -> list[int]:
    """The processes whose output goes to `log`: each actor has a log of its own."""
    found = []
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            if output.readlink() == log:
                found.append(int(output.parts[2]))
        except OSError:
            continue
    return found


def endure(
    command: Sequence[str],
    root: Path,
    most_kills: int,
    mean_s: float,
    seed: int,
    victims: Sequence[str],
    phase: str = "rl",
    limit_s: float = 3600.0,
) -> Chaos:
    """Run `command`, whose run folder is `root`, to its end under at most `most_kills` kills of `victims`.

    Between two kills lie `mean_s` seconds on average (exponential). Kills begin with the first metrics of `phase`:
    "rl", or "sft" for the whole run. A run that ends by itself with an error is not started again.
    """
    chance, chaos, began = random.Random(seed), Chaos(), time.monotonic()
    while chaos.returncode is None:
        chaos.starts += 1
        killed = False
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
            _wait_for_phase(run, root, phase)
            while run.poll() is None and chaos.kills.total() < most_kills:
                _sleep(run, chance.expovariate(1 / mean_s))
                victim = chance.choice(victims)
                pids = [run.pid] if victim == DRIVER else writers(root / "logs" / f"{victim}.log")
                if run.poll() is None and pids and not (victim == DRIVER and chaos.kills.total() == 0):
                    os.kill(pids[-1], signal.SIGKILL)
                    chaos.kills[victim] += 1
                    killed = victim == DRIVER
                if killed:
                    break
            _, chaos.errors = run.communicate(timeout=max(limit_s - (time.monotonic() - began), 1))
        if not killed:
            chaos.returncode = run.returncode
    chaos.seconds = time.monotonic() - began
    return chaos


def _wait_for_phase(run: subprocess.Popen, root: Path, phase: str) -> None:
    began = time.time()
    while run.poll() is None:
        there = root / "metrics.jsonl" if phase == "rl" else root / "phase.json"
        if there.exists() and there.stat().st_size and there.stat().st_mtime > began:
            return
        time.sleep(0.1)


def _sleep(run: subprocess.Popen, seconds: float) -> None:
    until = time.monotonic() + seconds
    while run.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
