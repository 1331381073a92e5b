"""Follows a run's files and hands committed records to the sinks, in a process of its own.

metrics.jsonl, evaluation/ --up to the newest manifest--> numbered records --> TensorBoard, W&B, MLflow
tracking.json: how many records each sink has, and under which id it knows the run

The phases know nothing of the follower, and the run never waits for a tracking server. A step is sent once it is
committed, so that a step that is replayed after a crash was never sent. Records that a sink has missed (switched off
after a failure, or on for the first time) are sent from the files when the same command is started again.
"""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from threading import Thread
from typing import Any, cast

from vt_ray.config import TrackingConfig
from vt_ray.evaluation.milestones import milestone_summaries
from vt_ray.progress import console
from vt_ray.run.checkpoint import MANIFEST, CheckpointError, committed, write_json
from vt_ray.run.metrics_log import Tail
from vt_ray.run.milestone_names import BEFORE_RL, planned, rl_stages
from vt_ray.run.paths import DONE, RunPaths, SftPaths
from vt_ray.run.run_folder import locked, working_folder
from vt_ray.tracking.sinks import About, Record, Sink, flat, open_sink, target

POLL_S = 2.0
CLOSING_S = 40.0
# After Ctrl-C or SIGTERM. Lines that are not sent by then are sent when the same command is started again.
INTERRUPTED_S = 5.0
# Numbers of a line that measure nothing: its place, and the sum that an audit compares.
NO_FIGURES = ("step", "consumed_digest")

log = logging.getLogger(__name__)


@contextmanager
def following(tracking: TrackingConfig, root: Path) -> Iterator[None]:
    """Feed the sinks while the block runs. They get at most CLOSING_S seconds to end after it, INTERRUPTED_S after an
    interrupt."""
    if not tracking.sinks:
        yield
        return
    logs = RunPaths(root).logs
    logs.mkdir(exist_ok=True)
    with (logs / "tracking.log").open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "vt_ray.tracking.follower", str(root), json.dumps(asdict(tracking))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            # Ctrl-C is the run's; the follower ends when its standard input does, however the run ends.
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)},
        )
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


def _show(messages: Iterable[str]) -> None:
    for message in messages:
        console.print(message.rstrip(), style="yellow", markup=False, soft_wrap=True)


class Follower:
    """`catch_up` sends each open sink what it lacks of the committed records. A sink that fails is out for good."""

    def __init__(self, root: Path, tracking: TrackingConfig):
        from omegaconf import OmegaConf

        self.paths, self.tracking = RunPaths(root), tracking
        self.config = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(self.paths.config)))
        # No hyper-parameter, and an address may hold a password.
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
        tags = {"seed": str(identity["seed"]), "lambda": str(identity["lambda"])}
        about = About(self.paths.root, identity["run_name"], tags, self.config, known["run_id"])
        self._sinks[name] = open_sink(name, self.tracking, about)
        known["run_id"] = self._sinks[name].run_id
        write_json(self._file, self._known)

    def _send(self, name: str, numbered: list[tuple[int, Any]]) -> None:
        known = self._known[target(name, self.tracking)]
        due = [(number, record) for number, record in numbered if number >= known["sent"]]
        if due:
            self._sinks[name].send(due)
            # Noted after it is sent: a crash in between sends the same figures again, never other ones.
            known["sent"] = due[-1][0] + 1
            write_json(self._file, self._known)

    def _close(self, name: str) -> None:
        self._sinks[name].close(self.finished)

    def _guarded(self, action: Callable[..., None], name: str, *arguments: Any) -> None:
        """An error of a sink ends that sink alone."""
        try:
            action(name, *arguments)
        except Exception as error:
            self._sinks.pop(name, None)
            log.exception("%s", name)
            reason = " ".join(str(error).split())[:200]
            # A driver that was killed has no ear any more.
            with suppress(BrokenPipeError):
                print(
                    f"tracking: {name} is switched off ({type(error).__name__}: {reason}); the run goes on, and the "
                    "same command started again sends what is missing. See logs/tracking.log",
                    flush=True,
                )


