"""A separate process that reads the run's files and sends committed records to the tracking sinks.

metrics.jsonl, evaluation/ --up to the newest manifest--> numbered records --> TensorBoard, W&B, MLflow
tracking.json: the number of records sent to each sink, and the sink's id of the run

The training loop does not know of this process and never waits for a tracking server. Only committed steps are sent: a
step that is repeated after a crash was not sent before. Records that a sink has missed, because it failed or was not
configured, are sent from the files when the same command starts again.
"""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import Path
from threading import Thread
from typing import Any

from vt_ray.config import TrackingConfig
from vt_ray.progress import console
from vt_ray.report.formats import without_passwords
from vt_ray.run.checkpoint import write_json
from vt_ray.run.paths import RunPaths
from vt_ray.run.run_folder import locked
from vt_ray.tracking.committed import committed_records
from vt_ray.tracking.completions import completion_rows
from vt_ray.tracking.sinks import Record, RunInfo, Sink, open_sink, target

POLL_S = 2.0
CLOSING_S = 40.0
# After Ctrl-C or SIGTERM. Unsent records are sent when the same command starts again.
INTERRUPTED_S = 5.0
# The process gets its settings by this variable. W&B shows the arguments of a process, and mlflow_uri may contain a
# password.
SETTINGS = "VT_RAY_TRACKING"
# Sent before the count is written. A sink that gets a long run late and is cut off continues from the count.
RECORDS_AT_ONCE = 200

log = logging.getLogger(__name__)


@contextmanager
def following(tracking: TrackingConfig, root: Path) -> Iterator[None]:
    """Send records to the sinks while the block runs.

    After the block the sinks have CLOSING_S seconds to finish, or INTERRUPTED_S seconds after an interrupt.
    """
    process = _started(tracking, root) if tracking.sinks else None
    if process is None:
        yield
        return
    assert process.stdin and process.stdout
    Thread(target=_show, args=(process.stdout,), daemon=True).start()
    closing_s = CLOSING_S
    try:
        yield
    except KeyboardInterrupt:
        closing_s = INTERRUPTED_S
        raise
    finally:
        process.stdin.close()
        try:
            if process.wait(closing_s):
                console.print("[yellow]tracking has failed, the run has not: see logs/tracking.log[/]")
        except subprocess.TimeoutExpired:
            process.kill()
            console.print(f"[yellow]tracking took longer than {closing_s:g} s to end: see logs/tracking.log[/]")


def _started(tracking: TrackingConfig, root: Path) -> subprocess.Popen[str] | None:
    """The process, None if it cannot be started: the run goes on without it."""
    logs = RunPaths(root).logs
    paths = [os.path.abspath(path) for path in sys.path]
    try:
        logs.mkdir(exist_ok=True)
        with (logs / "tracking.log").open("a") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "vt_ray.tracking.follower", str(root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                # Its own session: Ctrl-C does not reach it. It ends with its standard input, when the run ends.
                start_new_session=True,
                env={**os.environ, SETTINGS: json.dumps(asdict(tracking)), "PYTHONPATH": os.pathsep.join(paths)},
            )
    except OSError as error:
        console.print(f"[yellow]tracking cannot start, the run goes on without it:[/] {error}", soft_wrap=True)
        return None


def _show(messages: Iterable[str]) -> None:
    for message in messages:
        console.print(message.rstrip(), style="yellow", markup=False, soft_wrap=True)


class Follower:
    """`catch_up` sends the new committed records to each sink. A sink that fails is closed and not used again."""

    def __init__(self, root: Path, tracking: TrackingConfig):
        from omegaconf import OmegaConf

        self.paths, self.tracking = RunPaths(root), tracking
        settings = OmegaConf.to_container(OmegaConf.load(self.paths.config))
        self.config: dict[str, Any] = json.loads(without_passwords(json.dumps(settings)))
        # Not a hyper-parameter.
        self.config.pop("tracking", None)
        self.finished = False
        self._records = self._until_finished()
        self._count = 0
        self._file = self.paths.tracking
        self._known = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._sinks: dict[str, Sink] = {}
        for name in tracking.sinks:
            self._guarded(self._open, name)

    def catch_up(self) -> None:
        new = list(takewhile(lambda record: record is not None, self._records))
        numbered = list(enumerate(new, self._count))
        self._count += len(new)
        for name in list(self._sinks):
            self._guarded(self._send, name, numbered)

    def close(self) -> None:
        for name in list(self._sinks):
            self._guarded(self._close, name)

    def _until_finished(self) -> Iterator[Record | None]:
        yield from committed_records(self.paths, self.config)
        self.finished = True

    def _open(self, name: str) -> None:
        known = self._known.setdefault(target(name, self.tracking), {"run_id": "", "sent": 0})
        identity = json.loads(self.paths.run_json.read_text())
        own = ("seed", "weight", *(["lambda"] if identity.get("weight", "mgpo") == "mgpo" else []))
        tags = {name: str(identity[name]) for name in own if name in identity}
        tags |= {name: value for name, _, value in (tag.partition("=") for tag in self.tracking.tags)}
        info = RunInfo(self.paths.root, identity["run_name"], tags, self.config, known["run_id"])
        self._sinks[name] = open_sink(name, self.tracking, info)
        known["run_id"] = self._sinks[name].run_id
        write_json(self._file, self._known)

    def _send(self, name: str, numbered: list[tuple[int, Any]]) -> None:
        known = self._known[target(name, self.tracking)]
        due = [(number, record) for number, record in numbered if number >= known["sent"]]
        for start in range(0, len(due), RECORDS_AT_ONCE):
            some = [(number, self._complete(record)) for number, record in due[start : start + RECORDS_AT_ONCE]]
            self._sinks[name].send(some)
            # Recorded after sending: after a crash in between, the same records are sent again.
            known["sent"] = some[-1][0] + 1
            write_json(self._file, self._known)

    def _complete(self, record: Record) -> Record:
        """The record with its table of completions, if one is due."""
        every = self.tracking.completions_every
        if record.rollouts is None or every == 0 or record.step % every:
            return record
        return replace(record, completions=completion_rows(record.rollouts))

    def _close(self, name: str) -> None:
        sink = self._sinks[name]
        try:
            if self.finished and self.tracking.report and self.paths.report.exists():
                sink.send_report(self.paths.report)
        finally:
            sink.close(self.finished)

    def _guarded(self, action: Callable[..., None], name: str, *arguments: Any) -> None:
        """Run `action`; an error closes this sink only."""
        try:
            action(name, *arguments)
        except Exception as error:
            self._sinks.pop(name, None)
            log.exception("%s", name)
            reason = " ".join(str(error).split())[:200]
            # The driver, which reads this output, may have been killed.
            with suppress(BrokenPipeError):
                print(
                    f"tracking: {name} is switched off ({type(error).__name__}: {reason}). The run continues, and "
                    "the same command started again sends the missing records. See logs/tracking.log",
                    flush=True,
                )


def main() -> None:
    root, tracking = Path(sys.argv[1]), TrackingConfig(**json.loads(os.environ[SETTINGS]))
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    # Low priority: large libraries are imported here while the run starts its engines.
    os.nice(10)
    # Standard output is shown to the user. The output of libraries goes to the log.
    screen = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = screen
    with locked(RunPaths(root).tracking_lock, wait=True):
        follower = Follower(root, tracking)
        ended = False
        while not ended:
            ended = bool(select.select([sys.stdin], [], [], POLL_S)[0])
            follower.catch_up()
        follower.close()


if __name__ == "__main__":
    main()
