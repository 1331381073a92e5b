"""Checks of the sources of problems and traces."""

from __future__ import annotations

from pathlib import Path

from vt_ray.config import BAD_ROW_RULES, OVERLONG_RULES, USES, Config, DataSource
from vt_ray.data.metadata import where_faults
from vt_ray.data.roles import SHORT_FORMS, all_sources, listed_sources, sources_for
from vt_ray.data.sources.errors import ProblemFileError
from vt_ray.data.sources.names import parts
from vt_ray.data.traces.columns import PARTS
from vt_ray.data.traces.table import TRACE_LAYOUTS
from vt_ray.planning.validate.rules import Problems, at_least, one_of


def sources(c: Config) -> Problems:
    for (name, given), source in zip(listed_sources(c.data), all_sources(c.data), strict=True):
        yield from _path(name, source.path)
        yield from (f"data.{name}: {source.path}: {fault}" for fault in _use(name, given.use))
        yield from _rules(f"data.{name}: {source.path}", source)
        if name == "trace_files":
            yield from _traces(source)
    yield from _weights(c)


def _path(name: str, path: str) -> Problems:
    try:
        files = [part for part in parts(path) if isinstance(part, Path)]
    except ProblemFileError as error:
        yield f"data.{name}: {error}"
        return
    for file in files:
        if not file.is_file():
            yield f"data.{name}: {path!r} is no file: give a file, a folder, a glob or hf://owner/name"


def _use(name: str, use: list[str]) -> Problems:
    allowed = tuple(SHORT_FORMS.get(name, USES))
    if name == "sources" and not use:
        yield f"use is empty: say what the rows are for, one or more of {', '.join(USES)}"
    for one in use:
        yield from one_of("use", one, allowed)
    if len({*use}) > 1 and {*use} & {"probe", "test"}:
        yield (
            f"use={use}: a probing or test problem has no other use, because it would be known from "
            "training or chosen by: split the file, or give it twice with different `where`"
        )


def _rules(at: str, source: DataSource) -> Problems:
    yield from at_least(f"{at}: max_rows", source.max_rows, 0)
    yield from one_of(f"{at}: on_bad_row", source.on_bad_row, BAD_ROW_RULES)
    yield from one_of(f"{at}: on_overlong", source.on_overlong, OVERLONG_RULES)
    if not 0 <= source.max_bad_share <= 1:
        yield f"{at}: max_bad_share={source.max_bad_share:g} must lie in [0, 1]: 0.05 is the default"
    if source.on_overlong == "truncate" and "sft" not in source.use:
        yield f"{at}: on_overlong=truncate cuts traces, and its use={source.use} has none: take error or drop"
    yield from (f"{at}: {fault}" for fault in where_faults(source.where))


def _traces(source: DataSource) -> Problems:
    if source.layout:
        yield from one_of("data.trace_files[].layout", source.layout, tuple(TRACE_LAYOUTS))
    if source.layout and source.fields:
        yield f"data.trace_files: {source.path!r} has both layout and fields: give one of them"
    for part in source.fields:
        yield from one_of("data.trace_files[].fields", part, PARTS)
    if source.fields and not {"question", "response"} <= source.fields.keys():
        yield f"data.trace_files[].fields={dict(source.fields)} must name at least question and response"


def _weights(c: Config) -> Problems:
    """A mixture needs a weight of every source of the use, and no problem without a source."""
    for use in ("sft", "rl"):
        found = sources_for(c.data, use)
        if all(source.weight is None for source in found) or use not in c.phases:
            continue
        for source in found:
            if source.weight is None or not 0 < source.weight < float("inf"):
                yield (
                    f"weight={source.weight} of {source.path}: with a weight of one source for {use}, all of them need "
                    "one above 0; 1 is an equal share"
                )
        if c.data.train_per_subdomain:
            yield (
                f"data.train_per_subdomain={c.data.train_per_subdomain} with weights of sources: generated problems "
                "have no weight; set it to 0, or leave out the weights"
            )
        files = [str(part) for source in found for part in parts(source.path)]
        if repeated := sorted({file for file in files if files.count(file) > 1}):
            yield f"{repeated[0]} is in two sources with weights: each file has one weight; name it once"
        for stage in c.curriculum.stages if use == "rl" else ():
            if stage.sampling != "shuffle":
                yield (
                    f"curriculum.stages[{stage.name}].sampling={stage.sampling} with weights of sources: the weights "
                    "decide on the questions; set sampling=shuffle or leave out the weights"
                )
