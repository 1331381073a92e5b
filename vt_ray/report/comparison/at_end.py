"""A Hydra callback: when a sweep has ended, its finished runs are compared.

conf/experiment/*.yaml:  hydra.callbacks.comparison._target_: vt_ray.report.comparison.at_end.CompareRuns
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from vt_ray.progress import console
from vt_ray.report.comparison.report import print_comparison, write_comparison
from vt_ray.report.comparison.runs import ComparisonError
from vt_ray.run.paths import RunPaths


class CompareRuns(Callback):
    """Writes runs_dir/run_name.html, as `vt-tools report runs_dir/run_name-* --output runs_dir/run_name.html` does.

    Runs of an earlier sweep with this name are compared too.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if config.dry_run:
            return
        runs = Path(config.runs_dir).resolve()
        members = [path for path in sorted(runs.glob(f"{config.run_name}-*")) if RunPaths(path).run_json.is_file()]
        page = runs / f"{config.run_name}.html"
        try:
            print_comparison(write_comparison(members, page))
        except ComparisonError as error:
            console.print(f"no comparison of the sweep: {error}", markup=False, soft_wrap=True)
        else:
            console.print(f"comparison: {page}", soft_wrap=True)
