"""Where does MGPO pay? Softmax bandits with a known difficulty spectrum, false verdicts and group size, on one core.

    python benchmarks/mgpo_regimes.py --output runs/mgpo_regimes        (75 s of CPU; docs/mgpo_regimes.md)

The policy of a question is a softmax over ANSWERS answers, of which one is correct, with the logits b + f . theta. b is
fixed and gives the start accuracies of the spectrum. theta is shared by all questions, so that a step on one question
changes the others. The features f of an answer have three parts. The first part is a direction that all correct
answers share (the skill). The second part is a direction that makes the distribution of each question sharper (clipped
b). The third part is noise that differs between answers.

A run asks batches of training questions, draws G answers to each, falsifies verdicts, and makes one Adam step with the
advantages of `algorithms.mgpo` and `algorithms.weights`, the functions that vt_ray trains with. The result is the exact
accuracy on held-out questions. All weights see the same questions, batches and uniform numbers: differences from GRPO
are paired by seed. The script prints a table and writes OUTPUT.html (maps) and OUTPUT.jsonl (every cell).
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vt_ray.algorithms.mgpo import group_accuracy, group_advantages
from vt_ray.algorithms.weights import advantage_norm, difficulty_weight
from vt_ray.records import AdvantageConfig

# Beta distributions of the start accuracies. "demo" has the demo's Pass@1 of 37.5% and Pass@8 of 58% before RL; "early"
# is fitted to its probing problems after 280 of 700 SFT steps (mean 13%).
SPECTRA = {
    "centred": (4.0, 4.0),
    "flat": (1.0, 1.0),
    "U-shaped": (0.3, 0.3),
    "demo": (0.187, 0.312),
    "early": (0.28, 1.88),
    "mostly solved": (1.7, 0.3),
}
GROUP_SIZES = (4, 8, 16, 32)
# The probability that a wrong completion is called correct, and a correct one wrong.
FALSE_VERDICTS = ((0.0, 0.0), (0.1, 0.1), (0.2, 0.2), (0.1, 0.0), (0.2, 0.0))
# The first one is the baseline, with which all others are compared.
WEIGHTS = {
    "GRPO": AdvantageConfig(0.0),
    **{f"lambda {lam:g}": AdvantageConfig(lam) for lam in (0.5, 1.0, 2.0, 4.0)},
    "no std": AdvantageConfig(0.0, "none"),
    **{name: AdvantageConfig(1.0, weight=name) for name in ("maxrl", "dgpo", "mcpo")},
}
METRICS = ("Pass@1", "Pass@8")
# Questions, steps and batch are the demo's. With these strengths of the features, GRPO's 50 steps change Pass@1 and
# Pass@8 about as those of the demo do.
ANSWERS, FEATURES, TRAINING, HELD_OUT = 4, 64, 320, 128
SKILL, SHARPNESS, NOISE = 0.2, 1.0, 1.0
BATCH, STEPS, WARMUP = 32, 50, 10
RATE, BETAS = 0.03, (0.9, 0.95)
# Seeds that are computed at once: more do not fit into the caches.
TOGETHER = 50


@dataclass(frozen=True)
class Regime:
    spectrum: str
    group_size: int = 8
    false_correct: float = 0.0
    false_wrong: float = 0.0
    steps: int = STEPS


@dataclass
class Questions:
    """`features` [seeds, questions, answers, features] and `start` logits [seeds, questions, answers]. Answer 0 is
    correct."""

    features: np.ndarray
    start: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator, seeds: int, count: int, spectrum: str) -> Questions:
        accuracy = rng.beta(*SPECTRA[spectrum], (seeds, count)).clip(1e-6, 1 - 1e-6)
        wrong = rng.normal(size=(seeds, count, ANSWERS - 1))
        wrong -= np.log(np.exp(wrong).sum(-1, keepdims=True))
        right = np.log(accuracy / (1 - accuracy))[..., None]
        start = np.concatenate([right, wrong], -1).astype(np.float32)
        features = rng.normal(scale=NOISE / np.sqrt(FEATURES), size=(*start.shape, FEATURES)).astype(np.float32)
        features[:, :, 0] += SKILL / np.sqrt(FEATURES)
        features[..., 0] = SHARPNESS * start.clip(-3, 3)
        return cls(features, start)

    def probabilities(self, theta: np.ndarray) -> np.ndarray:
        """[weights, seeds, questions, answers] for theta [weights, seeds, features]."""
        seeds, count = self.start.shape[:2]
        flat = self.features.reshape(seeds, count * ANSWERS, FEATURES)
        moved = (flat @ theta.transpose(1, 2, 0)).transpose(2, 0, 1).reshape(-1, seeds, count, ANSWERS)
        unnormalised = np.exp(self.start + moved)
        return unnormalised / unnormalised.sum(-1, keepdims=True)

    def chosen(self, which: np.ndarray) -> Questions:
        """The questions `which` [seeds, batch]."""
        rows = np.arange(len(which))[:, None]
        return Questions(self.features[rows, which], self.start[rows, which])


def final_scores(regime: Regime, seeds: Sequence[int], weights: Sequence[AdvantageConfig]) -> np.ndarray:
    """METRICS of the held-out questions after training, [weights, seeds, metrics], in points."""
    rng = np.random.default_rng([*seeds])
    training = Questions.drawn(rng, len(seeds), TRAINING, regime.spectrum)
    held_out = Questions.drawn(rng, len(seeds), HELD_OUT, regime.spectrum)
    theta = np.zeros((len(weights), len(seeds), FEATURES), np.float32)
    mean, square = np.zeros_like(theta), np.zeros_like(theta)
    for step in range(regime.steps):
        at = step * BATCH % TRAINING
        if at == 0:
            order = rng.permuted(np.tile(np.arange(TRAINING), (len(seeds), 1)), axis=1)
        gradient = policy_gradient(training.chosen(order[:, at : at + BATCH]), theta, regime, weights, rng)
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        first, second = mean / (1 - BETAS[0] ** (step + 1)), square / (1 - BETAS[1] ** (step + 1))
        theta += RATE * min(1, (step + 1) / WARMUP) * first / (np.sqrt(second) + 1e-8)
    p = held_out.probabilities(theta)[..., 0]
    return 100 * np.stack([p.mean(-1), 1 - ((1 - p) ** 8).mean(-1)], -1)


def policy_gradient(
    asked: Questions, theta: np.ndarray, regime: Regime, weights: Sequence[AdvantageConfig], rng: np.random.Generator
) -> np.ndarray:
    """1 / (batch G) sum of A' grad log pi(answer) over the completions of a batch, [weights, seeds, features]."""
    p = asked.probabilities(theta)
    count, seeds, batch = p.shape[:3]
    draws = rng.random((2, seeds, batch, regime.group_size), dtype=np.float32)
    answers = (draws[0][..., None] > p.cumsum(-1)[:, :, :, None, :-1]).sum(-1, dtype=np.int8)
    correct = answers == 0
    rewards = (correct ^ (draws[1] < np.where(correct, regime.false_wrong, regime.false_correct))).astype(float)
    advantages = np.stack([group_advantages_of(r, config) for r, config in zip(rewards, weights, strict=True)])
    # grad log pi(a) = f_a - sum_b pi_b f_b: the advantages are summed by answer, then the second term is subtracted.
    by_answer = np.stack([np.where(answers == a, advantages, 0).sum(-1) for a in range(ANSWERS)], -1)
    by_answer -= p * advantages.sum(-1)[..., None]
    scale = by_answer.reshape(count, seeds, batch * ANSWERS).transpose(1, 0, 2) / (batch * regime.group_size)
    return (scale @ asked.features.reshape(seeds, batch * ANSWERS, FEATURES)).transpose(1, 0, 2).astype(np.float32)


