"""The parts of report.html: each takes what a run left and says, draws and lists what a reader needs of it.

A section whose file is missing keeps its heading and says so in a sentence.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vt_ray.report import charts, curves, samples, words
from vt_ray.report import milestones as ms
from vt_ray.report.diagnosis import Finding, diagnose
from vt_ray.report.run_record import RunRecord
from vt_ray.report.summary import Rows, phase_rows, score_rows, subdomain_rows

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Table:
    """`rows[0]` is the header. A folded table opens at a click on its title."""

    title: str
    rows: Rows
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """One part of the page; what it has none of is left out.

    `columns` says whether figures may stand side by side; `samples` is [(stage, [Sample])]; `code` is
    [(title, text)].
    """

    key: str
    title: str
    says: Sequence[str] = ()
    figures: Sequence[go.Figure] = ()
    columns: bool = False
    tables: Sequence[Table] = ()
    findings: Sequence[Finding] = ()
    samples: Sequence[tuple[str, Sequence[samples.Sample]]] = ()
    code: Sequence[tuple[str, str]] = ()


def milestones_section(record: RunRecord) -> Section:
    reached = ms.of(record.summary)
    if not reached:
        return Section("milestones", "Milestones", ["There is no summary.json yet: the run has not been evaluated."])
    header, *rows = score_rows(reached)
    more = [[words.percent(m.get("truncated_share")), words.thousands(m.get("unverified"))] for m in reached]
    table = [
        [*header, "truncated", "without verdict"],
        *(row + extra for row, extra in zip(rows, more, strict=True)),
    ]
    says = (
        "Dots are means over held-out problems, bars and brackets 95% intervals. "
        "The change compares the same problems with the milestone before."
    )
    return Section("milestones", "Milestones", [says], [charts.milestone_dots(reached)], tables=[Table("", table)])


def subdomains_section(record: RunRecord) -> Section:
    title = "Accuracy by subdomain"
    reached = ms.of(record.summary)
    if not ms.subdomains(reached):
        return Section("subdomains", title, ["No milestone holds scores by subdomain."])
    first, last = reached[0], reached[-1]
    says = f"Pass@1 at {first['name']}, the first milestone, and at {last['name']}, the last."
    tables = [Table("Pass@1 of every milestone, in percent", subdomain_rows(reached), folded=True)]
    return Section("subdomains", title, [says], [charts.subdomain_dots(first, last)], tables=tables)


def sft_section(record: RunRecord) -> Section:
    title = "Supervised fine-tuning"
    if not record.sft:
        return Section("sft", title, ["There is no sft/metrics.jsonl: this run has no SFT steps to show."])
    seconds = sum(line.get("seconds") or 0 for line in record.sft)
    tokens = sum(line.get("tokens") or 0 for line in record.sft)
    says = (
        f"{words.thousands(len(record.sft))} steps, {words.thousands(tokens)} tokens in "
        f"{words.duration(seconds)} ({words.rate(tokens, seconds)} tokens/s)."
    )
    return Section("sft", title, [says], [curves.sft_loss(record.sft)])


def probe_section(record: RunRecord) -> Section:
    title = "Probing: which checkpoint has the widest spectrum"
    probe = record.probe
    if not (probe.get("checkpoints") and probe.get("pass_at_k")):
        return Section("probe", title, ["There is no probe/probe.json: the checkpoints have not been probed."])
    k = probe.get("k", "K")
    chosen = ", ".join(f"{d} {charts.step_label(c)}" for d, c in (probe.get("specialists") or {}).items())
    says = (
        f"The framed checkpoint of each subdomain is its specialist, the best Pass@{k}: {chosen or 'none chosen yet'}."
    )
    figures = [charts.probe_heat(probe, "pass_at_k", f"Pass@{k}", framed=True)]
    if probe.get("pass_at_1") and k != 1:
        figures.append(charts.probe_heat(probe, "pass_at_1", "Pass@1", framed=False))
    return Section("probe", title, [says], figures, columns=True)


def rl_section(record: RunRecord) -> Section:
    title = "Reinforcement learning"
    if not record.rl:
        return Section("rl", title, ["There is no metrics.jsonl with RL steps: no stage has begun."])
    stages = ", ".join(f"{stage} ({len(lines)} steps)" for _, stage, lines in curves.by_stage(record.rl))
    says = [f"Stages in order: {stages}. Thin lines are single steps, thick lines a moving mean within the stage."]
    syncs = [line.get("sync") or {} for line in record.rl]
    gaps = [sync["logprob_gap"] for sync in syncs if words.known(sync.get("logprob_gap"))]
    if gaps:
        says.append(
            "After each update the generators' log-probabilities were compared with the trainer's on a fixed "
            f"text: the largest gap was {max(gaps):.2g} nats."
        )
    drawn = [curves.rl_curve(record.rl, *curve) for curve in curves.RL_CURVES]
    return Section("rl", title, says, [f for f in drawn if f is not None], columns=True)


def time_section(record: RunRecord) -> Section:
    title = "Where the time went"
    phases = phase_rows(record.summary)
    tables = [Table("", phases)] if len(phases) > 1 else []
    timed = [line for line in record.rl if line.get("seconds")]
    if not timed:
        return Section("time", title, ["No RL step has been timed."], tables=tables)
    totals = {part: sum(line["seconds"].get(part) or 0 for line in timed) for part, _ in curves.TIME_PARTS}
    whole = sum(totals.values())
    shares = ", ".join(f"{part} {words.percent(totals[part] / whole)}" for part in totals) if whole else "not known"
    says = f"An RL step took {words.duration(whole / len(timed))} on average: {shares}."
    return Section("time", title, [says], [curves.step_time(record.rl)], tables=tables)


def difficulty_section(record: RunRecord) -> Section:
    title = "Difficulty of the questions: p_c"
    lam = record.known("lambda")
    figure = curves.p_c_heat(record.rl, lam if words.known(lam) else None)
    if figure is None:
        return Section("difficulty", title, ["No RL step has recorded how its questions spread over p_c."])
    says = (
        "p_c is the share of a question's rollouts that are correct; darker means more of the step's "
        "questions. Questions at 0 and 1 teach nothing. "
    )
    curve = f"The line is the weight that MGPO gives to a question at lambda = {lam}." if words.known(lam) else ""
    return Section("difficulty", title, [says + curve], [figure])


def samples_section(record: RunRecord) -> Section:
    title = "Rollouts worth reading"
    found = [(s, samples.stage_samples(record.root, s)) for s in samples.stages(record.root, record.stages)]
    found = [(stage, chosen) for stage, chosen in found if chosen]
    if not found:
        return Section("samples", title, ["There are no rollout files to read: no RL step has been committed."])
    return Section("samples", title, ["From the last step of each stage."], samples=found)


def findings_section(record: RunRecord) -> Section:
    found = diagnose(record.summary, record.rl, record.sft)
    seen = sum(f.seen is True for f in found)
    unchecked = sum(f.seen is None for f in found)
    says = f"{seen} of {len(found)} known signs of a failing run were seen; {unchecked} could not be checked."
    return Section("findings", "Failure signatures", [says], findings=found)


def identity_section(record: RunRecord) -> Section:
    names = (
        ("run", "run_name"),
        ("config hash", "config_hash"),
        ("seed", "seed"),
        ("lambda", "lambda"),
        ("started", "started"),
    )
    facts = [[label, str(value)] for label, key in names if (value := record.known(key)) is not None]
    versions = [[name, str(version)] for name, version in (record.identity.get("versions") or {}).items()]
    says = [] if record.identity else ["There is no run.json: the folder does not say which run it is."]
    tables = [Table("", [["what", "value"], *facts])] if facts else []
    tables += [Table("Versions", [["package", "version"], *versions])] if versions else []
    code = [("The command", _command(record))]
    code += [("The resolved config", record.config)] if record.config else []
    return Section("identity", "How to reproduce this run", says, tables=tables, code=code)


SECTIONS: tuple[Callable[[RunRecord], Section], ...] = (
    milestones_section,
    findings_section,
    subdomains_section,
    sft_section,
    probe_section,
    rl_section,
    difficulty_section,
    time_section,
    samples_section,
    identity_section,
)


def _command(record: RunRecord) -> str:
    """The command that was given, or else one that runs the saved config again under another name."""
    given = record.identity.get("command")
    if isinstance(given, list) and given:
        # Where the console script lay is of no use on another machine.
        return shlex.join(["vt-ray", *map(str, given[1:])])
    name = record.known("run_name") or record.root.name
    again = shlex.quote(f"{name}-again")
    return f'vt-ray --config-path "$PWD" --config-name config run_name={again}  # in the run folder'
