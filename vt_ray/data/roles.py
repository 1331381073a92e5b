"""The sources of a run and what each is for: the short forms and `data.sources` as one list.

train_files, probe_files, test_files, trace_files, sources  --all_sources-->  DataSource with `use` filled
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vt_ray.config import DataConfig, DataSource
from vt_ray.data.traces.files import has_traces

# The short forms, the uses of each without `use`, and the uses that its `use` may name.
SHORT_FORMS = {
    "train_files": ["sft", "rl"],
    "probe_files": ["probe"],
    "test_files": ["test"],
    "trace_files": ["sft"],
}


def listed_sources(data: DataConfig) -> Iterator[tuple[str, DataSource]]:
    """Yields (name of its list, source) of all sources, in the order train, probe, test, traces, `data.sources`."""
    for name in (*SHORT_FORMS, "sources"):
        yield from ((name, source) for source in getattr(data, name))


def all_sources(data: DataConfig) -> list[DataSource]:
    """Returns all sources in this order, each with its `use`."""
    return [
        source if source.use or name == "sources" else replace(source, use=[*SHORT_FORMS[name]])
        for name, source in listed_sources(data)
    ]


def sources_for(data: DataConfig, *uses: str) -> list[DataSource]:
    """Returns the sources for at least one of these uses: "sft", "rl", "probe", "test"."""
    return [source for source in all_sources(data) if {*uses} & {*source.use}]


@dataclass(frozen=True)
class Role:
    """A source with its `use`. `traces` says whether SFT learns from the traces of its rows, not from worked
    solutions."""

    source: DataSource
    traces: bool

    @property
    def problem_uses(self) -> set[str]:
        """The uses for which its rows are read as problems."""
        return {*self.source.use} - ({"sft"} if self.traces else set())


def roles(data: DataConfig) -> list[Role]:
    """Returns all sources, in the order of `all_sources`, with what SFT learns from.

    A source of data.train_files without `use` has worked solutions. Of other sources for SFT, the layout decides, else
    the fields of the first row. Raises ProblemFileError if the first row cannot be found.
    """
    found = []
    for (name, given), source in zip(listed_sources(data), all_sources(data), strict=True):
        decided = name == "trace_files" or (name == "train_files" and not given.use) or "sft" not in source.use
        found.append(Role(source, name == "trace_files" if decided else has_traces(source)))
    return found
