"""The sections of report.html about results, costs and identity. Each function makes one section of a RunRecord.

A section without its file keeps its heading and has a sentence about the missing file. The sections about training are
in training_sections.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vt_ray.config import MgpoConfig
from vt_ray.report import formats
from vt_ray.report import milestones as ms
from vt_ray.report.diagnosis.signatures import diagnose
from vt_ray.report.encoded_prompt import prompt_sentences, token_lines
from vt_ray.report.html import Section, Table
from vt_ray.report.leakage_page import GENERATED_SENTENCE, matrix_rows, run_headline
from vt_ray.report.question_scores import change
from vt_ray.report.run_page import charts, training_sections
from vt_ray.report.run_page.benchmarks import benchmark_section
from vt_ray.report.run_page.data_section import data_section
from vt_ray.report.run_page.distillation_sections import rejection_section, self_distil_section
from vt_ray.report.run_page.fusion_section import fusion_section
from vt_ray.report.run_page.machines_section import machines_section
from vt_ray.report.run_page.samples import visible
from vt_ray.report.run_record import RunRecord
from vt_ray.report.tables import Rows, phase_rows, score_rows, subdomain_rows
from vt_ray.run.stage_ends import steps_of


def milestones_section(record: RunRecord) -> Section:
    reached = ms.reached(record.summary)
    if not reached:
        return Section("milestones", "Milestones", ["There is no summary.json yet: the run has not been evaluated."])
    header, *rows = score_rows(reached)
    more = [[formats.percent(m.get("truncated_share")), formats.thousands(m.get("unverified"))] for m in reached]
    table = [
        [*header, "truncated", "without verdict"],
        *(row + extra for row, extra in zip(rows, more, strict=True)),
    ]
    text = (
        "Means over held-out problems, with 95% intervals as bands, bars and brackets. "
        "The change is measured from the previous milestone on the same problems."
    )
    return Section("milestones", "Milestones", [text], [charts.milestone_curves(reached)], tables=[Table("", table)])


def subdomains_section(record: RunRecord) -> Section:
    title = "Accuracy by subdomain, before and after"
    reached = ms.reached(record.summary)
    names = ms.subdomains(reached)
    if not names:
        return Section("subdomains", title, ["No milestone has scores by subdomain."])
    ends = _before_and_after(reached)
    text = [f"Pass@1 with 95% intervals at {_listed([m['name'] for m in ends])}."]
    figures = [charts.subdomain_dots(ends)]
    changes = {
        (before["name"], ends[-1]["name"]): {d: _subdomain_change(record, before, ends[-1], d) for d in names}
        for before in ends[:-1]
    }
    if any(found for by_subdomain in changes.values() for found in by_subdomain.values()):
        labelled = [(f"{before} to {after}", found) for (before, after), found in changes.items()]
        figures.append(charts.difference_dots(labelled))
        text.append(
            "A change is the mean difference over the same problems, with a bootstrap interval over these problems. A "
            "change whose interval contains zero may be chance."
        )
    tables = [Table("", _subdomain_table(ends, changes, names))]
    tables += [Table("Pass@1 of every milestone, in percent", subdomain_rows(reached), folded=True)]
    return Section("subdomains", title, text, figures, columns=True, tables=tables)


def _before_and_after(reached: list[ms.Milestone]) -> list[ms.Milestone]:
    """The first milestone, the start of RL and the last milestone, in this order and without duplicates."""
    ends = [reached[0], ms.start_of_rl(reached) or reached[0], reached[-1]]
    return list({m["name"]: m for m in ends}.values())


def _subdomain_change(
    record: RunRecord, before: ms.Milestone, after: ms.Milestone, subdomain: str
) -> Mapping[str, float] | None:
    return change(record.held_out.get(before["name"]), record.held_out.get(after["name"]), 1, [subdomain])


def _subdomain_table(
    ends: list[ms.Milestone],
    changes: Mapping[tuple[str, str], Mapping[str, Mapping[str, float] | None]],
    names: list[str],
) -> Rows:
    header = ["subdomain", *(f"{m['name']}, %" for m in ends), *(f"{a} to {b}, points" for a, b in changes)]
    rows = []
    for name in names:
        scores = [formats.interval(ms.subdomain_score(m, name, 1)).replace("%", "") for m in ends]
        rows.append([name, *scores, *(formats.points(found[name]) for found in changes.values())])
    return [header, *rows]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def decontamination_section(record: RunRecord) -> Section:
    title, report = "Decontamination", record.leakage
    if not report:
        return Section("decontamination", title, ["Training rows were not compared with probing and test questions."])
    text = [f"{run_headline(report).removeprefix('decontamination: ').capitalize()}.", GENERATED_SENTENCE]
    tables = [Table("Training rows that match a probing or test question", matrix_rows(report, "rows"))]
    links = [("The leakage page: matches by reason, with examples", "data/leakage.html")]
    return Section("decontamination", title, text, tables=tables if report["matrix"] else [], links=links)


def cost_section(record: RunRecord) -> Section:
    title = "Cost by phase"
    rows = phase_rows(record.summary)
    if not record.summary.get("phases"):
        return Section("cost", title, ["There is no summary.json yet: the run has not finished."])
    text = [
        "The wall time of a phase is its work without start-up. The total is the sum of all phases, including phases "
        "that another run has finished. The whole run is the time of this run's own processes, with start-up."
    ]
    hardware, prices = record.summary.get("hardware"), record.summary.get("prices") or {}
    if hardware:
        text.append(
            f"CPU-h counts all {hardware['cpu_cores']} CPU cores of the machines of the run, and GPU-h all "
            f"{hardware['gpus']} GPUs that its actors held, whether they were busy or not."
        )
    priced = [(kind, prices.get(f"{kind.lower()}_hour")) for kind in ("CPU", "GPU")]
    known = [f"{price:g} {prices['currency']} for a {kind}-hour" for kind, price in priced if price]
    text += [f"Prices: {' and '.join(known)}."] if known else []
    return Section("cost", title, text, tables=[Table("", _with_ends(rows, record.summary.get("stages") or []))])


def _with_ends(rows: Rows, stages: Sequence[Mapping[str, Any]]) -> Rows:
    """The rows of the phases with the steps of each stage and the reason for its end, if these are recorded."""
    if not stages:
        return rows
    ends = {f"rl {s['name']}": [steps_of(s["steps"], s["planned_steps"]), s["ended"]] for s in stages}
    return [[*rows[0], "steps", "ended by"], *([*row, *ends.get(row[0], ["", ""])] for row in rows[1:])]


def recoveries_section(record: RunRecord) -> Section:
    title, lost = "Replaced actors", record.recoveries
    if lost is None:
        return Section("recoveries", title, ["This run has not recorded the actors that were lost and replaced."])
    if not lost:
        return Section("recoveries", title, ["No actor was lost."])
    text = (
        f"{formats.times(len(lost)).capitalize()} an actor was lost and replaced, and the run continued from its "
        "newest commit. The steps after this commit were repeated; the figures contain them once."
    )
    rows = [["lost", "time (UTC)", "error", "continued from"]]
    for line in lost:
        loss = [str(line.get("lost")), _clock(line.get("time")), str(line.get("error"))]
        rows.append([*loss, line.get("commit") or "its beginning"])
    return Section("recoveries", title, [text], tables=[Table("", rows)])


def _clock(seconds: Any) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}" if formats.known(seconds) else formats.UNKNOWN


def findings_section(record: RunRecord) -> Section:
    found = diagnose(
        record.summary,
        record.rl,
        record.sft,
        held_out=record.held_out,
        probed=record.probed,
        probe=record.probe,
        stage_subdomains=record.stage_subdomains,
    )
    seen = sum(f.seen is True for f in found)
    undecided = sum(f.seen is None for f in found)
    text = f"{seen} of {len(found)} known signs of a failing run were seen; {undecided} are undecided."
    return Section("findings", "Failure signatures", [text], findings=found)


def prompt_section(record: RunRecord) -> Section:
    title, shown = "A prompt, as the model gets it", record.prompt
    if not shown:
        return Section("prompt", title, ["This run has not recorded a prompt (prompt.json)."])
    code = [("Text", visible(shown["text"])), ("Tokens: id and text", "\n".join(token_lines(shown)))]
    return Section("prompt", title, prompt_sentences(shown), code=code)


def identity_section(record: RunRecord) -> Section:
    names = (
        ("run", "run_name"),
        ("config hash", "config_hash"),
        ("seed", "seed"),
        ("weight", "weight"),
        ("lambda", "lambda"),
        ("started", "started"),
    )
    facts = [[label, str(value)] for label, key in names if (value := record.known(key)) is not None]
    if (record.known("weight") or MgpoConfig.weight) != MgpoConfig.weight:
        facts = [fact for fact in facts if fact[0] != "lambda"]
    versions = [[name, str(version)] for name, version in (record.identity.get("versions") or {}).items()]
    text = [] if record.identity else ["There is no run.json: the identity of the run is unknown."]
    tables = [Table("", [["what", "value"], *facts])] if facts else []
    tables += [Table("Versions", [["package", "version"], *versions])] if versions else []
    code = [("The command", formats.without_passwords(_command(record)))]
    code += [("The resolved config", formats.without_passwords(record.config))] if record.config else []
    return Section("identity", "How to reproduce this run", text, tables=tables, code=code)


SECTIONS: tuple[Callable[[RunRecord], Section], ...] = (
    milestones_section,
    findings_section,
    subdomains_section,
    training_sections.sft_section,
    training_sections.probe_section,
    fusion_section,
    training_sections.rl_section,
    training_sections.difficulty_section,
    training_sections.verify_section,
    training_sections.time_section,
    machines_section,
    rejection_section,
    self_distil_section,
    data_section,
    recoveries_section,
    decontamination_section,
    cost_section,
    training_sections.samples_section,
    prompt_section,
    identity_section,
)
# The phase that a section is about; the report of a run without this phase has no such section.
PHASE_OF: dict[Callable[[RunRecord], Section], str] = {
    training_sections.sft_section: "sft",
    training_sections.probe_section: "probe",
    fusion_section: "fuse",
    training_sections.rl_section: "rl",
    training_sections.difficulty_section: "rl",
    training_sections.verify_section: "rl",
    training_sections.time_section: "rl",
    machines_section: "rl",
    training_sections.samples_section: "rl",
    rejection_section: "rejection",
    self_distil_section: "self_distil",
}


def run_sections(record: RunRecord) -> list[Section]:
    """The sections of the phases of the run. Benchmarks follow the milestones, if the run has evaluated some."""
    reached = ms.reached(record.summary)
    benchmarks = benchmark_section(reached)
    first, *others = (section(record) for section in SECTIONS if _belongs(section, record, bool(benchmarks)))
    return [first, *([benchmarks] if benchmarks else []), *others]


def _belongs(section: Callable[[RunRecord], Section], record: RunRecord, benchmarks: bool) -> bool:
    if section is training_sections.samples_section and benchmarks:
        return True
    if record.phases:
        return PHASE_OF.get(section) in (None, *record.phases)
    if section is subdomains_section:
        return not benchmarks
    if section is data_section:
        return bool(record.sources)
    if section is decontamination_section:
        return bool(record.leakage.get("rows"))
    return section is not findings_section and section not in PHASE_OF


def _command(record: RunRecord) -> str:
    """The command of the run, or a command that repeats the saved config under another name."""
    given = record.identity.get("command")
    if isinstance(given, list) and given:
        # Without the path of the console script, which differs between machines.
        return shlex.join(["vt-ray", *map(str, given[1:])])
    name = record.known("run_name") or record.root.name
    again = shlex.quote(f"{name}-again")
    return f'vt-ray --config-path "$PWD" --config-name config run_name={again}  # in the run folder'
