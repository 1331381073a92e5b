"""The table of the benchmarks: one row for each milestone, then the published models, one column for each benchmark.

summary.json --rows, detail_rows, notes--> terminal
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vt_ray.report import formats
from vt_ray.report import milestones as ms

if TYPE_CHECKING:
    from vt_ray.report.tables import Rows

VOTES = "One answer by a vote over all samples"


def of(milestone: ms.Milestone) -> Mapping[str, Any]:
    """{benchmark: figures} of a milestone, without perturbed benchmarks; empty if the run has no benchmark."""
    found = milestone.get("benchmarks") or {}
    return {name: figures for name, figures in found.items() if not figures.get("perturbation")}


def perturbed(milestone: ms.Milestone) -> list[Mapping[str, Any]]:
    """The figures of the perturbed benchmarks of a milestone, in the order of benchmarks, then perturbations."""
    return [figures for figures in (milestone.get("benchmarks") or {}).values() if figures.get("perturbation")]


def perturbation_rows(reached: Sequence[ms.Milestone]) -> Rows:
    """A row for each milestone, benchmark and perturbation: Pass@1, and its paired change on the same problems."""
    header = ["model", "benchmark", "perturbation", "problems", "Pass@1, %", "change, points"]
    return [header, *(_perturbation_row(m["name"], figures) for m in reached for figures in perturbed(m))]


def perturbation_tables(reached: Sequence[ms.Milestone]) -> list[tuple[str, Rows]]:
    """[(title, rows)]: `perturbation_rows` as a table for each milestone and benchmark, which fits a terminal."""
    header, *changes = perturbation_rows(reached)
    tables: dict[str, Rows] = {}
    for model, benchmark, *cells in changes:
        title = f"Perturbations of {benchmark}, {model}: the change of Pass@1 on the same problems"
        tables.setdefault(title, [header[2:]]).append(cells)
    return list(tables.items())


def _perturbation_row(milestone: str, f: Mapping[str, Any]) -> list[str]:
    names = [milestone, f["original"], f["perturbation"]]
    return [*names, str(f["problems"]), _score(f), formats.points(f.get("change"))]


def names(reached: Sequence[ms.Milestone]) -> list[str]:
    return list(dict.fromkeys(name for milestone in reached for name in of(milestone)))


def rows(reached: Sequence[ms.Milestone]) -> Rows:
    """Pass@1 in percent with its 95% interval, the paired change from the milestone before, and published figures."""
    columns = names(reached)
    table = [["Pass@1, %", *columns]]
    for milestone in reached:
        found = of(milestone)
        table.append([milestone["name"], *(_score(found.get(name)) for name in columns)])
        if any((found.get(name) or {}).get("difference") for name in columns):
            table.append(["  change, points", *(_change(found.get(name)) for name in columns)])
    return table + _published(reached, columns)


def _score(figures: Mapping[str, Any] | None) -> str:
    return formats.interval((figures or {}).get("pass_at_1")).replace("%", "")


def _change(figures: Mapping[str, Any] | None) -> str:
    difference = (figures or {}).get("difference") or {}
    if unlike := difference.get("not_comparable"):
        return f"other {unlike}"
    return formats.points(difference or None)


def _published(reached: Sequence[ms.Milestone], columns: Sequence[str]) -> Rows:
    last = {name: figures for milestone in reached for name, figures in of(milestone).items()}
    values = {(p["model"], name): p["value"] for name in columns for p in last[name]["published"]}
    models = dict.fromkeys(model for model, _ in values)
    shown = lambda value: formats.UNKNOWN if value is None else f"{value:g}"  # noqa: E731
    return [[f"{model} *", *(shown(values.get((model, name))) for name in columns)] for model in models]


def detail_rows(reached: Sequence[ms.Milestone]) -> Rows:
    """The other figures: a row for each milestone and benchmark. "vibethinker" is Pass@1 by the paper's own grader."""
    header = ["model", "benchmark", "vibethinker", "Pass@K", "cons@n", "cut off", "tokens"]
    return [header, *(_details(m["name"], name, f) for m in reached for name, f in of(m).items())]


