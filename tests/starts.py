"""Counts the expensive processes of a test session, and prints the counts at its end.

Starting Ray, an engine or a run takes seconds, so these counts explain how long a round takes on any machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import uuid
from collections import Counter
from pathlib import Path

MARK = "VT_RAY_TEST_SESSION"
PATTERNS = {
    "Ray": re.compile(r"gcs_server"),
    "generators": re.compile(r"^ray::GeneratorActor\b"),
    "learners": re.compile(r"^ray::(LearnerActor|Rank)\b"),
    "runs": re.compile(r"(-m vt_ray\.main|bin/vt-ray|vt_ray/main\.py)(?!.*(dry_run=true|--cfg))"),
}


class StartCounter(threading.Thread):
    """Reads /proc four times a second. A process belongs to this round of tests if it inherits the round's mark."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="start-counter")
        self.counts = Counter[str]()
        self.mark = f"{MARK}={os.environ.setdefault(MARK, uuid.uuid4().hex)}".encode()
        self._unclassified: dict[str, bool] = {}
        self._counted: dict[str, str] = {}
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.25):
            self.look()

    def stop(self) -> str:
        """Returns the counts in one line."""
        self._stopped.set()
        self.join()
        return "starts: " + ", ".join(f"{kind} {self.counts[kind]}" for kind in PATTERNS)

    def look(self) -> None:
        pids = {name for name in os.listdir("/proc") if name.isdecimal()}
        for known in (self._unclassified, self._counted):
            for gone in known.keys() - pids:
                del known[gone]
        for pid in pids - self._counted.keys():
            with contextlib.suppress(OSError):
                self._classify(pid)

    def _classify(self, pid: str) -> None:
        folder = Path("/proc") / pid
        # Ray's workers overwrite their environment when they set their titles, so it is read at first sight only.
        if pid not in self._unclassified:
            self._unclassified[pid] = self.mark in (folder / "environ").read_bytes()
        if not self._unclassified[pid]:
            return
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        for kind, pattern in PATTERNS.items():
            if pattern.search(command):
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                self._counted[pid] = kind
                # A fork has the command of its parent until it executes another program.
                self.counts[kind] += self._counted.get(parent) != kind
                return
