"""The step commit: one atomically renamed folder, with a manifest that lists all files of the step.

    step_000012.partial/  --state files, then manifest.json, flushed--> rename --> step_000012/

A crash leaves at most a .partial folder. Only .partial folders are deleted without reading them. A folder whose files
differ from its manifest is renamed to step_000012.damaged. A read error (EIO, EACCES, ESTALE) says nothing about the
content of the folder: the error is raised and no file is changed.
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
# Threads that compute checksums: the checkpoint of a large model has many gigabytes.
READERS = 8
PART_BYTES = 4 << 20
# A write error is reported as "no space left" if less than this is free.
FULL_BYTES = 1 << 20


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or written by another version of vt_ray. The message has the remedy."""


class _Damage(Exception):
    """A file of a checkpoint differs from the committed file."""


def commit(folder: Path, manifest: dict[str, Any], write_state: Callable[[Path], None], keep: int) -> None:
    """Write the step folder `folder` (".../step_000012") atomically and delete all but the newest `keep` commits.

    `write_state(partial_folder)` writes the files; the manifest with their sizes and checksums follows last. Raises
    RuntimeError if no file was written, OSError if the disk is full.
    """
    partial = folder.with_suffix(".partial")
    _write_partial(partial, write_state)
    files = _contents(partial)
    if not files:
        raise RuntimeError(f"no file was written into {partial}: put runs_dir on storage that all nodes share")
    full = {**manifest, "files": files}
    write_json(partial / MANIFEST, {**full, "digest": digest(full)})
    _replace(partial, folder)
    _prune(folder.parent, keep)


def _prune(folder: Path, keep: int) -> None:
    """Delete the oldest commits. The new commit is complete, so an error here is printed and does not end the run."""
    try:
        for old in committed(folder)[:-keep]:
            remove_folder(old)
    except (OSError, CheckpointError) as error:
        _print(f"[yellow]older checkpoints are kept for now: {error}[/]")


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write `folder` atomically: `write` fills a .partial folder, which then replaces `folder`."""
    partial = folder.with_suffix(".partial")
    _write_partial(partial, write)
    _replace(partial, folder)


def _print(line: str) -> None:
    # Imported here: main imports this module for its error class, and --cfg must work without rich.
    from vt_ray.progress import console

    console.print(line, soft_wrap=True)


def _write_partial(partial: Path, write: Callable[[Path], None]) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with _report_full_disk(partial):
        write(partial)


@contextmanager
def _report_full_disk(folder: Path) -> Iterator[None]:
    """Raises "no space left" for any write error on a full disk: torch reports errors such as "unexpected pos"."""
    try:
        yield
    except Exception as error:
        if shutil.disk_usage(folder.parent).free < FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def _replace(partial: Path, folder: Path) -> None:
    if exists(folder):
        remove_folder(folder)
    os.replace(partial, folder)


def remove_folder(folder: Path) -> None:
    """Delete a folder. It is renamed first, so that a crash leaves a .partial folder and no incomplete step folder."""
    deleted = folder.with_name(f"{folder.name}.old.partial")
    shutil.rmtree(deleted, ignore_errors=True)
    os.replace(folder, deleted)
    shutil.rmtree(deleted)


def step_entries(folder: Path) -> list[Path]:
    """All entries named step_* in `folder`, sorted; empty if the folder does not exist.

    Raises OSError if the folder cannot be read. (Path.glob returns an empty list in that case.)
    """
    with _reading(folder):
        try:
            return sorted(folder / name for name in os.listdir(folder) if name.startswith("step_"))
        except FileNotFoundError:
            return []


def step_folders(folder: Path) -> list[Path]:
    """The step folders in `folder`, oldest first, without .partial and .damaged folders. Raises OSError if `folder`
    cannot be read."""
    return [entry for entry in step_entries(folder) if entry.suffix == ""]


def committed(folder: Path) -> list[Path]:
    """The step folders in `folder` whose files all exist with the committed sizes, oldest first.

    File contents are not read. Raises OSError if a manifest cannot be read, and CheckpointError if another version of
    vt_ray wrote it.
    """
    return [step for step in step_folders(folder) if _has_its_files(step)]


def newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest step folder whose checksums are all right, and its manifest; None if there is no such folder.

    Deletes .partial folders. Renames damaged step folders to step_000012.damaged and prints their names. Raises OSError
    if a file cannot be read, and CheckpointError if another version of vt_ray wrote the manifest; in both cases the
    step folder is not changed.
    """
    for partial in step_entries(folder):
        if partial.suffix == ".partial":
            shutil.rmtree(partial)
    for step in reversed(step_folders(folder)):
        try:
            return step, _verified(step)
        except _Damage as damage:
            aside = rename_damaged(step)
            _print(f"[yellow]{step} is damaged ({damage}): renamed to {aside.name}[/]")
    return None


