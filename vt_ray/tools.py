"""Console script `vt-tools`: offline commands for runs, problems and models. They need neither Ray nor a GPU."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from vt_ray.run.paths import RunPaths
from vt_ray.verify.limits import Limits, SandboxConfig

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


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
def problems(
    subdomain: Annotated[str, typer.Argument(help="algebra, geometry, calculus, statistics or code")],
    split: str = "train",
    count: int = 3,
    seed: int = 0,
) -> None:
    """Print generated problems with their worked solutions in every style."""
    from rich.console import Console

    from vt_ray.data.makers import make_problems

    try:
        made = make_problems(subdomain, split, count, seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(highlight=False, markup=False)
    for problem in made:
        console.rule(f"{problem.question_id}  level {problem.level}")
        console.print(problem.question, style="bold")
        for solution in problem.solutions:
            console.print(f"\n[{solution.style}]\n{solution.text}")


@app.command()
def fuse(
    output: Annotated[Path, typer.Argument(help="folder of the fused model, new or empty")],
    checkpoints: Annotated[list[Path], typer.Argument(help="Hugging Face folders of one architecture")],
    weights: Annotated[str, typer.Option(help="comma-separated, one per checkpoint; empty: uniform")] = "",
) -> None:
    """Average checkpoints into one model (arXiv 2511.06221, 3.3): .safetensors or .bin, with or without shards.

    The output folder is written atomically. Exits with 1 and the reason if the checkpoints cannot be averaged.
    """
    import shutil

    from vt_ray.config import ConfigError
    from vt_ray.spectrum_phase.fusion import fuse as average
    from vt_ray.spectrum_phase.fusion import fusion_weights
    from vt_ray.spectrum_phase.model_folder import ModelFolderError

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise typer.BadParameter(f"{output} is not an empty folder: choose a new folder")
    named = {str(path): path for path in checkpoints}
    if len(named) < len(checkpoints):
        raise typer.BadParameter("a checkpoint is listed twice: list it once and set its share with --weights")
    try:
        shares = fusion_weights([float(w) for w in weights.split(",") if w], list(named))
    except (ConfigError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    partial = output.resolve().with_name(f"{output.resolve().name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        average(named, shares, partial)
        os.replace(partial, output)
    except (ModelFolderError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    typer.echo(f"fused {len(named)} checkpoints into {output}")


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
    except FileNotFoundError as error:
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
    except FileNotFoundError as error:
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


@app.command()
def data(
    sources: Annotated[
        list[str], typer.Argument(help="files, folders, globs in quotes, or hf://owner/name?split=train")
    ],
    show: Annotated[int, typer.Option(min=0, help="examples of each source")] = 3,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the counts here, one JSON line a source")
    ] = None,
    tokenizer: Annotated[str, typer.Option(help="model folder or hub name: lengths in tokens, not characters")] = "",
    encoding: Annotated[str, typer.Option(help="encoding of .csv files; empty: detected")] = "",
) -> None:
    """Show what is in sources of problems or SFT traces: layout, questions, kinds, lengths, and what would be dropped.

    The verifier checks the first 2,000 gold answers. Exits with 1 if a source cannot be read; the others are shown.
    """
    from rich.console import Console

    from vt_ray.data.contents import contents
    from vt_ray.data.problem_rows import ProblemFileError
    from vt_ray.report.contents_table import print_contents

    length = _token_count(tokenizer) if tokenizer else len
    console, lines = Console(highlight=False), []
    failed = False
    for source in sources:
        try:
            found = contents(source, show, encoding, length)
        except ProblemFileError as error:
            typer.echo(f"error: {error}", err=True)
            lines.append({"path": source, "error": str(error)})
            failed = True
            continue
        lines.append(found.as_json())
        print_contents(found, console, "tokens" if tokenizer else "characters")
    if json_file:
        json_file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    if failed:
        raise typer.Exit(1)


@app.command()
def classify(
    sources: Annotated[list[str], typer.Argument(help="files, folders, globs in quotes, or hub names of problems")],
    output: Annotated[Path, typer.Option(help="the subdomains, .json, for data.subdomain_file")],
    endpoint: Annotated[
        str, typer.Option(help="URL of an OpenAI-compatible endpoint; its key is in OPENAI_API_KEY")
    ] = "",
    model: Annotated[str, typer.Option(help="name at the endpoint (default: its first), else a model for vLLM")] = "",
    subdomains: Annotated[
        str, typer.Option(help="names, comma-separated; other is always allowed")
    ] = "algebra,geometry,calculus,statistics,code",
    max_tokens: Annotated[int, typer.Option(min=1, help="tokens of a reply; a reasoning model needs thousands")] = 512,
) -> None:
    """Ask a language model for the subdomain of each question: the majority of three replies, other without one.

    The replies are stored beside the output, so the same command continues after a kill and asks nothing twice.
    """
    from vt_ray.data.classify import ClassificationError, checked_names, read_questions, votes_path
    from vt_ray.data.classify import classify as run
    from vt_ray.data.problem_rows import ProblemFileError

    try:
        names = checked_names(subdomains.split(","))
        questions = read_questions(sources, names)
        found = run(questions, output, _chat_model(endpoint, model, max_tokens), names)
    except (ClassificationError, ProblemFileError) as error:
        raise typer.BadParameter(str(error)) from error
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {votes_path(output)} holds the replies; the same command continues", err=True)
        raise typer.Exit(130) from None
    for name, count in found.counts:
        typer.echo(f"{name}: {count:,}")
    if found.undecided:
        typer.echo(f"without a majority, counted as other: {found.undecided:,}")
    typer.echo(f"subdomains: {output}")


def _chat_model(endpoint: str, model: str, max_tokens: int) -> Any:
    if endpoint:
        from vt_ray.engines.endpoint import EndpointModel

        return EndpointModel(endpoint, model, max_tokens)
    if not model:
        raise typer.BadParameter("give --endpoint URL, or --model PATH for a local model")
    from vt_ray.config import ConfigError
    from vt_ray.data.classify import ClassificationError
    from vt_ray.engines.vllm.chat import VllmChatModel

    try:
        return VllmChatModel(model, max_tokens)
    except ConfigError as error:
        raise ClassificationError(f"--model {model}: {error}") from error


def _token_count(name: str) -> Callable[[str], int]:
    """Returns a function that counts the tokens of a text."""
    from transformers import AutoTokenizer

    try:
        encode = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--tokenizer {name}: no tokenizer there ({str(error).splitlines()[0]})") from error
    return lambda text: len(encode(text, add_special_tokens=False)["input_ids"])


class _ManyValues(TyperCommand):
    """A command whose options --train and --eval accept several values: `--train A B` is `--train A --train B`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        expanded: list[str] = []
        option, values = "", 0
        for arg in args:
            if arg.startswith("-"):
                option, values = arg, 0
            else:
                values += 1
                if values > 1 and option in ("--train", "--eval"):
                    expanded.append(option)
            expanded.append(arg)
        return super().parse_args(ctx, expanded)


