"""Replaced actors: a line for each in recoveries.jsonl, and a limit on losses without progress."""

from __future__ import annotations

import time
from pathlib import Path

from vt_ray.planning.placement import ClusterError
from vt_ray.progress import console
from vt_ray.run.metrics_log import MetricsLog
from vt_ray.run.paths import RunPaths
from vt_ray.run.run_folder import newest_commit

# This number of losses in a row without a commit ends the run, because the cause is permanent.
MOST_IN_A_ROW = 10


class Recoveries:
    """`root` is the run's folder."""

    def __init__(self, root: Path):
        self.root = root
        self.log = MetricsLog(RunPaths(root).recoveries)
        self._in_a_row = 0
        self._commit = newest_commit(root)

    def record(self, lost: str, error: BaseException) -> None:
        """Record and print that the actor `lost` was replaced. Raises ClusterError after MOST_IN_A_ROW losses without a
        commit between them."""
        commit = newest_commit(self.root)
        self._in_a_row = 1 if commit != self._commit else self._in_a_row + 1
        self._commit = commit
        self.log.write({"time": time.time(), "lost": lost, "error": type(error).__name__, "commit": commit})
        if self._in_a_row >= MOST_IN_A_ROW:
            raise ClusterError(
                f"lost {lost}: {self._in_a_row} actors in a row were lost without a committed step between them. See "
                f"{RunPaths(self.root).logs}"
            ) from error
        console.print(f"[yellow]lost {lost}: replaced, the run continues from {commit or 'its beginning'}[/]")
