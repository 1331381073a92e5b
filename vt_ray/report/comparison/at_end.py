"""A Hydra callback: when a sweep has ended, its finished runs are compared.

conf/experiment/*.yaml:  hydra.callbacks.comparison._target_: vt_ray.report.comparison.at_end.CompareRuns
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from vt_ray.progress import console
from vt_ray.report.comparison.report import print_comparison, write_comparison
from vt_ray.report.comparison.runs import ComparisonError
from vt_ray.run.checkpoint import read_json
from vt_ray.run.paths import RunPaths


class CompareRuns(Callback):
    """Writes runs_dir/run_name.html, as `vt-tools report runs_dir/run_name-* --output runs_dir/run_name.html` does.

    Runs of an earlier sweep with this name are compared too. The runs are in the order of their first starts: the
    baseline is the first value of each setting, and not the first name in the alphabet.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if config.dry_run:
            return
        runs = Path(config.runs_dir).resolve()
        members = in_order_of_start(runs.glob(f"{config.run_name}-*"))
        page = runs / f"{config.run_name}.html"
        try:
            print_comparison(write_comparison(members, page))
        except ComparisonError as error:
            console.print(f"no comparison of the sweep: {error}", markup=False, soft_wrap=True)
        else:
            console.print(f"comparison: {page}", soft_wrap=True)


def in_order_of_start(roots: Iterable[Path]) -> list[Path]:
    """The folders that are runs, in the order of their first starts; runs of one second are sorted by name."""
    started = {root: RunPaths(root).run_json for root in sorted(roots)}
    times = {root: read_json(file).get("started", "") for root, file in started.items() if file.is_file()}
    return sorted(times, key=times.__getitem__)
