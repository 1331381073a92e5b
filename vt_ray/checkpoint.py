"""The step commit: a folder that appears whole, with a manifest that names all that belongs to the step.

    step_000012.partial/  --state files, then manifest.json, flushed--> rename --> step_000012/

A crash leaves at most a .partial folder, which counts for nothing and is removed at the next start.
"""

from __future__ import annotations

import errno
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

MANIFEST = "manifest.json"
# Files are summed side by side: a checkpoint of a large model is many gigabytes.
READERS = 8
PART_BYTES = 4 << 20
# With less than that left, a write that failed has failed for it.
FULL_BYTES = 1 << 20


def commit(folder: Path, manifest: dict[str, Any], write_state: Callable[[Path], None], keep: int) -> None:
    """Write `folder` (".../step_000012") atomically: state first, the manifest last; keep the newest `keep`."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with _full_disk_named(partial):
        write_state(partial)
    files = _contents(partial)
    if not files:
        raise RuntimeError(f"nothing was written into {partial}: is the run folder on storage that every node sees?")
    write_json(partial / MANIFEST, {**manifest, "files": files, "files_digest": digest(files)})
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    for old in committed(folder.parent)[:-keep]:
        shutil.rmtree(old)


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Whole or not at all: `write` fills a .partial folder, which then takes the place of `folder`."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with _full_disk_named(partial):
        write(partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


@contextmanager
def _full_disk_named(folder: Path) -> Iterator[None]:
    """Writers of tensors hide the system's "no space left" behind errors of their own, such as "unexpected pos"."""
    try:
        yield
    except Exception as error:
        if shutil.disk_usage(folder.parent).free < FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def committed(folder: Path) -> list[Path]:
    """The step folders under `folder` that have all their files at their sizes, oldest first."""
    return [step for step in sorted(folder.glob("step_*")) if step.suffix != ".partial" and _is_whole(step)]


def newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest step folder that is whole to the last byte, and its manifest.

    Clears away half-written, half-deleted and damaged ones: the one before them is taken.
    """
    whole = committed(folder)
    while whole and _contents(whole[-1]) != json.loads((whole[-1] / MANIFEST).read_text())["files"]:
        whole.pop()
    for broken in set(folder.glob("step_*")) - set(whole):
        shutil.rmtree(broken)
    return (whole[-1], json.loads((whole[-1] / MANIFEST).read_text())) if whole else None


def _is_whole(step: Path) -> bool:
    try:
        manifest = json.loads((step / MANIFEST).read_text())
        sizes = all((step / name).stat().st_size == size for name, (size, _) in manifest["files"].items())
        return sizes and digest(manifest["files"]) == manifest["files_digest"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _contents(step: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of each file but the manifest, by its path in the folder."""
    files = sorted(p for p in step.rglob("*") if p.is_file() and p != step / MANIFEST)
    with ThreadPoolExecutor(READERS) as readers:
        sums = list(readers.map(_crc32, files))
    return {str(file.relative_to(step)): [file.stat().st_size, crc] for file, crc in zip(files, sums, strict=True)}


def _crc32(file: Path) -> int:
    crc = 0
    with file.open("rb") as content:
        while part := content.read(PART_BYTES):
            crc = zlib.crc32(part, crc)
    return crc


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all: written aside, flushed to disk, then renamed."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("w") as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