def group_advantages_of(rewards: np.ndarray, config: AdvantageConfig) -> np.ndarray:
    """A' of groups [.., G], with the functions of the tracker's estimator "group"."""
    w = difficulty_weight(group_accuracy(rewards), config)
    return group_advantages(rewards, 0.0, norm=advantage_norm(config), group_weight=w)


def cell(regime: Regime, seeds: int) -> dict:
    """The scores of GRPO, and the gain of each weight over it with its 95% interval, as means over the seeds."""
    weights = [replace(config, group_size=regime.group_size) for config in WEIGHTS.values()]
    chunks = [range(at, min(at + TOGETHER, seeds)) for at in range(0, seeds, TOGETHER)]
    scores = np.concatenate([final_scores(regime, chunk, weights) for chunk in chunks], 1)
    gains = (scores - scores[:1]).astype(float)
    half = 1.96 * gains.std(1, ddof=1) / np.sqrt(seeds)
    found = {
        name: {m: [gains[i, :, k].mean().item(), half[i, k].item()] for k, m in enumerate(METRICS)}
        for i, name in enumerate(WEIGHTS)
    }
    baseline = dict(zip(METRICS, scores[0].mean(0).tolist(), strict=True))
    return {**asdict(regime), "seeds": seeds, "baseline": baseline, "gain": found}