def committed_records(paths: RunPaths, config: Mapping[str, Any]) -> Iterator[Record | None]:
    """All that the run has committed, in the order it came; None each time there is nothing more yet.

    SFT counts its own steps, RL steps are counted through all stages, milestones from 0 (base).
    """
    stages = [stage["name"] for stage in rl_stages(config)]
    milestones = planned(config)
    yield from _sft(paths)
    for name in BEFORE_RL:
        yield from _milestone(paths, name, milestones, config["evaluation"]["k"])
    tail, step = Tail(paths.metrics), 0
    for number, stage in enumerate(stages, 1):
        evaluated = False
        while not evaluated:
            evaluated = paths.scores(stage).exists()
            for line in tail.read(_committed_bytes(paths.stage(stage).checkpoints))[step:]:
                step += 1
                yield _record("rl", step, {**line, "stage": number, "stage_step": line["step"]})
            if not evaluated:
                yield None
        yield from _milestone(paths, stage, milestones, config["evaluation"]["k"])
    if not stages:
        yield from _milestone(paths, milestones[-1], milestones, config["evaluation"]["k"])


def _sft(paths: RunPaths) -> Iterator[Record | None]:
    """From the shared folder while this run or another works in it, then from the run's own."""
    step, whole, tail = 0, False, Tail(Path())
    while not whole:
        whole = (paths.sft.folder / DONE).exists()
        shared = None if whole else working_folder(paths, "sft")
        sft = SftPaths(shared) if shared else paths.sft
        if tail.path != sft.metrics:
            tail = Tail(sft.metrics)
        for line in tail.read(None if whole else _committed_bytes(sft.states))[step:]:
            step += 1
            yield _record("sft", step, line)
        if not whole:
            yield None


def _milestone(paths: RunPaths, name: str, milestones: list[str], k: int) -> Iterator[Record | None]:
    path = paths.scores(name)
    while not path.exists():
        yield None
    (found,) = milestone_summaries([path], k)
    passes = ("pass_at_1", f"pass_at_{k}")
    by_subdomain = {d: {p: scores[p]["mean"] for p in passes} for d, scores in found["by_subdomain"].items()}
    yield _record("eval", milestones.index(name), {**{p: found[p] for p in passes}, **by_subdomain})


def _record(series: str, step: int, values: Mapping[str, Any]) -> Record:
    """Numbers only, nested ones under `part/name`; of p_c the share of the step's questions at each value."""
    numbers = {k: float(v) for k, v in flat(values, "/").items() if isinstance(v, (int, float)) and k not in NO_FIGURES}
    return Record(series, step, numbers | p_c_shares(values.get("p_c_histogram") or []))


def p_c_shares(counts: Sequence[int]) -> dict[str, float]:
    """`p_c/3_of_8`: of the questions with a p_c, the share with 3 right answers of 8. The names sort in their order."""
    group, questions = len(counts) - 1, sum(counts)
    width = len(str(group))
    return {f"p_c/{right:0{width}}_of_{group}": n / questions for right, n in enumerate(counts) if questions}


def _committed_bytes(folder: Path) -> int:
    """How much of the metrics the newest manifest under `folder` covers."""
    try:
        steps = committed(folder)
        return json.loads((steps[-1] / MANIFEST).read_text())["metrics_offset"] if steps else 0
    except (OSError, CheckpointError):
        # Replaced by a newer one between two looks, or storage that does not answer now: the next look tries again.
        return 0


def main() -> None:
    root, tracking = Path(sys.argv[1]), TrackingConfig(**json.loads(sys.argv[2]))
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    # Three large libraries are loaded just when the run starts its engines: those come first.
    os.nice(10)
    # Standard output is for the user's screen: what libraries print goes to the log with the rest.
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
