"""The sections of report.html about data made by the model: rejection sampling and self-distillation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vt_ray.report import formats
from vt_ray.report import milestones as ms
from vt_ray.report.html import Section, Table
from vt_ray.report.run_page import curves
from vt_ray.report.run_record import RunRecord
from vt_ray.report.tables import Rows
from vt_ray.run.milestone_names import SELF_DISTIL

KEPT = "kept"


def rejection_section(record: RunRecord) -> Section:
    title, table = "Rejection sampling: traces of the run's own models", record.rejection
    if not table:
        return Section("rejection", title, ["There is no rejection/rejection.json: no model has been sampled."])
    text = (
        f"{formats.thousands(table['traces'])} traces of {formats.thousands(table['questions'])} training problems are "
        "kept in rejection/traces.jsonl. A kept completion is right, ends by itself, repeats few n-grams, and differs "
        "from all others of its question."
    )
    models = table["models"]
    by_model: dict[str, Counter[str]] = {}
    by_subdomain: dict[str, Counter[str]] = {}
    for name, entry in models.items():
        for subdomain, counts in entry["counts"].items():
            by_model.setdefault(name, Counter()).update(counts)
            by_subdomain.setdefault(subdomain, Counter()).update(counts)
    tables = [
        Table("What became of the completions of each model", _count_rows("model", by_model)),
        Table("By subdomain", _count_rows("subdomain", dict(sorted(by_subdomain.items()))), folded=True),
    ]
    return Section("rejection", title, [text], tables=tables)


def self_distil_section(record: RunRecord) -> Section:
    title, chosen = "Self-distillation", record.selection
    if not chosen:
        return Section("self-distil", title, ["There is no self_distil/selection.json: no trace has been chosen."])
    text = [
        f"The student learns {formats.thousands(chosen['kept'])} of {formats.thousands(chosen['traces'])} traces. NLL "
        "is the mean negative log-likelihood of a trace under the student before training, in nats per token. Within "
        "each bucket of one subdomain and similar lengths, traces with a low NLL and outliers are left out."
    ]
    figures = []
    if record.distilled:
        seconds = sum(line.get("seconds") or 0 for line in record.distilled)
        text.append(f"{formats.thousands(len(record.distilled))} SFT steps took {formats.duration(seconds)}.")
        figures = [curves.sft_loss(record.distilled)]
    if moved := (ms.named(ms.reached(record.summary), SELF_DISTIL) or {}).get("difference"):
        text.append(
            f"From {moved['from']}, the milestone before it, Pass@1 on the held-out problems changed by "
            f"{formats.points(moved)} points."
        )
    tables = [
        Table("Traces by subdomain", _count_rows("subdomain", chosen["counts"])),
        Table("Buckets", _bucket_rows(chosen["buckets"]), folded=True),
    ]
    return Section("self-distil", title, text, figures, tables=tables)


def _count_rows(first: str, counts: Mapping[str, Mapping[str, int]]) -> Rows:
    """A header and a row for each name: all, kept, and each other fate that occurs."""
    fates = [KEPT, *sorted({fate for row in counts.values() for fate, count in row.items() if count} - {KEPT})]
    rows = [[first, "all", *fates]]
    for name, row in counts.items():
        cells = [sum(row.values()), *(row.get(fate, 0) for fate in fates)]
        rows.append([name, *map(formats.thousands, cells)])
    return rows


def _bucket_rows(buckets: Sequence[Mapping[str, Any]]) -> Rows:
    rows = [["subdomain", "tokens", "traces", "kept", "mean NLL", "NLL of kept traces"]]
    for b in buckets:
        low, high = b["tokens"]
        kept = f"{b['kept_nll'][0]:.3f} to {b['kept_nll'][1]:.3f}" if b["kept_nll"] else formats.UNKNOWN
        numbers = [formats.thousands(b["traces"]), formats.thousands(b["kept"]), f"{b['nll']:.3f}"]
        rows.append([b["subdomain"], f"{low:,} to {high:,}", *numbers, kept])
    return rows