def table(cells: Sequence[dict], group_size: int) -> str:
    """The cells of one group size as Markdown."""
    names = [name for name in WEIGHTS if name != "GRPO"]
    lines = [f"| spectrum | false verdicts | metric | GRPO | {' | '.join(names)} |", "|---" * (len(names) + 4) + "|"]
    for found, metric in itertools.product(cells, METRICS):
        if found["group_size"] == group_size:
            gains = [found["gain"][name][metric] for name in names]
            shown = " | ".join(f"{gain:+.2f} ± {half:.2f}" for gain, half in gains)
            start = f"| {found['spectrum']} | {false_verdicts(found)} | {metric}"
            lines.append(f"{start} | {found['baseline'][metric]:.1f} | {shown} |")
    return "\n".join(lines)


def false_verdicts(found: dict) -> str:
    if not found["false_correct"]:
        return "none"
    return f"{found['false_correct']:.0%} of wrong" + (" and correct" if found["false_wrong"] else "")


def write_page(cells: Sequence[dict], path: Path) -> None:
    """One map for each metric: a row for each weight, spectrum and false verdicts, a column for each group size."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = [name for name in WEIGHTS if name != "GRPO"]
    columns = list(dict.fromkeys((found["spectrum"], found["group_size"]) for found in cells))
    kinds = list(dict.fromkeys(false_verdicts(found) for found in cells))
    by_place = {(found["spectrum"], found["group_size"], false_verdicts(found)): found for found in cells}
    rows = list(itertools.product(kinds, names))
    figure = make_subplots(
        rows=2, cols=1, vertical_spacing=0.08, subplot_titles=[f"{m}: gain over GRPO, points" for m in METRICS]
    )
    for row, metric in enumerate(METRICS, 1):
        gains = [[by_place[(*column, kind)]["gain"][name][metric] for column in columns] for kind, name in rows]
        figure.add_heatmap(
            x=[f"{spectrum}, G={size}" for spectrum, size in columns],
            y=[f"{name} ({kind} false)" for kind, name in rows],
            z=[[gain for gain, _ in line] for line in gains],
            text=[[f"{gain:+.2f} ± {half:.2f}" for gain, half in line] for line in gains],
            hovertemplate="%{x}<br>%{y}: %{text}<extra></extra>",
            texttemplate="%{z:+.1f}",
            **{"colorscale": "RdBu", "zmid": 0, "zmin": -3, "zmax": 3, "showscale": row == 1},
            **{"row": row, "col": 1},
        )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(automargin=True)
    figure.update_layout(height=2000, template=go.layout.Template(), title="Gain of difficulty weights over GRPO")
    figure.write_html(path, include_plotlyjs=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="seeds of each cell, at least 2")
    parser.add_argument("--spectra", nargs="+", default=list(SPECTRA), choices=SPECTRA)
    parser.add_argument("--group-sizes", nargs="+", type=int, default=GROUP_SIZES)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--output", type=Path, help="OUTPUT.html and OUTPUT.jsonl are written")
    asked = parser.parse_args()
    if asked.seeds < 2 or min(asked.group_sizes) < 2 or asked.steps < 0:
        parser.error("--seeds and --group-sizes must be at least 2, --steps at least 0")
    began, cells = time.process_time(), []
    for spectrum, size, false in itertools.product(asked.spectra, asked.group_sizes, FALSE_VERDICTS):
        cells.append(cell(Regime(spectrum, size, *false, asked.steps), asked.seeds))
    for size in asked.group_sizes:
        print(f"\nG = {size}\n\n{table(cells, size)}")
    runs = len(cells) * asked.seeds * len(WEIGHTS)
    print(f"\n{len(cells)} cells, {runs:,} runs, {time.process_time() - began:.0f} s of CPU")
    if asked.output:
        asked.output.parent.mkdir(parents=True, exist_ok=True)
        asked.output.with_suffix(".jsonl").write_text("".join(json.dumps(found) + "\n" for found in cells))
        write_page(cells, asked.output.with_suffix(".html"))


if __name__ == "__main__":
    main()
