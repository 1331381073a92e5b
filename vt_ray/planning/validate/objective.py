"""Checks of the parts of `signal.mgpo` that are not the paper's: correction of the mismatch, CISPO, entropy bonus."""

from __future__ import annotations

from math import inf

from vt_ray.config import IMPORTANCE_BOUNDS, IMPORTANCE_MEANS, Config, MgpoConfig
from vt_ray.planning.validate.rules import Problems, at_least, one_of

AT = "signal.mgpo.importance"


def objective(c: Config) -> Problems:
    yield from _importance(c)
    yield from _cispo(c)
    yield from _entropy_bonus(c)


def _importance(c: Config) -> Problems:
    i = c.signal.mgpo.importance
    kind, low, high = i.kind, i.low or 0.0, i.high or 0.0
    yield from one_of(f"{AT}.kind", kind, tuple(IMPORTANCE_BOUNDS))
    yield from one_of(f"{AT}.mean", i.mean, IMPORTANCE_MEANS)
    if kind == "none" and (low or high):
        yield f"{AT}.low={i.low} and high={i.high} have no effect with kind=none: leave them out, or take another kind"
    if kind == "truncate" and (low or not 0 < high < inf):
        yield f"{AT}.low={i.low} must be 0 and high={i.high} above 0: kind=truncate has no lower bound; high=2 is usual"
    if kind in ("mask_token", "mask_sequence") and not 0 <= low < 1 < high < inf:
        usual = "{} and {} are the defaults".format(*IMPORTANCE_BOUNDS[kind])
        yield f"{AT}.low={i.low} must lie in [0, 1) and high={i.high} above 1, since a ratio of 1 must pass: {usual}"
    if i.mean == "arithmetic" and kind != "mask_sequence":
        yield f"{AT}.mean=arithmetic has no effect with kind={kind}: take kind=mask_sequence, or leave it out"
    yield from _clips_that_act(c.signal.mgpo)
    if kind == "mask_sequence" and c.learner.sequence_parallel_size > 1:
        yield (
            f"{AT}.kind=mask_sequence with learner.sequence_parallel_size={c.learner.sequence_parallel_size}: a rank "
            "holds only a slice of each sequence; take kind=mask_token, or size 1"
        )


def _clips_that_act(mgpo: MgpoConfig) -> Problems:
    """With a correction the ratio that the clips bound is 1. The sequence ratio needs clips of its own in any case."""
    if mgpo.loss != MgpoConfig.loss or mgpo.ratio != "token" or mgpo.importance.kind in (None, "none"):
        return
    plain = {"clip_low": (MgpoConfig.clip_low,), "clip_high": (MgpoConfig.clip_high,)}
    for name, usual in {**plain, "clip_dual": (0, MgpoConfig.clip_dual)}.items():
        if (value := getattr(mgpo, name)) not in usual:
            yield (
                f"signal.mgpo.{name}={value} has no effect with {AT}.kind={mgpo.importance.kind} (in bfloat16 the "
                f"default is truncate): set {AT}.kind=none, so that the clips act, or leave it out"
            )


def _cispo(c: Config) -> Problems:
    mgpo = c.signal.mgpo
    if mgpo.loss != "cispo":
        return
    if mgpo.importance.kind != "none":
        yield (
            f"signal.mgpo.loss=cispo with signal.mgpo.importance.kind={mgpo.importance.kind}: CISPO bounds the same "
            "ratio itself, by clip_low and clip_high; take kind=none"
        )
    if mgpo.ratio != "token":
        yield f"signal.mgpo.ratio={mgpo.ratio} with loss=cispo: CISPO has a ratio for each token; take ratio=token"
    if mgpo.clip_dual not in (0, MgpoConfig.clip_dual):
        yield f"signal.mgpo.clip_dual={mgpo.clip_dual} has no effect with loss=cispo: leave it out"


def _entropy_bonus(c: Config) -> Problems:
    bonus = c.signal.mgpo.entropy_bonus
    at = "signal.mgpo.entropy_bonus"
    yield from at_least(f"{at}.target", bonus.target, 0)
    if not bonus.target < inf:
        yield f"{at}.target={bonus.target} must be finite: 0.2 is Skywork-OR1's, 0 is off"
    if not 0 < bonus.step <= bonus.max_coef < inf:
        yield (
            f"{at}.step={bonus.step} must be above 0 and max_coef={bonus.max_coef} finite and at least step: "
            "Skywork-OR1's are 0.0001 and 0.005"
        )
