"""Deletes SFT checkpoints that are no specialist (spectrum.sft.keep=specialists).

    finished probings of a trajectory --> checkpoints to keep --> the others, and the optimizer state, are deleted

Runs share the folder of the trajectory in runs/phases/, and each run has hard links of its own to the files. A deleted
link takes nothing from another run. In the shared folder, the checkpoints that any finished probing of the trajectory
has chosen are kept, so that a later run with equal settings finds them.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vt_ray.config import ConfigError
from vt_ray.progress import console
from vt_ray.run.checkpoint import exists, read_json, remove_folder, step_folders, write_folder, write_json
from vt_ray.run.paths import DONE, INPUTS, ProbePaths, SftPaths
from vt_ray.run.run_folder import link_all, locked, phase_folders

GB = 1e9


def keep_specialists(phases: Path, trajectory: Path, table: Mapping[str, Any]) -> None:
    """Deletes checkpoints of a finished SFT: all but the last one and the choices in `table` (probe.json).

    `trajectory` is the run's folder of the SFT and `phases` the folder of all shared phases. Works again after a crash.
    """
    mine = SftPaths(trajectory)
    names = [checkpoint.name for checkpoint in step_folders(mine.checkpoints)]
    kept = {names[-1], *chosen(table)} & {*names}
    deleted: list[os.stat_result] = []
    if shared := _shared(phases, trajectory):
        with locked(shared.with_suffix(".lock"), wait=True):
            deleted += _prune_shared(phases, SftPaths(shared), mine, kept)
    deleted += _prune(mine, kept)
    if deleted:
        console.print(
            f"spectrum.sft.keep=specialists: {len(kept)} of {len(names)} checkpoints of {trajectory.name} stay, "
            f"{_freed(deleted) / GB:,.2f} GB freed",
            highlight=False,
        )


def chosen(table: Mapping[str, Any]) -> set[str]:
    """The checkpoints that probing chose: the specialists, and the best ones overall."""
    best = {value for key, value in table.items() if key.startswith("best_") and isinstance(value, str)}
    return {*table["specialists"].values(), *best}


def refuse_deleted(trajectory: Path) -> None:
    """Raises ConfigError if checkpoints of the SFT were deleted, because another probing needs all of them."""
    if exists(kept := SftPaths(trajectory).kept):
        record = read_json(kept)
        raise ConfigError(
            f"{trajectory} has {len(record['kept'])} of its {record['of']} checkpoints: a run with spectrum.sft.keep="
            "specialists deleted the others, which other settings of spectrum.probe need. Delete the folder of this "
            f"SFT in runs/phases/ and {trajectory} to train it again, or restore the settings of that run"
        )


def _shared(phases: Path, trajectory: Path) -> Path | None:
    """The shared folder of the same SFT, None if it was deleted."""
    mine = read_json(trajectory / DONE)["id"]
    found = (f for f in phase_folders(phases, trajectory.name) if exists(f / DONE))
    return next((folder for folder in found if read_json(folder / DONE)["id"] == mine), None)


def _prune_shared(phases: Path, shared: SftPaths, mine: SftPaths, kept: Collection[str]) -> list[os.stat_result]:
    """Deletes checkpoints from the shared folder, unless an unfinished probing may need them. Returns the deleted
    links."""
    trajectory, probe = read_json(shared.folder / DONE)["id"], f"probe{mine.folder.name.removeprefix('sft')}"
    probings = [f for f in phase_folders(phases, probe) if read_json(f / INPUTS)["after"] == trajectory]
    if not all(exists(folder / DONE) for folder in probings):
        return []
    for name in kept:
        # Another run has deleted it from the shared folder before this run chose it.
        if not exists(shared.checkpoints / name):
            write_folder(shared.checkpoints / name, partial(link_all, mine.checkpoints / name))
    return _prune(shared, {*kept, *(n for folder in probings for n in chosen(read_json(ProbePaths(folder).table)))})


def _prune(sft: SftPaths, kept: Collection[str]) -> list[os.stat_result]:
    """Deletes the other checkpoints and the optimizer state. Returns the deleted files, as they were before."""
    checkpoints = step_folders(sft.checkpoints)
    others = [checkpoint for checkpoint in checkpoints if checkpoint.name not in kept]
    deleted = [f.stat() for folder in (*others, sft.states) for f in folder.rglob("*") if f.is_file()]
    if others:
        of = read_json(sft.kept)["of"] if exists(sft.kept) else len(checkpoints)
        write_json(sft.kept, {"kept": [c.name for c in checkpoints if c.name in kept], "of": of})
    for checkpoint in others:
        remove_folder(checkpoint)
    shutil.rmtree(sft.states, ignore_errors=True)
    return deleted


def _freed(deleted: Sequence[os.stat_result]) -> int:
    """The bytes of the files of which all links are deleted."""
    # A file is listed once for each deleted link; the first one has the number of links before.
    links = Counter(file.st_ino for file in deleted)
    first = {file.st_ino: file for file in reversed(deleted)}
    return sum(file.st_size for file in first.values() if links[file.st_ino] >= file.st_nlink)
