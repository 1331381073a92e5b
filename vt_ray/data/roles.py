"""The sources of a run and what each is for: the short forms and `data.sources` as one list.

train_files, probe_files, test_files, trace_files, sources  --all_sources-->  DataSource with `use` filled
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vt_ray.config import DataConfig, DataSource

# The short forms, the uses of each without `use`, and the uses that its `use` may name.
SHORT_FORMS = {
    "train_files": ["sft", "rl"],
    "probe_files": ["probe"],
    "test_files": ["test"],
    "trace_files": ["sft"],
}


def all_sources(data: DataConfig) -> list[DataSource]:
    """Returns all sources in the order train, probe, test, traces, `data.sources`, each with its `use`."""
    return [source for _, source in named_sources(data)]


def named_sources(data: DataConfig) -> Iterator[tuple[str, DataSource]]:
    """Yields (name of its list, source with its `use`)."""
    for name, uses in SHORT_FORMS.items():
        for source in getattr(data, name):
            yield name, source if source.use else replace(source, use=[*uses])
    for source in data.sources:
        yield "sources", source


def sources_for(data: DataConfig, *uses: str) -> list[DataSource]:
    """Returns the sources for at least one of these uses: "sft", "rl", "probe", "test"."""
    return [source for source in all_sources(data) if {*uses} & {*source.use}]
