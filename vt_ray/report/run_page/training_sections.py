"""The sections of report.html about training: SFT, probing, RL, difficulty, verification, time, rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vt_ray.algorithms.weights import difficulty_weight
from vt_ray.config import ConfigError, MgpoConfig
from vt_ray.records import AdvantageConfig
from vt_ray.report import formats, probe_tables
from vt_ray.report import milestones as ms
from vt_ray.report.html import Section, Table
from vt_ray.report.metrics import STEP_PARTS
from vt_ray.report.run_page import charts, curves, difficulty, samples, step_time, verification
from vt_ray.report.run_page.answers import benchmark_answers
from vt_ray.report.run_record import RunRecord
from vt_ray.run.stage_ends import early_end, steps_of

BANDS = "Thin lines are single steps, thick lines their moving mean, bands its 95% interval."


def sft_section(record: RunRecord) -> Section:
    title = "Supervised fine-tuning"
    if not record.sft:
        return Section("sft", title, ["There is no sft/metrics.jsonl: this run has no SFT steps to show."])
    text, figures = [f"{_sft_sentence(record.sft)} {BANDS}"], [curves.sft_loss(record.sft)]
    if record.second_sft:
        text.append(
            f"The second SFT, on long examples of questions that are often failed: {_sft_sentence(record.second_sft)}"
        )
        figures.append(curves.sft_loss(record.second_sft, "Loss of the second SFT, nats a token"))
    if any(formats.known(line.get("heldout_loss")) for line in record.sft):
        text.append(
            "Held-out loss (points): the loss on questions that SFT does not learn, at each checkpoint. If it rises "
            "while the training loss falls, SFT learns its examples by heart."
        )
    return Section("sft", title, text, figures, columns=len(figures) > 1)


def _sft_sentence(lines: Sequence[Mapping[str, Any]]) -> str:
    """Steps, tokens, speed, padding and MFU of an SFT."""
    seconds = sum(line.get("seconds") or 0 for line in lines)
    tokens = sum(line.get("tokens") or 0 for line in lines)
    found = {key: [line[key] for line in lines if formats.known(line.get(key))] for key in ("padding_share", "mfu")}
    means = {key: sum(values) / len(values) for key, values in found.items() if values}
    padding = f", {formats.percent(means['padding_share'])} padding" if "padding_share" in means else ""
    mfu = f", MFU {formats.percent(means['mfu'])}" if "mfu" in means else ""
    return (
        f"{formats.thousands(len(lines))} steps, {formats.thousands(tokens)} tokens in "
        f"{formats.duration(seconds)} ({formats.rate(tokens, seconds)} tokens/s{padding}{mfu})."
    )


def probe_section(record: RunRecord) -> Section:
    title = "Probing: which checkpoint has the widest spectrum"
    probe = record.probe
    if not (probe.get("checkpoints") and probe.get("pass_at_k")):
        return Section("probe", title, ["There is no probe/probe.json: the checkpoints have not been probed."])
    k = probe.get("k", "K")
    chosen = ", ".join(f"{d} {charts.step_label(c)}" for d, c in (probe.get("specialists") or {}).items())
    best = probe_tables.criterion_name(probe)
    text = [f"The framed checkpoint of each subdomain is its specialist, with the best {best}: {chosen or 'none yet'}."]
    tables = []
    if probe.get("margins"):
        text.append(
            "The lead is the difference to the runner-up on the same problems, with a 95% bootstrap interval over "
            "problems. It is a tie if the interval contains 0. The specialist was chosen on these problems, so its "
            "lead on others is smaller."
        )
        tables.append(Table("Specialists", probe_tables.specialist_rows(probe_tables.specialists(probe), k)))
    if probe.get("differences"):
        tables.append(Table("All figures of the probe", probe_tables.figure_rows(probe), folded=True))
    if racing := probe_tables.racing_sentence(probe.get("racing")):
        text.append(racing)
    figures = [charts.probe_heat(probe, "pass_at_k", f"Pass@{k}", framed=True)]
    if probe.get("pass_at_1") and k != 1:
        figures.append(charts.probe_heat(probe, "pass_at_1", "Pass@1", framed=False))
    if record.second_probe.get("pass_at_k"):
        second = ", ".join(f"{d} {charts.step_label(c)}" for d, c in record.second_probe["specialists"].items())
        text.append(f"The checkpoints of the second SFT were probed too; their specialists: {second}.")
        title_of_second = f"Pass@{record.second_probe['k']} after the second SFT"
        figures.append(charts.probe_heat(record.second_probe, "pass_at_k", title_of_second, framed=True))
    return Section("probe", title, text, figures, columns=True, tables=tables)


def rl_section(record: RunRecord) -> Section:
    title = "Reinforcement learning"
    if not record.rl:
        return Section("rl", title, ["There is no metrics.jsonl with RL steps: no stage has started."])
    done = [f"{stage} ({_steps(record, stage, len(lines))})" for _, stage, lines in curves.by_stage(record.rl)]
    spread = any(formats.known(line.get("completion_tokens_p10")) for line in record.rl)
    lengths = " For the completion length, the band contains the middle 80% of a step's rollouts." if spread else ""
    text = [f"Stages in order: {', '.join(done)}. {BANDS}{lengths}"]
    syncs = [line.get("sync") or {} for line in record.rl]
    gaps = [sync["logprob_gap"] for sync in syncs if formats.known(sync.get("logprob_gap"))]
    if gaps:
        text.append(
            "After each update, the log-probabilities of generators and trainer were compared on a fixed text: the "
            f"largest difference was {max(gaps):.2g} nats."
        )
    if retried := sum(bool(sync.get("retried")) for sync in syncs):
        text.append(f"{retried} of {len(syncs)} weight syncs needed a second attempt.")
    drawn = [curves.rl_curve(record.rl, curve) for curve in curves.RL_CURVES]
    drawn[1:1] = [curves.probe_accuracy_curve(record.rl, record.ends), curves.held_out_curve(record.rl)]
    return Section("rl", title, text, [f for f in drawn if f is not None], columns=True)


def _steps(record: RunRecord, stage: str, steps: int) -> str:
    """`12 steps`, `7 of 12 steps, target: ...`."""
    planned = record.planned_steps(stage)
    why = early_end(record.ends.get(stage, {}), planned)
    return ", ".join([steps_of(steps, planned), *([why] if why else [])])


def difficulty_section(record: RunRecord) -> Section:
    title = "Difficulty of the questions: p_c"
    weight = _weight(record)
    figure = difficulty.p_c_heat(record.rl, weight)
    if figure is None:
        return Section("difficulty", title, ["No RL step has recorded the p_c of its questions."])
    text = ["p_c is the share of correct rollouts of a question. A darker cell has more of the step's questions."]
    if weight and weight.weight != MgpoConfig.weight:
        text.append(
            f"The line is the weight {weight.weight} of a question; its axis is at the top. If all rollouts are wrong "
            "or all are correct (rings), all advantages are zero, and the line has the value of the nearest other p_c."
        )
    elif weight:
        text.append(
            "The line is the weight exp(-lambda * KL(p_c || 0.5)) of a question in MGPO for lambda = "
            f"{weight.lam:g}; its axis is at the top. If all rollouts are wrong (p_c = 0) or all are correct (p_c = "
            f"1), the formula gives {difficulty_weight(0.0, weight):.2g} (0 ln 0 = 0), but all advantages are zero: "
            "these questions (rings) do not change the model."
        )
        own = [f"{s['lam']:g} in {name}" for name, s in record.planned.items() if formats.known(s.get("lam"))]
        text += [f"Stages with their own lambda: {', '.join(own)}."] if own else []
    return Section("difficulty", title, text, [figure])


def _weight(record: RunRecord) -> AdvantageConfig | None:
    """The weight of the run; None if it is unknown, or a user's function that is not on this machine or that
    refuses a p_c of the chart: before a run it is called with multiples of 1 / group_size only."""
    lam, name = record.known("lambda"), record.known("weight") or MgpoConfig.weight
    if not formats.known(lam):
        return None
    sizes = [s["group_size"] for s in record.planned.values() if formats.known(s.get("group_size"))]
    config = AdvantageConfig(lam, weight=name)
    config = replace(config, group_size=max(sizes, default=config.group_size))
    try:
        for p_c in difficulty.CHARTED:
            difficulty_weight(p_c, config)
    except ConfigError:
        return None
    return config


def verify_section(record: RunRecord) -> Section:
    return verification.verify_section(record.rl)


def time_section(record: RunRecord) -> Section:
    title = "Time of a step"
    timed = [line for line in record.rl if line.get("seconds")]
    if not timed:
        return Section("time", title, ["No RL step has recorded its time."])
    totals = {part: sum(line["seconds"].get(part) or 0 for line in timed) for part in STEP_PARTS}
    total = sum(totals.values())
    shares = ", ".join(f"{part} {formats.percent(totals[part] / total)}" for part in totals) if total else "not known"
    text = [f"An RL step took {formats.duration(total / len(timed))} on average: {shares}."]
    if record.pipelined:
        text.append(
            "The run was pipelined (signal.schedule): completions were generated and verified ahead, in parallel with "
            "the updates. Here, generate is the time that a step waited for its completions, and verify is zero."
        )
    figures = [step_time.step_time(record.rl)]
    busy = step_time.utilisation(record.rl)
    if busy is None:
        text.append("This run has not recorded the busy share of its actors.")
    else:
        figures.append(busy)
        text.append(
            "The busy share is the part of a step's time in which an actor works; otherwise it waits for other actors. "
            "The percentage beside a name is the mean over all steps. A darker cell is a busier step."
        )
    return Section("time", title, text, figures)


def samples_section(record: RunRecord) -> Section:
    title = "Selected rollouts"
    stages = samples.stages(record.root, record.stages)
    found = [(stage, chosen) for stage in stages if (chosen := samples.stage_samples(record.root, stage))]
    answers = benchmark_answers(record.root, [m["name"] for m in ms.reached(record.summary)])
    if not found and not answers:
        return Section("samples", title, ["There are no rollout files: no RL step has been committed."])
    text = (
        "From the last step of each stage. best: the correct answer with the largest advantage. worst: the wrong "
        "answer with the most negative advantage. most surprising: the correct answer with the lowest probability."
    )
    search = [*samples.search_sample(record.root, stages), *answers]
    return Section("samples", title if found else "Answers", [text] if found else [], samples=found, search=search)
