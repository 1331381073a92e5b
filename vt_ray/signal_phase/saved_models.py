"""Hugging Face folders of the weights within a stage, every `signal.save_hf_every` steps.

rl/<stage>/models/step_000012/ stays if it is among the newest `signal.keep_hf`, or has the best probe accuracy of the
gate. The held-out problems never choose a model.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from vt_ray.run.checkpoint import remove_folder, step_entries, step_folders, write_folder
from vt_ray.run.paths import step_name
from vt_ray.signal_phase.stage_run import StageRun


def save_model(run: StageRun, step: int, accuracies: Mapping[int, float]) -> None:
    """Save the weights after `step` steps if it is due, then delete the models that no rule keeps.

    `accuracies` are the probe accuracies by step.
    """
    if not run.signal.save_hf_every or step % run.signal.save_hf_every:
        return
    write_folder(run.paths.saved_models / step_name(step), run.learner.save_hf)
    saved = {int(folder.name.removeprefix("step_")): folder for folder in step_folders(run.paths.saved_models)}
    for old in saved.keys() - kept_steps(list(saved), accuracies, run.signal.keep_hf):
        remove_folder(saved[old])


def kept_steps(saved: Sequence[int], accuracies: Mapping[int, float], keep: int) -> set[int]:
    """The newest `keep` steps, and the step with the best probe accuracy, the later one if two are equal."""
    measured = [step for step in saved if step in accuracies]
    best = max(measured, key=lambda step: (accuracies[step], step), default=None)
    return {*sorted(saved)[-keep:], *([] if best is None else [best])}


def drop_after(run: StageRun, step: int) -> None:
    """Delete the models and held-out scores of steps after `step`, and incomplete folders: these steps run again."""
    for entry in [*step_entries(run.paths.saved_models), *step_entries(run.paths.evaluation)]:
        if entry.is_dir() and (entry.suffix or entry.name > step_name(step)):
            shutil.rmtree(entry)
        elif not entry.is_dir() and (entry.suffix != ".json" or entry.stem > step_name(step)):
            entry.unlink()
