"""The step commit: a folder that appears whole, with a manifest that names everything that belongs to the step.

    step_000012.partial/  --state files, then manifest.json, flushed--> rename --> step_000012/

A crash leaves at most a .partial folder. Only .partial folders are deleted without being read. A folder that was read
and is damaged is renamed to step_000012.damaged. An error of reading (EIO, EACCES, ESTALE) proves nothing about the
folder, so the error is raised and nothing is changed.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vt_ray.config import digest
from vt_ray.run.paths import step_name

MANIFEST = "manifest.json"
# Files are summed side by side: a checkpoint of a large model is many gigabytes.
READERS = 8
PART_BYTES = 4 << 20
# A write that failed with less free space than this failed for want of space.
FULL_BYTES = 1 << 20


class CheckpointError(RuntimeError):
    """A checkpoint that is needed is missing, damaged or of another version of the code. The message has the remedy."""


class _Damage(Exception):
    """A file of a checkpoint was read, and its content is not the content that was committed."""


def commit(folder: Path, manifest: dict[str, Any], write_state: Callable[[Path], None], keep: int) -> None:
    """Write `folder` (".../step_000012") atomically: state first, the manifest last; keep the newest `keep`."""
    partial = folder.with_suffix(".partial")
    _write_partial(partial, write_state)
    files = _contents(partial)
    if not files:
        raise RuntimeError(f"nothing was written into {partial}: is the run folder on storage that every node sees?")
    full = {**manifest, "files": files}
    write_json(partial / MANIFEST, {**full, "digest": digest(full)})
    _replace(partial, folder)
    _prune(folder.parent, keep)


def _prune(folder: Path, keep: int) -> None:
    """Delete the oldest commits. The new commit is there already: an error here costs disk space, not the run."""
    try:
        for old in committed(folder)[:-keep]:
            _remove(old)
    except (OSError, CheckpointError) as error:
        _tell(f"[yellow]older checkpoints are kept for now: {error}[/]")


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Whole or not at all: `write` fills a .partial folder, which then takes the place of `folder`."""
    partial = folder.with_suffix(".partial")
    _write_partial(partial, write)
    _replace(partial, folder)


def _tell(line: str) -> None:
    # Composing a configuration must work without rich, and main imports this module for its error.
    from vt_ray.progress import console

    console.print(line, soft_wrap=True)


def _write_partial(partial: Path, write: Callable[[Path], None]) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with _full_disk_named(partial):
        write(partial)


@contextmanager
def _full_disk_named(folder: Path) -> Iterator[None]:
    """Writers of tensors hide the system's "no space left" behind errors of their own, such as "unexpected pos"."""
    try:
        yield
    except Exception as error:
        if shutil.disk_usage(folder.parent).free < FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def _replace(partial: Path, folder: Path) -> None:
    if exists(folder):
        _remove(folder)
    os.replace(partial, folder)


def _remove(folder: Path) -> None:
    """Delete a folder that is no longer needed. Renamed first, so that a crash in between leaves a .partial folder and
    never a step folder with some of its files."""
    doomed = folder.with_name(f"{folder.name}.old.partial")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(folder, doomed)
    shutil.rmtree(doomed)


def step_entries(folder: Path) -> list[Path]:
    """Everything named step_* under `folder`, by name; empty where there is no such folder. Raises OSError where it
    cannot be read: Path.glob would find nothing there."""
    with _reading(folder):
        try:
            return sorted(folder / name for name in os.listdir(folder) if name.startswith("step_"))
        except FileNotFoundError:
            return []


def step_folders(folder: Path) -> list[Path]:
    """The step folders under `folder`, oldest first, without half-written ones (.partial) and ones that were set aside
    (.damaged). Raises OSError where `folder` cannot be read."""
    return [entry for entry in step_entries(folder) if entry.suffix == ""]


def committed(folder: Path) -> list[Path]:
    """The step folders under `folder` that have all their files at their sizes, oldest first.

    Contents are not read. Raises OSError where a manifest cannot be read, CheckpointError where another version of the
    code wrote it.
    """
    return [step for step in step_folders(folder) if _has_its_files(step)]


def newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest step folder that is whole to the last byte, and its manifest; None where no step folder is left.

    Deletes .partial folders. A newer step folder that is damaged is renamed to step_000012.damaged and named on the
    screen. Raises OSError where a file cannot be read, and CheckpointError where another version of the code wrote the
    manifest; neither deletes or renames the folder concerned.
    """
    for partial in step_entries(folder):
        if partial.suffix == ".partial":
            shutil.rmtree(partial)
    for step in reversed(step_folders(folder)):
        try:
            return step, _verified(step)
        except _Damage as damage:
            aside = set_aside(step)
            _tell(f"[yellow]{step} is damaged ({damage}): renamed to {aside.name}[/]")
    return None


def of_step(folder: Path, step: int) -> Path:
    """The commit of exactly this step, whole to the last byte. Raises CheckpointError where it is missing or damaged:
    an older one holds other weights."""
    wanted = folder / step_name(step)
    try:
        _verified(wanted)
    except _Damage as damage:
        raise CheckpointError(
            f"{wanted} is needed, but {damage}; an older checkpoint holds other weights: put a copy of it back, or "
            "give another run_name=..."
        ) from damage
    return wanted


def set_aside(folder: Path) -> Path:
    """Rename a folder to the first free name of x.damaged, x.2.damaged, ... and return that path."""
    names = itertools.chain([f"{folder.name}.damaged"], (f"{folder.name}.{n}.damaged" for n in itertools.count(2)))
    aside = next(path for path in map(folder.with_name, names) if not exists(path))
    os.replace(folder, aside)
    return aside


def were_set_aside(folder: Path) -> list[Path]:
    """The damaged step folders under `folder` that were renamed aside."""
    return [entry for entry in step_entries(folder) if entry.suffix == ".damaged"]


def _verified(step: Path) -> dict[str, Any]:
    """The manifest, once every byte of the step folder was read and is right. Raises _Damage where one is not."""
    manifest = _read_manifest(step)
    found, due = _contents(step), manifest["files"]
    wrong = sorted(name for name in found.keys() | due.keys() if found.get(name) != due.get(name))
    if wrong:
        raise _Damage(f"{wrong[0]} is not the file that was committed")
    return manifest


def _has_its_files(step: Path) -> bool:
    try:
        files = _read_manifest(step)["files"]
        with _reading(step):
            return all((step / name).stat().st_size == size for name, (size, _) in files.items())
    except (_Damage, FileNotFoundError):
        return False


def _read_manifest(step: Path) -> dict[str, Any]:
    path = step / MANIFEST
    try:
        with _reading(path):
            manifest = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise _Damage(f"{MANIFEST} is missing") from error
    except ValueError as error:
        raise _Damage(f"{MANIFEST} is torn") from error
    if not isinstance(manifest, dict):
        raise _Damage(f"{MANIFEST} is no JSON object")
    if missing := {"files", "digest"} - manifest.keys():
        raise CheckpointError(
            f"{path} has no {' and no '.join(sorted(missing))}: another version of vt_ray wrote it. Continue with that "
            "version, or move the folder away to go on from the checkpoint before it"
        )
    if digest({key: value for key, value in manifest.items() if key != "digest"}) != manifest["digest"]:
        raise _Damage(f"{MANIFEST} does not agree with its own digest")
    return manifest


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Gives an error of reading its path and remedy. A missing file is no error of reading: its folder was read."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror or error}: cannot be read, nothing was deleted or changed; check the storage and the "
            "permissions, then repeat the same command",
            str(error.filename or path),
        ) from error


def exists(path: Path) -> bool:
    """Whether `path` is there. Raises OSError where that cannot be told; Path.exists may answer False for it."""
    with _reading(path):
        try:
            path.stat()
        except FileNotFoundError:
            return False
    return True


def read_json(path: Path) -> Any:
    """The JSON value of a file that `write_json` wrote. Raises OSError where it cannot be read, and CheckpointError
    where it is torn."""
    with _reading(path):
        content = path.read_text()
    try:
        return json.loads(content)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}): put a copy of it back, or move its folder away") from error


def _contents(step: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of each file but the manifest, by its path in the folder."""
    with _reading(step):
        files = sorted(path for path in _files(step) if path != step / MANIFEST)
        with ThreadPoolExecutor(READERS) as readers:
            sums = list(readers.map(_size_and_crc32, files))
    return {str(file.relative_to(step)): found for file, found in zip(files, sums, strict=True)}


def _files(folder: Path) -> Iterator[Path]:
    """Every file below `folder`. Path.rglob would leave out a folder that cannot be read."""

    def refuse(error: OSError) -> None:
        raise error

    for root, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(root) / name for name in names)


def _size_and_crc32(file: Path) -> list[int]:
    size = crc = 0
    with file.open("rb") as content:
        while part := content.read(PART_BYTES):
            size, crc = size + len(part), zlib.crc32(part, crc)
    return [size, crc]


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all: written aside, flushed to disk, then renamed."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("w") as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
