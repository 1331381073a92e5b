"""The fusion phase: the specialists become one model, which is measured on the probing problems and judged.

specialists --rule--> model in fused/ --generators--> Pass@K --gate--> fused/, or the best specialist in its place
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from vt_ray.experiment import Experiment
from vt_ray.interfaces import Generator, Verifier
from vt_ray.progress import bar, console
from vt_ray.run.checkpoint import write_json
from vt_ray.run.paths import FusedPaths, ProbePaths
from vt_ray.spectrum_phase.fusion import fuse, take_tokenizer
from vt_ray.spectrum_phase.fusion_gate import by_problem, common_problems, gate_sentence, judge, mean_over
from vt_ray.spectrum_phase.fusion_rules import RULES, Rule, fusion_rule, fusion_weights
from vt_ray.spectrum_phase.probing import probe_model

# The rule of a soup, and of the best specialist alone.
AVERAGE = RULES["weights"]


def run_fusion(e: Experiment, specialists: Mapping[str, Path], probe: Path, base: Path, folder: Path) -> None:
    """Fuse the specialists, {subdomain: checkpoint}, into `folder`, and judge the result on the probing problems.

    `probe` is the folder with the scores of the checkpoints, `base` the model that their SFT started from. Scores that
    an interrupted attempt has written to `folder` are not measured again; the models are made again.
    """
    fusion, k, paths = e.config.spectrum.fusion, e.config.spectrum.probe.k, FusedPaths(folder)
    by_name = {path.name: path for path in specialists.values()}
    measured = {name: by_problem(ProbePaths(probe).scores(name), k) for name in by_name}
    problems = common_problems(measured)
    means = {name: mean_over(scores, problems) for name, scores in measured.items()}
    with e.cluster.generator(e.base) as generator, e.cluster.verifier() as verifier:
        measure = partial(_measure, e, generator, verifier)
        if fusion.method == "greedy_soup":
            names = greedy_soup(
                means, lambda names: _soup_score(e, [by_name[name] for name in names], measure, folder, problems)
            )
            chosen = {name: by_name[name] for name in names}
            weights = fusion_weights(fusion, names)
        else:
            chosen = dict(specialists)
            weights = fusion_weights(fusion, [*chosen], {d: means[path.name] for d, path in chosen.items()})
        _make_model(e, chosen, weights, folder, fusion_rule(fusion), base)
        measure(folder, paths.probe, "probe fused")
    gate = judge(measured, by_problem(paths.probe, k), k)
    gate["fallback"] = gate["lost"] and fusion.on_loss == "best"
    if gate["fallback"]:
        _make_model(e, {gate["specialist"]: by_name[gate["specialist"]]}, [1.0], folder)
    write_json(paths.gate, gate)
    console.print(gate_sentence(gate), style="yellow" if gate["lost"] else None, highlight=False, soft_wrap=True)


def greedy_soup(means: Mapping[str, float], score: Callable[[Sequence[str]], float]) -> list[str]:
    """The names of the models in the greedy soup (arXiv 2203.05482, recipe 1).

    From the best to the worst of `means`, a model joins if the average with it has no lower score than without it.
    """
    ordered = sorted(means, key=means.__getitem__, reverse=True)
    soup, best = ordered[:1], means[ordered[0]]
    for name in ordered[1:]:
        if (reached := score([*soup, name])) >= best:
            soup, best = [*soup, name], reached
    return soup


def _soup_score(
    e: Experiment, models: Sequence[Path], measure: Callable[[Path, Path, str], None], folder: Path, problems: set[str]
) -> float:
    """Mean Pass@K of the average of these models over `problems`."""
    trial = folder / "soup"
    scores = FusedPaths(folder).soup_scores([model.name for model in models])
    if not scores.exists():
        shutil.rmtree(trial, ignore_errors=True)
        _make_model(e, {model.name: model for model in models}, [1 / len(models)] * len(models), trial)
        scores.parent.mkdir(exist_ok=True)
        measure(trial, scores, f"probe a soup of {len(models)}")
    shutil.rmtree(trial, ignore_errors=True)
    return mean_over(by_problem(scores, e.config.spectrum.probe.k), problems)


def _make_model(
    e: Experiment,
    specialists: Mapping[str, Path],
    weights: Sequence[float],
    folder: Path,
    rule: Rule = AVERAGE,
    base: Path | None = None,
) -> None:
    fuse(dict(specialists), weights, folder, rule, base if rule.needs_base else None, e.config.seed)
    if e.config.model.chat_template:  # checkpoints of the user have templates of their own
        take_tokenizer(e.base, folder)


def _measure(e: Experiment, generator: Generator, verifier: Verifier, model: Path, scores: Path, title: str) -> None:
    """Write the scores of `model` on the probing problems to `scores`, unless the file exists."""
    if scores.exists():
        return
    generator.load_checkpoint(model, 0)
    with bar(title, len(e.problems.probe)) as advance:
        probe_model(e, generator, verifier, scores, partial(advance, "", 1))
