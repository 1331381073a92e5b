"""The section of report.html about the sources of problems and traces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vt_ray.report.html import Section, Table
from vt_ray.report.run_record import RunRecord
from vt_ray.report.tables import Rows

# A cell shows at most so many texts of one name.
_SHOWN_VALUES = 6


def data_section(record: RunRecord) -> Section:
    title = "Data by source"
    if not record.sources:
        return Section("data", title, ["The run has generated problems only: there is no data/sources.json."])
    text = (
        "Questions are distinct and in use; copies of a question are merged. Rows, prompts and traces that were left "
        "out are counted by reason. data/bad_rows.jsonl lists the bad rows."
    )
    header = ["source", "used for", "layout", "rows", "questions", "copies", "traces used", "bad rows", "left out"]
    rows = [header, *(_row(source, record.examples) for source in record.sources)]
    tables = [Table("", rows), Table("Metadata", _metadata(record), folded=True)]
    return Section("data", title, [text], tables=tables)


def _row(source: Mapping[str, Any], examples: Mapping[str, Any]) -> list[str]:
    traces = source["traces"] - sum(source["traces_left_out"].values())
    reasons = {**source["left_out"], **source["traces_left_out"]}
    if "sft" in source["use"]:
        reasons["over spectrum.sft.max_tokens"] = examples.get("left_out_of", {}).get(source["path"], 0)
        reasons["truncated to spectrum.sft.max_tokens"] = examples.get("truncated_of", {}).get(source["path"], 0)
    weight = "" if source["weight"] is None else f", weight {source['weight']:g}"
    return [
        source["path"],
        ", ".join(source["use"]) + weight,
        ", ".join(source["layouts"]),
        *(f"{source[key]:,}" for key in ("rows", "questions", "copies")),
        f"{traces:,} of {source['traces']:,}" if source["traces"] else "",
        f"{source['bad_rows']:,}",
        "; ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count),
    ]


def _metadata(record: RunRecord) -> Rows:
    rows: Rows = [["source", "name", "rows", "range"]]
    for source in record.sources:
        rows += [
            [source["path"], name, f"{found['rows']:,}", _range(found)] for name, found in source["metadata"].items()
        ]
    return rows


def _range(found: Mapping[str, Any]) -> str:
    parts = [f"{found['min']:g} to {found['max']:g}"] if "min" in found else []
    if "values" in found and not found["values"]:
        parts.append("many different texts")
    elif "values" in found:
        values = list(found["values"].items())
        more = f", and {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else ""
        parts.append(", ".join(f"{value}: {count:,}" for value, count in values[:_SHOWN_VALUES]) + more)
    return "; ".join(parts)