def _details(milestone: str, name: str, f: Mapping[str, Any]) -> list[str]:
    k = max(f["pass_at_k"], key=int, default="")
    wide = f"@{k} {formats.percent((f['pass_at_k'][k] or {}).get('mean'))}" if k else formats.UNKNOWN
    return [
        milestone,
        name,
        formats.percent((f["pass_at_1_vibethinker"] or {}).get("mean")),
        wide,
        formats.percent((f["cons_at_n"] or {}).get("mean")),
        formats.percent(f["truncated_share"]),
        f"{f['tokens_mean']:,.0f}",
    ]


def moved_sentence(reached: Sequence[ms.Milestone]) -> str:
    """What changed from the first milestone to the last one: the benchmarks that rose, fell, or stayed within their
    intervals; "" without two milestones that can be compared."""
    changes = {name: change for name, f in of(reached[-1]).items() if (change := moved(f))} if reached else {}
    if not changes:
        return ""
    rose = [f"{name} {formats.points(c)}" for name, c in changes.items() if c["low"] > 0]
    fell = [f"{name} {formats.points(c)}" for name, c in changes.items() if c["high"] < 0]
    still = [name for name, c in changes.items() if c["low"] <= 0 <= c["high"]]
    parts = (("rose", rose), ("fell", fell), ("within noise", still))
    said = "; ".join(f"{what}: {', '.join(found)}" for what, found in parts if found)
    return f"From {next(iter(changes.values()))['from']} to {reached[-1]['name']}, points of Pass@1: {said}."


def moved(figures: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The paired change of Pass@1 from the first milestone; None if it was not measured or cannot be compared."""
    change = (figures or {}).get("difference_from_first") or {}
    return change if "mean" in change else None


def vote_rows(reached: Sequence[ms.Milestone]) -> Rows:
    """A row for each milestone and benchmark with a vote: accuracy, gain over Pass@1, and its tokens as a multiple of
    those of one sample."""
    header = ["model", "benchmark", "rule", "vote, %", "gain, points", "tokens"]
    found = [(m["name"], name, vote) for m in reached for name, f in of(m).items() if (vote := f.get("vote"))]
    return [header, *(_vote_row(*entry) for entry in found)]


def _vote_row(milestone: str, name: str, vote: Mapping[str, Any]) -> list[str]:
    accuracy = formats.interval(vote["accuracy"]).replace("%", "")
    tokens = f"{vote['tokens_mean']:,.0f} ({vote['tokens_mean'] / max(vote['sample_tokens_mean'], 1):.1f}x)"
    return [milestone, name, vote["rule"], accuracy, formats.points(vote["gain"]), tokens]


def notes(reached: Sequence[ms.Milestone]) -> list[str]:
    """What a reader must know: the source of published figures, and how each benchmark differs from its protocol."""
    last = {name: figures for milestone in reached for name, figures in of(milestone).items()}
    sources = dict.fromkeys(p["source"] for figures in last.values() for p in figures["published"])
    found = [f"* published: {', '.join(sources)}"] if sources else []
    return found + [_note(name, figures) for name, figures in last.items()]


def _note(name: str, f: Mapping[str, Any]) -> str:
    lost = f", {f['without_verdict']} without a verdict" if f["without_verdict"] else ""
    rate = formats.rate(f["tokens_mean"] * f["problems"] * f["samples"], f["seconds"])
    loops = f", {formats.percent(f['loop_share'])} end in a loop" if f["loop_share"] else ""
    energy = f", {formats.energy(f['joules'])}" if f.get("joules") else ""
    done = f"{f['problems']} problems x {f['samples']}{lost}{loops}, {rate} tokens/s{energy}"
    asked = f"{done}, fingerprint {f['fingerprint']}"
    stated = [*f["notes"], *_training_rows(f.get("by_training_rows") or {})] or ["the protocol of its file"]
    return f"{name}: {asked}; {'; '.join(stated)}"


def _training_rows(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Pass@1 of the problems that training rows contain, beside that of the others; [] without such problems."""
    if not parts:
        return []
    shown = (f"{name} {formats.interval(part['pass_at_1'])} of {part['problems']:,}" for name, part in parts.items())
    return [f"Pass@1 by matching training rows: {', '.join(shown)}"]
