"""The section about the verification of RL completions: seconds by kind, verdicts by stage, reasons, losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from vt_ray.report import formats
from vt_ray.report.html import Section, Table
from vt_ray.report.tables import Rows

Lines = Sequence[Mapping[str, Any]]
STATUSES = ("correct", "wrong", "unverified")
MOST_REASONS = 12


def verify_section(rl: Lines) -> Section:
    """The section of report.html; `rl` are the lines of the metrics."""
    title = "Verification"
    lines = [line for line in rl if line.get("verify")]
    if not lines:
        return Section("verify", title, ["This run has not recorded its verification."])
    text = (
        f"{sentence(rl)} A completion without a verdict is excluded from p_c, from the advantages and from the update. "
        "Seconds are percentiles of each step, as the median over all steps; the last column is the slowest step. A "
        "truncated completion, and a copy of an earlier text of its group, takes no time and is not counted there."
    )
    tables = [Table("Seconds of a completion", kind_rows(lines)), Table("Verdicts by stage", stage_rows(lines))]
    tables += [Table("Reasons", reason_rows(lines), folded=True)] if _reasons(lines) else []
    return Section("verify", title, [text], tables=tables)


def sentence(rl: Lines) -> str:
    """A summary in one sentence; "" if nothing is recorded."""
    records = [line["verify"] for line in rl if line.get("verify")]
    if not records:
        return ""
    shares = ", ".join(
        f"{formats.percent(_share(records, status))} {'without a verdict' if status == 'unverified' else status}"
        for status in STATUSES
    )
    backends = " and ".join(sorted({name for record in records for name in record["backend"]})) or formats.UNKNOWN
    return (
        f"{formats.thousands(_completions(records))} completions were verified in RL: {shares}; "
        f"{formats.thousands(sum(r['retries'] for r in records))} verified again, "
        f"{formats.thousands(sum(r['respawns'] for r in records))} lost workers replaced. Code verifier: {backends}."
    )


def kind_rows(lines: Lines) -> Rows:
    kinds = sorted({kind for line in lines for kind in line["verify"]["seconds"]})
    rows = [["kind", "completions", "p50", "p95", "p99", "highest p99"]]
    for kind in kinds:
        steps = [found for line in lines if (found := line["verify"]["seconds"].get(kind))]
        medians = [_seconds(median(step[p] for step in steps)) for p in ("p50", "p95", "p99")]
        count = formats.thousands(sum(step["count"] for step in steps))
        rows.append([kind, count, *medians, _seconds(max(step["p99"] for step in steps))])
    return rows


def stage_rows(lines: Lines) -> Rows:
    stages = dict.fromkeys(str(line.get("stage", "")) for line in lines)
    rows = [["stage", "completions", "correct", "wrong", "without verdict", "verified again", "workers replaced"]]
    for stage in stages:
        records = [line["verify"] for line in lines if str(line.get("stage", "")) == stage]
        shares = [formats.percent(_share(records, status)) for status in STATUSES]
        lost = [formats.thousands(sum(record[what] for record in records)) for what in ("retries", "respawns")]
        rows.append([stage, formats.thousands(_completions(records)), *shares, *lost])
    return rows


def reason_rows(lines: Lines) -> Rows:
    """The most frequent reasons first. A correct answer has no reason."""
    total = _completions([line["verify"] for line in lines])
    found = _reasons(lines).most_common(MOST_REASONS)
    return [["reason", "share"], *([reason, formats.percent(count / total)] for reason, count in found)]


def _reasons(lines: Lines) -> Counter[str]:
    counts = Counter[str]()
    for record in (line["verify"] for line in lines):
        for reason, share in record["reasons"].items():
            counts[reason] += round(share * record["completions"])
    return counts


def _share(records: Lines, status: str) -> float:
    return sum(r["verdicts"][status] * r["completions"] for r in records) / max(1, _completions(records))


def _completions(records: Lines) -> int:
    return sum(record["completions"] for record in records)


def _seconds(value: float) -> str:
    return f"{1000 * value:.2f} ms" if value < 0.1 else f"{value:.2f} s" if value < 60 else formats.duration(value)
