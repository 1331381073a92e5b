"""The gate after fusion: compares Pass@K of the fused model with the best specialist's on the probing problems.

probe/<checkpoint>.json, fused/fused_on_probe.json --paired by problem--> fused/gate.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vt_ray.algorithms.pass_at_k import pass_at_k
from vt_ray.config import Config
from vt_ray.evaluation.sampling import mean
from vt_ray.evaluation.statistics import paired_difference
from vt_ray.run.checkpoint import exists, read_json
from vt_ray.run.milestone_names import spectrum_stages
from vt_ray.run.paths import FusedPaths

# Pass@K of a model by problem.
ByProblem = Mapping[str, float]
# With fewer problems, the bootstrap interval is too narrow to decide.
MIN_PROBLEMS = 10
_NAMES = {"rl": "RL", "rejection": "Rejection sampling", "self_distil": "Self-distillation"}


def by_problem(scores: Path, k: int) -> ByProblem:
    """{question id: Pass@k} from a file of scores. Problems without any verdict are left out."""
    found = read_json(scores)["scores"]
    return {s["question_id"]: pass_at_k(s["valid"], s["correct"], min(k, s["valid"])) for s in found if s["valid"]}


def common_problems(measured: Mapping[str, ByProblem]) -> set[str]:
    """The problems that all specialists have answered, so that their means can be compared.

    With racing, a checkpoint may lack the problems of a subdomain in which it could not win. If no problem is left, it
    is all problems.
    """
    answered = [set(scores) for scores in measured.values()]
    return set.intersection(*answered) or set.union(*answered)


def mean_over(scores: ByProblem, problems: set[str]) -> float:
    return mean(value for question, value in scores.items() if question in problems)


def judge(measured: Mapping[str, ByProblem], fused: ByProblem, k: int) -> dict[str, Any]:
    """The content of gate.json: the best specialist, both mean scores, their difference, and whether fusion `lost`.

    `lost` is True if the 95% interval of fused - best specialist, a bootstrap over problems, is below zero. The best
    specialist was chosen on the same problems, so the difference is rather too low than too high.
    """
    problems = common_problems(measured)
    best = max(measured, key=lambda name: mean_over(measured[name], problems))
    shared = sorted(measured[best].keys() & fused.keys())
    before, after = ({q: scores[q] for q in shared} for scores in (measured[best], fused))
    difference = paired_difference(before, after) if len(shared) >= MIN_PROBLEMS else None
    return {
        "k": k,
        "problems": len(shared),
        "specialist": best,
        "specialist_pass_at_k": mean(before.values()),
        "fused_pass_at_k": mean(after.values()),
        "difference": difference.as_dict() if difference else None,
        "lost": difference is not None and difference.high < 0,
    }


def gate_sentence(gate: Mapping[str, Any]) -> str:
    """The decision of the gate in words, for the screen and the report."""
    scores = (
        f"Pass@{gate['k']} on {gate['problems']} probing problems is {gate['fused_pass_at_k']:.1%} for the fused model "
        f"and {gate['specialist_pass_at_k']:.1%} for the best specialist, {gate['specialist']}"
    )
    if (moved := gate["difference"]) is None:
        return f"{scores}. With fewer than {MIN_PROBLEMS} problems, the gate does not decide."
    moved_by, low, high = (100 * moved[key] for key in ("mean", "low", "high"))
    points = f"a difference of {moved_by:+.1f} [{low:+.1f}, {high:+.1f}] points"
    if not gate["lost"]:
        return f"{scores}: {points}. Fusion has not lost Pass@{gate['k']} beyond chance."
    if gate.get("fallback"):
        return f"Fusion lost Pass@{gate['k']}: the run goes on with the best specialist. {scores}: {points}."
    return f"Fusion lost Pass@{gate['k']}. {scores}: {points}."


def stop_message(config: Config, run: Path) -> str:
    """Why the run in the folder `run` ends after fusion: fusion lost Pass@K, and spectrum.fusion.on_loss=stop.

    "" if the run goes on, or has no phase after fusion.
    """
    later = [phase for phase in config.phases if phase in ("rl", "rejection", "self_distil")]
    if "fuse" not in config.phases or not later or config.spectrum.fusion.on_loss != "stop":
        return ""
    gate = FusedPaths(run / spectrum_stages(asdict(config))[-1].fused).gate
    found = read_json(gate) if exists(gate) else {"lost": False}  # an older version has no gate
    if not found["lost"]:
        return ""
    return (
        f"{gate_sentence(found)} {_NAMES[later[0]]} has not started, because spectrum.fusion.on_loss=stop. To go on, "
        "set it to best or continue and another run_name=...: the new run reuses SFT and probing"
    )
