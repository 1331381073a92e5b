"""Seconds of a step whose update begins while the last groups are generated, beside the plain on-policy step.

    python benchmarks/overlapped_update.py [--only tiny|smollm2] [--steps 5]

In the overlapped step a group goes to a learner rank as soon as its last completion has ended: the rank adds the
gradients of the group to those of the groups before. The last group of each rank takes the optimizer's step. Weights,
samples and denominators are those of the plain step, so the gradients are the same up to the order of the summation.
Steps of the two sides alternate. vt_ray itself has no overlapped step: this script tells what it would gain.

`arrived` is the time at which each group of an overlapped step had been generated, as a share of the generation time:
only what arrives early can be computed early. `idle_share` is the share of the cores' time that the plain step leaves
unused: no overlap can gain more. `grad_norm_difference` compares the gradients of both kinds of step on equal groups.
The script prints a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from our_step import THREADS, composed, open_run  # noqa: E402
from step_vs_trl import SETTINGS, Measured, counting_cpu  # noqa: E402


@dataclass
class Overlapped(Measured):
    """`arrived`: of each group of each step, the share of the generation time after which it had been generated."""

    arrived: list[float] = field(default_factory=list)


def add_gradients(actor: Any, shares: list, mgpo: Any, temperature: float, *rollouts: Any) -> None:
    """Runs on a rank: forward and backward of some groups, without the optimizer's step and without other ranks."""
    from vt_ray.actors.shards import rl_sequences
    from vt_ray.algorithms.packing import stack
    from vt_ray.engines.policy import forward

    engine = actor.engine
    row_loss = engine.mgpo_row_loss(mgpo, temperature)
    rows = engine.rows(rl_sequences(rollouts, shares)[0])
    for batch in stack(rows, engine.spec.learner.rows_per_batch):
        loss, _ = row_loss(*forward(engine.engine, batch.to(engine.device), temperature), batch)
        engine.engine.set_gradient_accumulation_boundary(False)
        engine.engine.backward(loss * engine.world_size, scale_wrt_gas=False)


def overlapped_step(run: Any, step: int, into: Overlapped) -> tuple[float, tuple[list, list]]:
    """One step, with the record and the sync of `mgpo_step`. Returns the norm of its gradients, and its groups."""
    import ray

    from vt_ray.signal_phase.batch import Batch
    from vt_ray.signal_phase.stage_run import step_prompts
    from vt_ray.signal_phase.sync import sync_weights

    began = time.monotonic()
    prompts, actors = step_prompts(run, step), run.learner.actors
    groups: list[Any] = []
    advantages: list[Any] = []
    times: list[float] = []
    pending: list[Any] = []
    last: list[tuple[list, list]] = [([], []) for _ in actors]
    for group in run.verifier.grade(run.generator.generate(prompts, run.sampling)):
        times.append(time.monotonic() - began)
        its_advantages = run.tracker.compute_advantages([group], run.first_version + step, run.advantage_config)
        share = share_of(run, group, its_advantages[0], len(prompts))
        rank = len(groups) % len(actors)
        groups.append(group)
        advantages += its_advantages
        if len(groups) > len(prompts) - len(actors):
            last[rank] = ([share], [group.rollouts])
        else:
            arguments = ([share], run.signal.mgpo, run.stage.temperature, group.rollouts)
            pending.append(actors[rank].__ray_call__.remote(add_gradients, *arguments))
    calls = [
        actor.update_shard.remote(shares, run.signal.mgpo, run.stage.temperature, *rollouts)
        for actor, (shares, rollouts) in zip(actors, last, strict=True)
    ]
    metrics = ray.get([*pending, *calls])[-1]
    batch = Batch(groups, advantages, prompts=prompts)
    path = run.paths.rollout_file(step + 1)
    run.recorder.write(path, run.stage.name, step + 1, groups, advantages, batch.fates)
    sync_weights(run.learner, run.generator, run.first_version + step + 1, run.fingerprint, run.signal.sync)
    into.seconds.append(time.monotonic() - began)
    into.arrived += [seconds / times[-1] for seconds in times]
    return metrics["grad_norm"], (groups, advantages)


def share_of(run: Any, group: Any, advantages: Any, num_groups: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The part of a rank, whose denominator 1/N is known before the other groups: every group has a valid sample."""
    from vt_ray.algorithms.aggregation import completion_token_weights

    (weights,) = completion_token_weights([group], run.signal.mgpo.aggregation, run.stage.max_new_tokens)
    return tuple(weight / num_groups for weight in weights), advantages.advantages


def plain_step(run: Any, step: int, into: Measured) -> None:
    from vt_ray.signal_phase.loop import OnPolicy, mgpo_step

    into.seconds.append(mgpo_step(run, step, OnPolicy(run))["seconds"]["total"])


def gradient_difference(run: Any, norm: float, groups: tuple[Sequence, Sequence]) -> float:
    """The relative difference to the norm of a plain update on the same groups, after one step of a tiny learning
    rate."""
    graded, advantages = groups
    settings = run.signal.mgpo, run.stage.temperature, run.stage.max_new_tokens
    plain: float = run.learner.update(graded, advantages, *settings)["grad_norm"]
    return abs(plain - norm) / plain


def measured(name: str, steps: int, folder: Path) -> dict[str, Any]:
    setting = SETTINGS[name]
    config = composed(setting, 2 * steps + 3)
    plain, overlapped = Measured(), Overlapped()
    with ExitStack() as opened:
        run, _ = open_run(opened, config, folder)
        plain_step(run, 0, Measured())
        overlapped_step(run, 1, Overlapped())
        for step in range(2, 2 * steps + 2, 2):
            with counting_cpu(plain, 1):
                plain_step(run, step, plain)
            with counting_cpu(overlapped, 1):
                overlapped_step(run, step + 1, overlapped)
        norm, groups = overlapped_step(run, 2 * steps + 2, Overlapped())
        difference = gradient_difference(run, norm, groups)
    sides = {"plain": plain, "overlapped": overlapped}
    gains = [a / b for a, b in zip(plain.seconds, overlapped.seconds, strict=True)]
    return {
        "gain": round(median(gains), 3),
        "gains": [round(gain, 3) for gain in gains],
        "seconds": {side: [round(s, 2) for s in found.seconds] for side, found in sides.items()},
        "cpu_seconds": {side: round(median(found.cpu_seconds), 2) for side, found in sides.items()},
        "idle_share": round(1 - fmean(plain.cpu_seconds) / (THREADS * fmean(plain.seconds)), 3),
        "arrived": sorted(round(share, 3) for share in overlapped.arrived),
        "grad_norm_difference": round(difference, 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(SETTINGS), default="smollm2")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each side")
    parser.add_argument("--runs", type=Path, default=Path("runs/overlapped_update"), help="it is replaced")
    arguments = parser.parse_args()
    folder = arguments.runs.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(json.dumps(measured(arguments.only, arguments.steps, folder)))


if __name__ == "__main__":
    main()
