"""Console script `vt-tools`: offline commands for runs, problems and models. They need neither Ray nor a GPU."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from vt_ray import data_tools
from vt_ray.config import FusionConfig
from vt_ray.run.paths import RunPaths
from vt_ray.verify.limits import Limits, SandboxConfig

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
# Without a name: its commands are commands of `vt-tools` itself.
app.add_typer(data_tools.app)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="run folders, such as runs/demo or runs/sweep/*")],
    output: Annotated[
        Path | None, typer.Option(help="the comparison page, .html; default: comparison.html next to the runs")
    ] = None,
) -> None:
    """Write report.html of each run again. Print the table of one run, or write a comparison of several runs."""
    from vt_ray.report.run_page.report import write_report

    folders = _run_folders(runs)
    if output and (len(folders) == 1 or output.suffix != ".html"):
        raise typer.BadParameter(f"--output {output} must be a .html file, for the comparison of several runs")
    for run in folders:
        typer.echo(f"report: {write_report(run)}")
    if len(folders) == 1:
        _print_summary(folders[0])
    else:
        _compare(folders, output or Path(os.path.commonpath([run.parent for run in folders])) / "comparison.html")


def _run_folders(paths: list[Path]) -> list[Path]:
    """The run folders among `paths` as absolute paths, without duplicates; other paths are skipped with a message."""
    folders: list[Path] = []
    for path in paths:
        if not path.exists():
            raise typer.BadParameter(f"{path} does not exist: pass a run folder such as runs/demo")
        if not RunPaths(path).run_json.is_file():
            typer.echo(f"skipped: {path} is not a run folder (it has no run.json)", err=True)
        elif path.resolve() not in folders:
            folders.append(path.resolve())
    if not folders:
        raise typer.BadParameter(
            f"{paths[0]} is not a run folder (it has no run.json): pass a folder such as runs/demo"
        )
    return folders


def _print_summary(run: Path) -> None:
    from vt_ray.report.tables import print_table

    summary = RunPaths(run).summary
    if summary.is_file():
        print_table(json.loads(summary.read_text()))


def _compare(runs: list[Path], path: Path) -> None:
    from vt_ray.report.comparison.report import print_comparison, write_comparison

    try:
        comparison = write_comparison(runs, path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    print_comparison(comparison)
    typer.echo(f"comparison: {path}")


@app.command()
def fuse(
    models: Annotated[list[Path], typer.Argument(help="Hugging Face folders of one architecture")],
    output: Annotated[Path, typer.Option(help="folder of the fused model, new or empty")],
    method: Annotated[
        str, typer.Option(help="weights, uniform, probe_softmax, task_arithmetic, ties, dare, slerp or module:function")
    ] = FusionConfig.method,
    weights: Annotated[str, typer.Option(help="comma-separated, one per model, sum 1; empty: uniform")] = "",
    base: Annotated[
        Path | None, typer.Option(help="the model they were trained from: for task_arithmetic, ties, dare")
    ] = None,
    density: Annotated[float, typer.Option(help="ties, dare: share of the changes to keep")] = FusionConfig.density,
    scale: Annotated[
        float, typer.Option(help="task_arithmetic, ties, dare: factor on the change")
    ] = FusionConfig.scale,
    scores: Annotated[str, typer.Option(help="probe_softmax: Pass@K of each model in [0, 1], comma-separated")] = "",
    temperature: Annotated[float, typer.Option(help="probe_softmax")] = FusionConfig.temperature,
    seed: Annotated[int, typer.Option(help="dare: seed of the random choice")] = 0,
    shard_gb: Annotated[float, typer.Option(help="largest file of the fused model, in GB")] = 5.0,
) -> None:
    """Fuse models into one (arXiv 2511.06221, 3.3): .safetensors or .bin, with or without shards. See docs/fusion.md.

    The output folder is written atomically. Exits with 1 and the reason if the models cannot be fused.
    """
    from vt_ray.config import ConfigError
    from vt_ray.spectrum_phase.fuse_command import fuse_into
    from vt_ray.spectrum_phase.model_folder import ModelFolderError

    try:
        shares, found = _numbers("weights", weights), _numbers("scores", scores)
        settings = FusionConfig(method, shares, temperature, density, scale)
        fuse_into(output, models, settings, base, found, seed, shard_gb)
    except ConfigError as error:
        # The message begins with the setting of a run, which is an option of this command.
        raise typer.BadParameter(re.sub(r"^spectrum\.fusion\.", "--", str(error))) from error
    except (ModelFolderError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    without = "" if any(output.glob("tokenizer*")) else f", without a tokenizer, because {models[0]} has none"
    typer.echo(f"fused {len(models)} models into {output}{without}")


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise typer.BadParameter(f"--{option} {text} must be numbers with commas, such as 0.5,0.25,0.25") from None


@app.command()
def watch(
    run: Annotated[Path, typer.Argument(help="a run folder, such as runs/demo")],
    once: Annotated[bool, typer.Option("--once", help="print the current state and exit")] = False,
) -> None:
    """Show a run until it has finished: progress, curves, milestones, remaining time. Ctrl-C does not stop the run."""
    from rich.console import Console

    from vt_ray.report.watch.screen import watch as follow

    try:
        follow(run, once, Console(highlight=False))
    except (FileNotFoundError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def audit(
    run: Annotated[Path, typer.Argument(help="a run folder, such as runs/demo; the run may be unfinished or killed")],
) -> None:
    """Prove from the run folder that each completion was consumed by one update or dropped with a reason.

    Prints all contradictions; exits with 1 if there are any.
    """
    from rich.console import Console

    from vt_ray.report.audit_table import print_audit
    from vt_ray.run.audit import audit as audited

    try:
        stages = audited(run)
    except (FileNotFoundError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    if not print_audit(stages, Console(highlight=False)):
        raise typer.Exit(1)


@app.command()
def verify(
    rows: Annotated[Path, typer.Argument(help=".jsonl or .jsonl.gz: id, kind, response, and gold, choice or tests")],
    output: Annotated[Path, typer.Option(help="the verdicts, .jsonl: one line for each line of ROWS, in order")],
    workers: Annotated[int | None, typer.Option(min=1, help="rows graded at once; default: one per core")] = None,
    show_output: Annotated[bool, typer.Option("--show-output", help="add the end of each program's output")] = False,
    test_timeout: Annotated[float, typer.Option(help="seconds for one test of a program")] = Limits.test_timeout_s,
    memory_mb: Annotated[int, typer.Option(help="MiB of memory for a program")] = Limits.memory_mb,
    backend: Annotated[
        str, typer.Option(help="the sandbox backend for programs, or the URL of a server")
    ] = SandboxConfig.backend,
    kind: Annotated[
        list[str] | None, typer.Option(help="a custom kind of problems, name=package.module:function; may be repeated")
    ] = None,
) -> None:
    """Grade the answers in a file, without a run. A row that cannot be read or graded is unverified, with a reason.

    Each row has a response (the model's text) and gold (LaTeX), choice (a letter) or tests of a Python program:

    \b
    {"type": "stdio", "cases": [{"input": "1 2\\n", "output": "3\\n"}]}
    {"type": "call", "function": "f", "cases": [{"args": [1, 2], "expected": 3}]}
    {"type": "check", "entry_point": "add", "test": "assert add(1, 2) == 3"}

    stdio and call accept a "tolerance" for floats, call also the "class" of a method. Each line of the output has the
    row's id, verdict (correct, wrong or unverified), reason and seconds. Exits with 0 when all rows have a verdict.
    """
    from rich.console import Console

    from vt_ray.verify.files.grading import limits_of
    from vt_ray.verify.files.rows import RowsFileError
    from vt_ray.verify.files.verdict_counts import VerdictCounts
    from vt_ray.verify.files.verdict_file import grade_file

    tally = VerdictCounts()
    try:
        limits = limits_of(test_timeout, memory_mb, backend, kind or ())
        grade_file(rows, output, limits, workers or len(os.sched_getaffinity(0)), show_output, tally)
    except (RowsFileError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {output} holds the verdicts of the first {tally.rows} rows", err=True)
        raise typer.Exit(130) from None
    finally:
        if tally.rows:
            tally.print(Console(highlight=False))
    typer.echo(f"verdicts: {output}")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
