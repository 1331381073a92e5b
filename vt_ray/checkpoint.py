"""The step commit: a folder that appears whole, with a manifest that names all that belongs to the step.

    step_000012.partial/  --state files, then manifest.json, flushed--> rename --> step_000012/

A crash leaves at most a .partial folder, which counts for nothing and is removed at the next start.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vt_ray.config import digest

MANIFEST = "manifest.json"


def commit(folder: Path, manifest: dict[str, Any], write_state: Callable[[Path], None], keep: int) -> None:
    """Write `folder` (".../step_000012") atomically: state first, the manifest last; keep the newest `keep`."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_state(partial)
    files = {str(p.relative_to(partial)): p.stat().st_size for p in partial.rglob("*") if p.is_file()}
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
    write(partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def committed(folder: Path) -> list[Path]:
    """The whole step folders under `folder`, oldest first. A damaged one is passed over."""
    return [step for step in sorted(folder.glob("step_*")) if step.suffix != ".partial" and _is_whole(step)]


def newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole step folder and its manifest; clears away half-written, half-deleted and damaged ones."""
    whole = committed(folder)
    for broken in set(folder.glob("step_*")) - set(whole):
        shutil.rmtree(broken)
    return (whole[-1], json.loads((whole[-1] / MANIFEST).read_text())) if whole else None


def _is_whole(step: Path) -> bool:
    try:
        manifest = json.loads((step / MANIFEST).read_text())
        sizes = {name: (step / name).stat().st_size for name in manifest["files"]}
        return digest(sizes) == manifest["files_digest"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all: written aside, flushed to disk, then renamed."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("w") as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
