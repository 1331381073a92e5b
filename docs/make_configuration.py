"""Write docs/configuration.md from the dataclasses in vt_ray/config.py: `python docs/make_configuration.py`.

    dataclass + `#` lines above each field --> one table a section: key, type, default, meaning

tests/unit/test_configuration_page.py fails if the file differs from what this script writes, or a field has no comment.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from vt_ray.config import Config
from vt_ray.run.identity import IDENTITY_EXCEPTIONS, NOT_IDENTITY

PAGE = Path(__file__).with_name("configuration.md")
INTRODUCTION = """\
# Configuration

Every key with its type, default, meaning and allowed values. Generated from the comments in `vt_ray/config.py` and
`vt_ray/verify/limits.py` by `python docs/make_configuration.py`: edit the comments, not this page.

Set a key on the command line (`vt-ray signal.mgpo.lam=0`) or in a YAML file below `conf/`. Presets, such as
`experiment=demo` or `cluster=one_gpu`, replace some defaults; `vt-ray ... --cfg job` prints the result. Values that
cannot work are refused before anything starts. `null` means not set; `[]` marks a key of each member of a list.

A run that continues must have the settings that it began with, except for these keys and sections, which may change at
each start: {changeable}; but not {fixed}.

In the text, "the paper" is arXiv 2511.06221, and "n.s." (not stated) marks a value that the paper does not give.
"""


def page() -> str:
    """The whole page as Markdown."""
    changeable = ", ".join(f"`{name}`" for name in NOT_IDENTITY)
    fixed = ", ".join(f"`{name}`" for name in IDENTITY_EXCEPTIONS)
    return INTRODUCTION.format(changeable=changeable, fixed=fixed) + "".join(
        f"\n{section}" for section in _sections(Config, Config, "")
    )


def _sections(cls: type, make: Any, prefix: str) -> Iterator[str]:
    """The section of one dataclass and of the dataclasses in it. `make` returns an instance that holds its defaults."""
    types, comments, nested = typing.get_type_hints(cls), field_comments(cls), []
    rows = []
    for f in fields(cls):
        key, kind = prefix + f.name, types[f.name]
        if is_dataclass(kind):
            nested.append((kind, f.default_factory, f"{key}."))
            continue
        default = (
            getattr(make(), f.name) if prefix else (f.default if f.default is not MISSING else f.default_factory())
        )
        rows.append((f"`{key}`", str(f.type), f"`{json.dumps(default)}`", comments[f.name]))
        for member in filter(is_dataclass, typing.get_args(kind)):
            if member not in [described for described, *_ in nested]:
                nested.append((member, member, f"{key}[]."))
    yield _heading(cls, prefix) + _table(rows)
    for kind, factory, key in nested:
        yield from _sections(kind, factory, key)


def field_comments(cls: type) -> dict[str, str]:
    """The text of the `#` lines directly above each field of a dataclass; "" for a field without any."""
    found, lines = {f.name: "" for f in fields(cls)}, []
    for line in map(str.strip, inspect.getsource(cls).splitlines()):
        name, colon, _ = line.partition(":")
        if line.startswith("#"):
            lines.append(line.lstrip("# "))
        else:
            if colon and name in found and lines:
                found[name] = " ".join(lines)
            lines = []
    return found


def _heading(cls: type, prefix: str) -> str:
    title = f"`{prefix[:-1]}`" if prefix else "The run"
    return f"## {title}\n\n{inspect.getdoc(cls)}\n"


def _table(rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = ["", "| key | type | default | meaning and allowed values |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
