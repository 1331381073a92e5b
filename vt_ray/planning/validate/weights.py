"""Checks of the weight of a question, of Pass@K advantages and of the overlong penalty."""

from __future__ import annotations

from vt_ray.config import ADVANTAGE_NORMS, Config, MgpoConfig, StageConfig
from vt_ray.planning.validate.rules import Problems, no_error, one_of

# Weights whose sources define the whole advantage: it has a denominator of its own.
WHOLE_ADVANTAGES = ("maxrl", "dgpo", "mcpo")


def weights(c: Config) -> Problems:
    mgpo = c.signal.mgpo
    yield from one_of("signal.mgpo.advantage_norm", mgpo.advantage_norm, ADVANTAGE_NORMS)
    if mgpo.weight == MgpoConfig.weight:
        if not 0 <= mgpo.lam < float("inf"):
            yield f"signal.mgpo.lam={mgpo.lam} must be finite and >= 0: 0 is GRPO, the sweep is 0, 0.5, 1, 2"
    else:
        yield from no_error(_weight, c)
        if mgpo.lam != MgpoConfig.lam:
            yield f"signal.mgpo.lam={mgpo.lam} has no effect with signal.mgpo.weight={mgpo.weight}: leave it out"
    if mgpo.weight in WHOLE_ADVANTAGES and mgpo.advantage_norm == "none":
        yield (
            f"signal.mgpo.advantage_norm=none with signal.mgpo.weight={mgpo.weight}, whose advantages "
            "contain their denominator: leave out advantage_norm"
        )
    for stage in c.curriculum.stages if "rl" in c.phases else ():
        yield from _stage(f"curriculum.stages[{stage.name}]", stage, mgpo)


def _stage(at: str, stage: StageConfig, mgpo: MgpoConfig) -> Problems:
    if stage.lam is not None and mgpo.weight != MgpoConfig.weight:
        yield f"{at}.lam={stage.lam} has no effect with signal.mgpo.weight={mgpo.weight}: leave it out"
    elif stage.lam is not None and not 0 <= stage.lam < float("inf"):
        yield f"{at}.lam={stage.lam} must be finite and >= 0: 0 is GRPO"
    if not 0 <= stage.overlong_buffer <= stage.max_new_tokens:
        yield (
            f"{at}.overlong_buffer={stage.overlong_buffer} must lie in 0..max_new_tokens={stage.max_new_tokens}: DAPO "
            "takes a fifth of it, 0 is off"
        )
    if stage.pass_k == 0:
        return
    if not 2 <= stage.pass_k <= stage.group_size:
        yield (
            f"{at}.pass_k={stage.pass_k} must be 0 (Pass@1) or lie in 2..group_size={stage.group_size}: Pass@K is "
            "estimated from a group of at least K completions"
        )
    if stage.length_reward or stage.overlong_buffer:
        name = "length_reward" if stage.length_reward else "overlong_buffer"
        yield (
            f"{at}.pass_k={stage.pass_k} with {name}={getattr(stage, name)}: Pass@K needs binary rewards; set one of "
            "them to 0"
        )
    if mgpo.weight in WHOLE_ADVANTAGES:
        yield (
            f"{at}.pass_k={stage.pass_k} with signal.mgpo.weight={mgpo.weight}: both define the advantage; set "
            "signal.mgpo.weight=none or mgpo, or pass_k=0"
        )
    if mgpo.advantage_norm == "none":
        yield (
            f"{at}.pass_k={stage.pass_k} with signal.mgpo.advantage_norm=none: Pass@K advantages are not normalised in "
            "any case; leave out advantage_norm"
        )


def _weight(c: Config) -> None:
    # The import loads numpy and the user's module, so only a weight other than the paper's pays for it.
    from vt_ray.algorithms.weights import refuse_bad_weight

    refuse_bad_weight(c.signal.mgpo.weight, [stage.group_size for stage in c.curriculum.stages])
