"""The tables of the probing phase as rows of text, for report.html and the terminal: specialists, figures, racing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vt_ray.report import formats

Rows = list[list[str]]
CRITERIA = {
    "pass_at_k": "Pass@{k}",
    "pass_at_1": "Pass@1",
    "diversity": "different correct solution paths among {k} samples",
    "heldout_loss": "SFT loss on held-out examples",
}


def criterion_name(probe: Mapping[str, Any]) -> str:
    """The criterion in words. Tables of older versions have none: they chose by Pass@K."""
    return CRITERIA[probe.get("criterion", "pass_at_k")].format(k=probe.get("k", "K"))


def specialists(probe: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The specialist of each subdomain of probe.json: its Pass@K, and its lead over the runner-up if it is recorded."""
    places = {name: i for i, name in enumerate(probe["checkpoints"])}
    return [
        {
            "subdomain": d,
            "checkpoint": name,
            "pass_at_k": probe["pass_at_k"][d][places[name]],
            **(probe.get("margins") or {}).get(d, {}),
        }
        for d, name in probe["specialists"].items()
    ]


def specialist_rows(found: Sequence[Mapping[str, Any]], k: int) -> Rows:
    """A header and a row for each of `specialists`."""
    header = ["subdomain", "specialist", f"Pass@{k}", "runner-up", "lead, points", ""]
    return [
        header,
        *(
            [
                s["subdomain"],
                s["checkpoint"],
                formats.percent(s["pass_at_k"]),
                s.get("runner_up") or formats.UNKNOWN,
                _lead(s),
                ("tie" if s["tie"] else "clear") if "tie" in s else "",
            ]
            for s in found
        ),
    ]


def figure_rows(probe: Mapping[str, Any]) -> Rows:
    """A header and a row for each subdomain and checkpoint, with all figures of probe.json."""
    ks, k, checkpoints = probe["ks"], probe["k"], probe["checkpoints"]
    losses = probe.get("heldout_loss")
    header = ["subdomain", "checkpoint", "problems", *(f"Pass@{j}" for j in ks), "behind the specialist, points"]
    header += [f"answers in {k}", "entropy, nats", f"correct paths in {k}", *(["held-out loss"] if losses else [])]
    rows = [header]
    for d in probe["pass_at_k"]:
        for i, name in enumerate(checkpoints):
            diversity = [_number(probe[key][d][i]) for key in ("distinct_answers", "answer_entropy", "distinct_paths")]
            shares = [formats.percent(probe["pass_at"][str(j)][d][i]) for j in ks]
            behind = formats.points(probe["differences"][d][i]) if name != probe["specialists"][d] else ""
            row = [d, name, str(probe["problems"][d][i]), *shares, behind, *diversity]
            rows.append([*row, *([_number(losses[i], 4)] if losses else [])])
    return rows


def racing_sentence(racing: Mapping[str, Any] | None) -> str:
    """The samples that racing saved; "" without racing."""
    if not racing:
        return ""
    drawn, whole = racing["samples"], racing["samples_without_racing"]
    stops = sum(len(names) for names in racing["stopped"].values())
    return (
        f"Racing at an error rate of {racing['error']:g} for each subdomain drew {drawn:,} of {whole:,} samples "
        f"({1 - drawn / whole:.0%} saved): a checkpoint stopped in a subdomain {formats.times(stops)}."
    )


def _lead(specialist: Mapping[str, Any]) -> str:
    if "low" in specialist:
        return formats.points(specialist)
    # The criterion heldout_loss: a difference of losses without an interval.
    return f"{specialist['mean']:.4f} nats" if "mean" in specialist else formats.UNKNOWN


def _number(value: float | None, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if formats.known(value) else formats.UNKNOWN
