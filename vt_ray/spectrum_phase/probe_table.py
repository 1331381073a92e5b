"""The table of the probing phase, probe.json: figures of each checkpoint in each subdomain, and the specialists.

{checkpoint: [ProbeScore]} --means over problems, paired bootstrap--> figures, specialists, margins, racing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vt_ray.config import ProbeConfig
from vt_ray.evaluation.sampling import mean, scored
from vt_ray.evaluation.statistics import paired_difference, widened
from vt_ray.spectrum_phase.probe_scores import CRITERIA, DIVERSITY, ProbeScore, pass_at

Scores = Mapping[str, Sequence[ProbeScore]]
# The figure of probe.json that each criterion maximises.
FIGURES = {"pass_at_k": "pass_at_k", "pass_at_1": "pass_at_1", "diversity": "distinct_paths"}


def probe_table(
    measured: Scores,
    probe: ProbeConfig,
    losses: Mapping[str, float] | None = None,
    stopped: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, Any]:
    """The content of probe.json.

    measured: {checkpoint: its scores}, in the order of the trajectory.
    losses: {checkpoint: SFT loss on held-out examples in nats per token}, for the criterion heldout_loss.
    stopped: {subdomain: {checkpoint: problems that it answered}} of the checkpoints that the race stopped.

    The specialist of a subdomain is the best by the criterion of the checkpoints that did not stop. Between equal ones
    the higher Pass@K decides, then the higher Pass@1, then the later checkpoint. Lists are in the order of
    `checkpoints`. Figures are means over the problems with a verdict; None if no problem has the figure. In a subdomain
    with a stopped checkpoint, `best_pass_at_1` compares the problems that all checkpoints have answered. Raises
    RuntimeError if a checkpoint has no problem with a verdict, or no loss for the criterion heldout_loss.
    """
    losses, stopped = losses or {}, stopped or {}
    if probe.criterion == "heldout_loss" and (missing := [name for name in measured if name not in losses]):
        raise RuntimeError(f"SFT has recorded no held-out loss of {missing[0]}: take another spectrum.probe.criterion")
    names, ks = list(measured), sorted({1, probe.k, *probe.ks})
    valid = [scored(measured[name]) for name in names]
    subdomains = sorted({s.subdomain for scores in valid for s in scores})
    parts = {d: [[s for s in scores if s.subdomain == d] for scores in valid] for d in subdomains}
    table: dict[str, Any] = {
        "k": probe.k,
        "ks": ks,
        "criterion": probe.criterion,
        "checkpoints": names,
        # 0.0 for a checkpoint without any verdict in a subdomain.
        "pass_at_k": {d: [mean(s.pass_at(probe.k) for s in p) for p in parts[d]] for d in subdomains},
        "pass_at_1": {d: [mean(s.pass_at_1 for s in p) for p in parts[d]] for d in subdomains},
        "pass_at": {str(k): {d: [mean(s.pass_at(k) for s in p) for p in parts[d]] for d in subdomains} for k in ks},
        **{key: {d: [_mean(key, p, probe.k) for p in parts[d]] for d in subdomains} for key in DIVERSITY},
        "heldout_loss": [losses.get(name) for name in names] if losses else None,
        "problems": {d: [len(p) for p in parts[d]] for d in subdomains},
    }
    orders = {d: _order(table, d, set(stopped.get(d, ()))) for d in subdomains}
    table["specialists"] = {d: names[order[0]] for d, order in orders.items()}
    compared = {d: _common(parts[d]) if stopped.get(d) else parts[d] for d in subdomains}
    overall = [mean(mean(s.pass_at_1 for s in compared[d][i]) for d in subdomains) for i in range(len(names))]
    table["best_pass_at_1"] = names[max(range(len(names)), key=lambda i: (overall[i], i))]
    table["differences"] = {
        d: [_difference(parts[d][orders[d][0]], part, probe) for part in parts[d]] for d in subdomains
    }
    table["margins"] = {d: _margin(table, d, order) for d, order in orders.items() if len(order) > 1}
    if probe.racing:
        table["racing"] = {"error": probe.racing, "stopped": stopped, **_samples(measured, probe)}
    return table


def _common(parts: Sequence[Sequence[ProbeScore]]) -> list[list[ProbeScore]]:
    """The scores of the problems that all checkpoints have: a checkpoint that stopped may have only the easy ones."""
    shared = set.intersection(*({s.question_id for s in part} for part in parts))
    return [[s for s in part if s.question_id in shared] for part in parts]


def _mean(key: str, scores: Sequence[ProbeScore], k: int) -> float | None:
    values = [value for s in scores if (value := DIVERSITY[key](s, k)) is not None]
    return mean(values) if values else None


def _order(table: Mapping[str, Any], subdomain: str, stopped: set[str]) -> list[int]:
    """The places of the checkpoints, the best one first. Checkpoints that the race stopped are last."""

    def rank(i: int) -> tuple[Any, ...]:
        if table["criterion"] == "heldout_loss":
            value = -table["heldout_loss"][i]
        else:
            value = table[FIGURES[table["criterion"]]][subdomain][i] or 0.0
        others = (table[key][subdomain][i] for key in ("pass_at_k", "pass_at_1"))
        return (table["checkpoints"][i] not in stopped, value, *others, i)

    return sorted(range(len(table["checkpoints"])), key=rank, reverse=True)


def _difference(best: Sequence[ProbeScore], other: Sequence[ProbeScore], probe: ProbeConfig) -> dict[str, float] | None:
    """The criterion's figure of the specialist minus that of another checkpoint, over the problems of both.

    For the criterion heldout_loss it is Pass@K.
    """
    figure = CRITERIA.get(probe.criterion, pass_at)
    one, two = ({s.question_id: figure(s, probe.k) for s in scores} for scores in (best, other))
    shared = one.keys() & two.keys()
    if not shared:
        return None
    found = paired_difference({q: two[q] for q in shared}, {q: one[q] for q in shared})
    return widened(found, len(shared)).as_dict()


def _margin(table: Mapping[str, Any], subdomain: str, order: Sequence[int]) -> dict[str, Any]:
    """The runner-up of a subdomain, and the specialist's lead over it with its interval.

    `tie` is True if the interval contains 0, so that the lead may be chance. The specialist has won on these problems,
    so the lead is larger than on others. For the criterion heldout_loss the lead in loss has no interval.
    """
    runner_up = {"runner_up": table["checkpoints"][order[1]]}
    if table["criterion"] == "heldout_loss":
        best, second = (table["heldout_loss"][i] for i in order[:2])
        return {**runner_up, "mean": second - best, "tie": second == best}
    found = table["differences"][subdomain][order[1]]
    if found is None:
        return {**runner_up, "tie": True}
    return {**runner_up, **found, "tie": found["low"] <= 0 <= found["high"]}


def _samples(measured: Scores, probe: ProbeConfig) -> dict[str, int]:
    """The number of samples that the race has drawn, and the number that all checkpoints would have drawn."""
    problems = {s.question_id for scores in measured.values() for s in scores}
    drawn = sum(s.samples for scores in measured.values() for s in scores)
    return {"samples": drawn, "samples_without_racing": len(measured) * len(problems) * probe.samples}
