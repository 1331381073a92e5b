"""The parts of report.html about training: SFT, probing, RL, difficulty, verification, time, rollouts."""

from __future__ import annotations

from vt_ray.report import formats
from vt_ray.report.html import Section
from vt_ray.report.metrics import STEP_PARTS
from vt_ray.report.run_page import charts, curves, difficulty, samples, step_time, verification
from vt_ray.report.run_record import RunRecord
from vt_ray.run.stage_ends import early_end, steps_of

BANDS = "Thin lines are single steps, thick lines a moving mean, bands its 95% interval from how the steps scatter."


def sft_section(record: RunRecord) -> Section:
    title = "Supervised fine-tuning"
    if not record.sft:
        return Section("sft", title, ["There is no sft/metrics.jsonl: this run has no SFT steps to show."])
    seconds = sum(line.get("seconds") or 0 for line in record.sft)
    tokens = sum(line.get("tokens") or 0 for line in record.sft)
    says = (
        f"{formats.thousands(len(record.sft))} steps, {formats.thousands(tokens)} tokens in "
        f"{formats.duration(seconds)} ({formats.rate(tokens, seconds)} tokens/s). {BANDS}"
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
    came = [f"{stage} ({_came(record, stage, len(lines))})" for _, stage, lines in curves.by_stage(record.rl)]
    spread = any(formats.known(line.get("completion_tokens_p10")) for line in record.rl)
    lengths = " For the completion length the band holds the middle 80% of a step's rollouts." if spread else ""
    says = [f"Stages in order: {', '.join(came)}. {BANDS}{lengths}"]
    syncs = [line.get("sync") or {} for line in record.rl]
    gaps = [sync["logprob_gap"] for sync in syncs if formats.known(sync.get("logprob_gap"))]
    if gaps:
        says.append(
            "After each update the generators' log-probabilities were compared with the trainer's on a fixed "
            f"text: the largest gap was {max(gaps):.2g} nats."
        )
    if retried := sum(bool(sync.get("retried")) for sync in syncs):
        says.append(f"{retried} of {len(syncs)} weight syncs had to be tried a second time.")
    drawn = [curves.rl_curve(record.rl, curve) for curve in curves.RL_CURVES]
    drawn.insert(1, curves.probe_accuracy_curve(record.rl, record.ends))
    return Section("rl", title, says, [f for f in drawn if f is not None], columns=True)


def _came(record: RunRecord, stage: str, steps: int) -> str:
    """`12 steps`, `7 of 12 steps, target: ...`."""
    planned = record.planned_steps(stage)
    why = early_end(record.ends.get(stage, {}), planned)
    return ", ".join([steps_of(steps, planned), *([why] if why else [])])


def difficulty_section(record: RunRecord) -> Section:
    title = "Difficulty of the questions: p_c"
    lam = record.known("lambda")
    lam = lam if formats.known(lam) else None
    figure = difficulty.p_c_heat(record.rl, lam)
    if figure is None:
        return Section("difficulty", title, ["No RL step has recorded how its questions spread over p_c."])
    says = ["p_c is the share of a question's rollouts that are correct; darker means more of the step's questions."]
    if lam is not None:
        says.append(
            f"The line is the weight exp(-lambda * KL(p_c || 0.5)) that MGPO gives to a question, at lambda = {lam:g}, "
            "against the axis above. Where all rollouts are wrong (p_c = 0) or all right (1) the formula gives "
            f"{difficulty.weight(0, lam):.2g}, with 0 ln 0 = 0, but every advantage is zero there: such questions "
            "(rings) teach nothing."
        )
        own = [f"{s['lam']:g} in {name}" for name, s in record.planned.items() if formats.known(s.get("lam"))]
        says += [f"Stages with a lambda of their own: {', '.join(own)}."] if own else []
    return Section("difficulty", title, says, [figure])


def verify_section(record: RunRecord) -> Section:
    return verification.verify_section(record.rl)


def time_section(record: RunRecord) -> Section:
    title = "Where the time went"
    timed = [line for line in record.rl if line.get("seconds")]
    if not timed:
        return Section("time", title, ["No RL step has been timed."])
    totals = {part: sum(line["seconds"].get(part) or 0 for line in timed) for part in STEP_PARTS}
    whole = sum(totals.values())
    shares = ", ".join(f"{part} {formats.percent(totals[part] / whole)}" for part in totals) if whole else "not known"
    says = [f"An RL step took {formats.duration(whole / len(timed))} on average: {shares}."]
    if record.pipelined:
        says.append(
            "The run was pipelined (signal.schedule): completions were generated and verified ahead, beside the "
            "updates. So generate is what a step still waited for them, and nothing is left to verify."
        )
    figures = [step_time.step_time(record.rl)]
    busy = step_time.utilisation(record.rl)
    if busy is None:
        says.append("How busy each actor was has not been recorded by this run.")
    else:
        figures.append(busy)
        says.append(
            "An actor is busy while it works at the step, by the clock; idle, it waits for the others. The percentage "
            "beside its name is its mean over all steps, a darker cell a busier step."
        )
    return Section("time", title, says, figures)


def samples_section(record: RunRecord) -> Section:
    title = "Rollouts worth reading"
    stages = samples.stages(record.root, record.stages)
    found = [(stage, chosen) for stage in stages if (chosen := samples.stage_samples(record.root, stage))]
    if not found:
        return Section("samples", title, ["There are no rollout files to read: no RL step has been committed."])
    says = (
        "From the last step of each stage. The best is the correct answer with the largest advantage, the worst the "
        "wrong one with the most negative, the most surprising the correct one that the model found least likely."
    )
    return Section("samples", title, [says], samples=found, search=samples.search_sample(record.root, stages))
