"""The coefficient of an entropy bonus, which adapts to keep the entropy of the policy near a target.

Skywork-OR1, arXiv 2505.22312, with the coefficient c and the entropy e of step k:

    c_0 = 0      c_(k+1) = c_k + step if e_k < target, else c_k - step, within [0, max_coef]
    loss of step k+1:  - c_(k+1) * sum_t w_t H_t  if e_k <= target, else no bonus

Skywork-OR1 measures e before the update, with a forward pass of its own; here it is the entropy of the last step, which
the update has computed anyway. The state is part of the learner's checkpoint, so a resumed run continues exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from vt_ray.config import EntropyBonusConfig

KEY = "entropy_bonus"


@dataclass
class EntropyBonus:
    """The state after the last step. `last_entropy` is its mean entropy of a token in nats, None before the first."""

    settings: EntropyBonusConfig = field(default_factory=EntropyBonusConfig)
    coefficient: float = 0.0
    last_entropy: float | None = None

    @property
    def on(self) -> bool:
        return self.settings.target > 0

    def active(self) -> float:
        """The coefficient in the loss of the next step."""
        low = self.last_entropy is not None and self.last_entropy <= self.settings.target
        return self.coefficient if self.on and low else 0.0

    def note(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Takes over the entropy of a step and returns the coefficient that acted in it; {} if the bonus is off.

        A step without an updated token, or whose entropy is not finite, changes nothing.
        """
        if not self.on or "entropy" not in metrics:
            return {}
        acted = {"entropy_coef": self.active()}
        entropy = metrics["entropy"] / (metrics["tokens"] or math.nan)
        if math.isfinite(entropy):
            change = self.settings.step if entropy < self.settings.target else -self.settings.step
            self.coefficient = min(max(self.coefficient + change, 0.0), self.settings.max_coef)
            self.last_entropy = entropy
        return acted

    def state(self) -> dict[str, list[float | None]]:
        """What a checkpoint holds of the bonus; empty if it is off."""
        return {KEY: [self.coefficient, self.last_entropy]} if self.on or self.last_entropy is not None else {}

    def restore(self, state: Mapping[str, list[float | None]]) -> None:
        coefficient, self.last_entropy = state.get(KEY, [0.0, None])
        self.coefficient = coefficient or 0.0
