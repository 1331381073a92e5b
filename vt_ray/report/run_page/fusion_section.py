"""The section of report.html about fusion: the specialists with their weights, and the gate's comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vt_ray.report import formats
from vt_ray.report.html import Section, Table
from vt_ray.report.run_record import RunRecord
from vt_ray.spectrum_phase.fusion_gate import gate_sentence


def fusion_section(record: RunRecord) -> Section:
    """The section for the fusion of each SFT stage. A run of an older version has no gate."""
    title = "Fusion: one model from the specialists"
    if not record.fusions:
        return Section("fusion", title, ["There is no fused/fusion.json: the specialists have not been fused."])
    text = [gate_sentence(fusion["gate"]) for fusion in record.fusions.values() if fusion["gate"]]
    return Section("fusion", title, text, tables=[_table(name, f) for name, f in record.fusions.items()])


def _table(name: str, fusion: Mapping[str, Any]) -> Table:
    rows = [[d, s["checkpoint"], formats.percent(s["weight"])] for d, s in fusion["sources"].items()]
    return Table(name, [["subdomain", "specialist", "weight"], *rows])
