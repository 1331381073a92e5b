"""Writes report.html of a run: a self-contained page, made only from the files of the run folder.

run folder --read_run--> RunRecord --run_sections--> [Section] --report.html.jinja--> report.html
"""

from __future__ import annotations

import json
from pathlib import Path

from vt_ray.report import formats
from vt_ray.report import milestones as ms
from vt_ray.report.html import render, script_text, write_page
from vt_ray.report.run_page import samples
from vt_ray.report.run_page.sections import run_sections
from vt_ray.report.run_record import read_run
from vt_ray.run.paths import RunPaths


def write_report(run: Path) -> Path:
    """Write report.html of the run folder `run` and return its path.

    Raises FileNotFoundError if `run` is not a folder, and ImportError if plotly or jinja2 is not installed.
    """
    record = read_run(run)
    sections = run_sections(record)
    name = str(record.known("run_name") or record.root.resolve().name)
    page = render(
        "report.html.jinja",
        {section.key: section.figures for section in sections},
        title=f"{name}: vt_ray report",
        name=name,
        headline=ms.headline(ms.reached(record.summary), ms.gain_sentence(record.summary)),
        seen=[finding for section in sections for finding in section.findings if finding.seen],
        sections=sections,
        percent=formats.percent,
        script_text=lambda value: script_text(json.dumps(value)),
        bounds={
            "rollouts": formats.thousands(samples.SEARCH_ROLLOUTS),
            "characters": formats.thousands(samples.SEARCH_CHARACTERS),
        },
    )
    path = RunPaths(run).report
    write_page(path, page)
    return path
