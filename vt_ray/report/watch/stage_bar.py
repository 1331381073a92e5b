"""The progress bar of an RL stage on the terminal, with the figures of its last step below the bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vt_ray.progress import bar, short_rate
from vt_ray.report.watch.step_panel import StepPanel
from vt_ray.run.stage_ends import ALL_STEPS
from vt_ray.run.step_line import StepLine


@contextmanager
def stage_bar(name: str, steps: int, done: int) -> Iterator[Callable[[StepLine, str], None]]:
    """Yields `show(line, ended)`, which advances the bar by one step. `done` of `steps` steps are done already.

    `line` is the step's line in the metrics, `ended` the reason why the stage ends after this step, or "".
    """
    with bar(name, steps, done) as advance:
        yield lambda line, ended: advance(_note(line, ended), 1, StepPanel(line))


def _note(line: StepLine, ended: str) -> str:
    """The text beside the bar: reward and speeds, or the reason why a gate has ended the stage."""
    if ended not in ("", ALL_STEPS):
        return ended
    generated = short_rate(line["generated_tokens_per_second"])
    updated = short_rate(line["updated_tokens_per_second"])
    return f"reward {line['reward_mean']:.3f}  gen {generated}, train {updated} tok/s"
