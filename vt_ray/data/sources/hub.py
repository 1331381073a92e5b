"""Data sets of the Hugging Face Hub, read with the library `datasets`: hf://owner/name?split=train&subset=main."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from vt_ray.data.sources.errors import ProblemFileError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

PREFIX = "hf://"
_FORM = f"{PREFIX}owner/name, {PREFIX}owner/name?split=train&subset=main&revision=COMMIT"
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ROWS = 256


@dataclass(frozen=True)
class HubSource:
    """A data set of the hub. Empty fields: the only split, the default subset, the newest revision."""

    text: str
    repository: str
    split: str = ""
    subset: str = ""
    revision: str = ""

    @classmethod
    def of(cls, text: str) -> HubSource:
        """Returns the source that `text` names. Raises ProblemFileError if `text` has another form."""
        name, _, query = text.partition("?")
        repository = name.removeprefix(PREFIX).removeprefix("datasets/")
        options = dict(parse_qsl(query, keep_blank_values=True))
        unknown = sorted(options.keys() - {"split", "subset", "revision"})
        if not name.startswith(PREFIX) or not _REPOSITORY.fullmatch(repository) or unknown:
            fault = f"unknown option {unknown[0]!r}" if unknown else "not a name of the hub"
            raise ProblemFileError(f"{text}: {fault}: expected {_FORM}")
        return cls(text, repository, **options)

    @property
    def name(self) -> str:
        return self.repository.rpartition("/")[2]

    def __str__(self) -> str:
        return self.text


@cache
def commit(source: HubSource) -> str:
    """Returns the commit of the revision of a data set, 40 hexadecimal digits. Only a full commit needs no network.

    Raises ProblemFileError if the hub does not answer or does not have the data set.
    """
    if _COMMIT.fullmatch(source.revision):
        return source.revision
    from huggingface_hub import HfApi

    try:
        found = HfApi().dataset_info(source.repository, revision=source.revision or None).sha
    except Exception as error:
        raise _unreachable(source, error) from error
    return str(found)


def hub_batches(source: HubSource) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a data set. `datasets` stores it in its cache on disk and maps it into memory.

    Raises ProblemFileError if `datasets` is not installed, if the data set cannot be loaded, or if the source names
    no split and there are several.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ProblemFileError(f"{source}: hub names need the package datasets: pip install 'vt-ray[hub]'") from error
    _refuse_folder(source)
    revision, subset = commit(source), source.subset or None
    try:
        split = source.split or _only_split(
            source, datasets.get_dataset_split_names(source.repository, subset, revision=revision)
        )
        rows = datasets.load_dataset(source.repository, subset, split=split, revision=revision)
    except ProblemFileError:
        raise
    except Exception as error:
        raise _unreachable(source, error) from error
    for table in rows.with_format("arrow").iter(_ROWS):
        yield from table.to_batches()


def _refuse_folder(source: HubSource) -> None:
    """`datasets` would read a local folder of the same name, and the run would record a commit of the hub."""
    if Path(source.repository).exists():
        raise ProblemFileError(
            f"{source}: the folder {source.repository} here hides the data set of the hub: rename it, or give its path"
        )


def _only_split(source: HubSource, splits: list[Any]) -> str:
    if len(splits) != 1:
        raise ProblemFileError(f"{source}: the data set has the splits {', '.join(map(str, splits))}: add ?split=NAME")
    return str(splits[0])


def _unreachable(source: HubSource, error: Exception) -> ProblemFileError:
    return ProblemFileError(
        f"{source}: the data set cannot be loaded ({type(error).__name__}: {first_line(error)}): check the name, the "
        "subset, the network, and the token of a gated data set (HF_TOKEN)"
    )
