"""The files, or the data set of the Hugging Face Hub, that the name of a source stands for.

"a.jsonl" | "data/" | "data/train-*.parquet" | "hf://owner/name?split=train"  --parts-->  files or one HubSource
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from vt_ray.data.sources.errors import ProblemFileError
from vt_ray.data.sources.hub import HubSource

FORMATS = (".parquet", ".json", ".jsonl", ".csv")
COMPRESSIONS = (".gz", ".zst")
EXPECTED = f"expected {', '.join(FORMATS)}, each also with {' or '.join(COMPRESSIONS)}"
# Files that the library `datasets` writes beside the data.
_ABOUT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_SHARD = re.compile(r"(.*-)(\d{5})(-of-)(\d{5})(.*)")


def parts(source: str | Path) -> list[Path | HubSource]:
    """Returns the files of a file name, a folder or a glob in the order of their names, or the data set of a hub name.

    A folder stands for all data files in it and below it. A file name is returned also if the file does not exist.
    Raises ProblemFileError for an empty name, if a folder or a glob has no data file, if a folder cannot be read or
    lacks some of the shards that its file names count ("-00000-of-00005"), or if a hub name is malformed.
    """
    name, path = str(source), Path(source)
    if name.startswith("hf:"):
        return [HubSource.of(name)]
    if not name.strip():
        raise ProblemFileError("the name of a source is empty: give a file, a folder, a glob or a hub name")
    if path.is_dir():
        found = _files_below(path)
        _refuse_lost_shards(path, found)
    elif path.exists() or not glob.has_magic(name):
        return [path]
    else:
        found = sorted(file for file in map(Path, glob.glob(name, recursive=True)) if file.is_file())
    if not found:
        raise ProblemFileError(f"{name}: no data file in it: {EXPECTED}")
    return list(found)


def with_files(sources: Iterable[str]) -> set[str]:
    """Returns the names of the sources, and of the files of folders and globs among them."""
    named = set(sources)
    found = {source for source in named if Path(source).is_dir() or glob.has_magic(source)}
    return named | {str(part) for source in found for part in parts(source)}


def split_name(name: str) -> tuple[str, str]:
    """Returns the format and the compression ("" for none) of a file name: "a.csv.gz" gives (".csv", ".gz").
    Capital letters do not count.

    Raises ProblemFileError for an unknown extension.
    """
    extension, compression = _endings(name)
    if extension not in FORMATS:
        raise ProblemFileError(f"{name}: unknown extension {extension!r}: {EXPECTED}")
    return extension, compression


def _endings(name: str) -> tuple[str, str]:
    name = name.lower()
    compression = next((c for c in COMPRESSIONS if name.endswith(c)), "")
    return Path(name.removesuffix(compression)).suffix, compression


def _is_data(relative: Path, file: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in relative.parts)
    known = _endings(file.name)[0] in FORMATS
    return known and not hidden and file.name not in _ABOUT_DATA and file.is_file()


def _files_below(folder: Path) -> list[Path]:
    try:
        return [file for file in sorted(folder.rglob("*")) if _is_data(file.relative_to(folder), file)]
    except OSError as error:
        raise ProblemFileError(f"{folder}: cannot be read ({error}): name its files with a glob") from error


def _refuse_lost_shards(folder: Path, files: list[Path]) -> None:
    for missing in _lost_shards(files):
        raise ProblemFileError(f"{folder}: the shard {missing} is missing: copy it, or name the shards with a glob")


def _lost_shards(files: list[Path]) -> Iterator[Path]:
    there = set(files)
    for file in files:
        if match := _SHARD.fullmatch(file.name):
            for number in range(int(match[4])):
                shard = file.with_name(f"{match[1]}{number:05}{match[3]}{match[4]}{match[5]}")
                if shard not in there:
                    yield shard