def commit_of_step(folder: Path, step: int) -> Path:
    """The commit of this step, with all checksums verified. Raises CheckpointError if it is missing or damaged; an
    older commit does not replace it, because it holds other weights."""
    wanted = folder / step_name(step)
    try:
        _verified(wanted)
    except _Damage as damage:
        raise CheckpointError(
            f"{wanted} is needed, but {damage}; an older checkpoint holds other weights: put a copy of it back, or "
            "set another run_name=..."
        ) from damage
    return wanted


def rename_damaged(folder: Path) -> Path:
    """Rename `folder` to the first free name among x.damaged, x.2.damaged, ...; returns the new path."""
    names = itertools.chain([f"{folder.name}.damaged"], (f"{folder.name}.{n}.damaged" for n in itertools.count(2)))
    aside = next(path for path in map(folder.with_name, names) if not exists(path))
    os.replace(folder, aside)
    return aside


def damaged_folders(folder: Path) -> list[Path]:
    """The step folders in `folder` that were found damaged and renamed."""
    return [entry for entry in step_entries(folder) if entry.suffix == ".damaged"]


def _verified(step: Path) -> dict[str, Any]:
    """The manifest, after the checksums of all files were verified. Raises _Damage if a file differs."""
    manifest = _read_manifest(step)
    found, due = _contents(step), manifest["files"]
    wrong = sorted(name for name in found.keys() | due.keys() if found.get(name) != due.get(name))
    if wrong:
        raise _Damage(f"{wrong[0]} differs from the committed file")
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
        raise _Damage(f"{MANIFEST} is incomplete") from error
    if not isinstance(manifest, dict):
        raise _Damage(f"{MANIFEST} is not a JSON object")
    if missing := {"files", "digest"} - manifest.keys():
        raise CheckpointError(
            f"{path} has no {' and no '.join(sorted(missing))}: another version of vt_ray wrote it. Continue with that "
            "version, or move the folder away to continue from the previous checkpoint"
        )
    if digest({key: value for key, value in manifest.items() if key != "digest"}) != manifest["digest"]:
        raise _Damage(f"{MANIFEST} differs from its own digest")
    return manifest


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Adds path and remedy to a read error. FileNotFoundError passes unchanged: the folder itself was readable."""
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
    """Whether `path` exists. Raises OSError if the storage does not answer; Path.exists may return False then."""
    with _reading(path):
        try:
            path.stat()
        except FileNotFoundError:
            return False
    return True


def read_json(path: Path) -> Any:
    """The value in a JSON file that `write_json` wrote. Raises OSError if the file cannot be read, and CheckpointError
    if it is not valid JSON."""
    with _reading(path):
        content = path.read_text()
    try:
        return json.loads(content)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}): put a copy of it back, or move its folder away") from error


def _contents(step: Path) -> dict[str, list[int]]:
    """{path in the folder: [size in bytes, CRC-32]} of all files except the manifest."""
    with _reading(step):
        files = sorted(path for path in _files(step) if path != step / MANIFEST)
        with ThreadPoolExecutor(READERS) as readers:
            sums = list(readers.map(_size_and_crc32, files))
    return {str(file.relative_to(step)): found for file, found in zip(files, sums, strict=True)}


def _files(folder: Path) -> Iterator[Path]:
    """All files below `folder`. Raises OSError for an unreadable folder, which Path.rglob would skip."""

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


def flush_folder(folder: Path) -> None:
    """Wait until the files below `folder` are on disk: a file that says "done" must not survive a power cut that its
    results do not survive."""
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON atomically: into a .partial file, flushed to disk, then renamed."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("w") as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
