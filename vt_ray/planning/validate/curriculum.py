"""Checks of the stages of the signal phase and of their gates."""

from __future__ import annotations

import re

from vt_ray.config import OPTIMIZER_STATES, SAMPLINGS, TRUNCATED, Config, GateConfig, StageConfig
from vt_ray.data.roles import sources_for
from vt_ray.planning.validate.rules import Problems, at_least, one_of, sampling
from vt_ray.run.milestone_names import BEFORE_RL, SELF_DISTIL


def curriculum(c: Config) -> Problems:
    if "rl" not in c.phases:
        return
    stages = c.curriculum.stages
    if not stages:
        yield "curriculum.stages is empty: give at least one stage"
    names = [stage.name for stage in stages]
    taken = {*BEFORE_RL, SELF_DISTIL}
    for name in names:
        if names.count(name) > 1 or name in taken or not re.fullmatch(r"[\w-]+", name):
            yield f"curriculum stage name {name!r} must be unique, of letters, digits, _ - and none of {sorted(taken)}"
    for stage in stages:
        at = f"curriculum.stages[{stage.name}]"
        yield from at_least(f"{at}.steps", stage.steps, 1)
        yield from at_least(f"{at}.prompts_per_step", stage.prompts_per_step, 1)
        yield from sampling(at, stage.temperature, stage.top_p, stage.max_new_tokens)
        if stage.group_size < 2:
            yield f"{at}.group_size={stage.group_size}: one completion has no advantage; take at least 2, 8 is usual"
        if stage.top_p != 1.0:
            yield f"{at}.top_p={stage.top_p}: the importance ratio needs untruncated sampling; set it to 1"
        yield from _stage_options(at, stage, c)
        made_only = bool(c.data.train_per_subdomain) and not sources_for(c.data, "rl")
        for subdomain in stage.subdomains if made_only else ():
            yield from one_of(f"{at}.subdomains", subdomain, tuple(c.data.subdomains))
        pool = c.data.train_per_subdomain * len(set(stage.subdomains or c.data.subdomains) & set(c.data.subdomains))
        if not sources_for(c.data, "rl") and stage.prompts_per_step > pool:
            yield (
                f"{at}.prompts_per_step={stage.prompts_per_step} exceeds its pool of {pool} training problems: "
                "lower it, raise data.train_per_subdomain or check the stage's subdomains"
            )


def _stage_options(at: str, stage: StageConfig, c: Config) -> Problems:
    yield from one_of(f"{at}.optimizer_state", stage.optimizer_state, OPTIMIZER_STATES)
    if stage.optimizer_state == "keep" and stage is c.curriculum.stages[0]:
        yield f"{at}.optimizer_state=keep: the first stage has none before it to take the state from; set it to reset"
    yield from one_of(f"{at}.truncated", stage.truncated, TRUNCATED)
    yield from one_of(f"{at}.sampling", stage.sampling, SAMPLINGS)
    if stage.sampling == "tracker" and c.signal.schedule == "pipelined":
        yield (
            f"{at}.sampling=tracker with signal.schedule=pipelined: the questions generated ahead would depend on "
            "timing; set sampling=shuffle or schedule=on_policy"
        )
    if stage.lr is not None and not 0 < stage.lr < 1:
        yield f"{at}.lr={stage.lr} must lie in (0, 1): 1e-6 is usual for RL on a pretrained model"
    if not 0 <= stage.length_reward < 1:
        yield (
            f"{at}.length_reward={stage.length_reward} must lie in [0, 1): 0.2 is Long2Short's; with 1 a long right "
            "answer would have the reward of a wrong one"
        )
    if stage.filter_samples and stage.filter_samples < 2:
        yield f"{at}.filter_samples={stage.filter_samples}: one sample is never right and wrong; take 8, or 0 for none"
    yield from at_least(f"{at}.filter_samples", stage.filter_samples, 0)
    yield from at_least(f"{at}.refill_rounds", stage.refill_rounds, 0)
    yield from _gate(f"{at}.gate", stage.gate, c)


def _gate(at: str, gate: GateConfig, c: Config) -> Problems:
    for name in ("min_steps", "eval_every", "plateau_evals", "plateau_delta"):
        yield from at_least(f"{at}.{name}", getattr(gate, name), 0)
    for name in ("samples", "window"):
        yield from at_least(f"{at}.{name}", getattr(gate, name), 1)
    for name in ("target", "max_truncated_share"):
        if not 0 <= getattr(gate, name) <= 1:
            yield f"{at}.{name}={getattr(gate, name)} must lie in [0, 1]"
    if (gate.target or gate.plateau_evals) and not gate.eval_every:
        yield f"{at} has a limit of probe accuracy, but {at}.eval_every=0 never measures it: set it, 20 is usual"