@app.command(cls=_ManyValues)
def decontaminate(
    train: Annotated[list[str], typer.Option(help="training files")],
    eval_: Annotated[list[str], typer.Option("--eval", help="evaluation files")],
    output: Annotated[Path, typer.Option(help="folder for kept.jsonl, dropped.jsonl and the reports")],
    ngram: Annotated[int, typer.Option(help="words in a row that a contaminated row shares with a question")] = 10,
    ngram_share: Annotated[float, typer.Option(help="rows with a lower share of a question are reported")] = 0.0,
    policy: Annotated[str, typer.Option(help="drop, or report: keep all rows")] = "drop",
    near_duplicates: Annotated[str, typer.Option(help="rows similar to a question: drop, report or off")] = "drop",
    near_threshold: Annotated[float, typer.Option(help="least Jaccard similarity of a near duplicate")] = 0.7,
    number_blind: Annotated[str, typer.Option(help="questions with other numbers: drop, report or off")] = "report",
    duplicates: Annotated[str, typer.Option(help="copies within the training rows: drop, report or off")] = "report",
    near_copies: Annotated[str, typer.Option(help="near copies within them: drop, report or off")] = "off",
    field: Annotated[str, typer.Option(help="the question's field; default: found by its usual names")] = "",
    ray: Annotated[bool, typer.Option("--ray", help="check the rows with Ray Data on all cores or nodes")] = False,
) -> None:
    """Remove training rows that contain an evaluation question (arXiv 2511.06221, section 3.5: 10-grams of words).

    Case, punctuation, LaTeX spacing and known wrappers do not count. Writes kept.jsonl, dropped.jsonl, reported.jsonl
    (kept, but something was found), report.json and leakage.html.
    """
    from vt_ray.data.decontamination.decontaminate import decontaminate as run
    from vt_ray.data.decontamination.options import DecontaminationOptions
    from vt_ray.report.leakage_page import headline, pair_lines, write_leakage_page

    try:
        options = DecontaminationOptions(
            ngram=ngram,
            policy=policy,
            ngram_share=ngram_share,
            near_duplicates=near_duplicates,
            near_threshold=near_threshold,
            number_blind=number_blind,
            duplicates=duplicates,
            near_copies=near_copies,
        )
        found = run(train, eval_, output, options, field, on_ray=ray)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    write_leakage_page(output / "leakage.html", found)
    for line in [*pair_lines(found), headline(found)]:
        typer.echo(line)
    typer.echo(f"decontaminated: {output}")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
