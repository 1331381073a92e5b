"""Commands of `vt-tools` for problems: print generated ones, show files, find subdomains, decontaminate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

app = typer.Typer()


@app.command()
def problems(
    subdomain: Annotated[str, typer.Argument(help="algebra, geometry, calculus, statistics or code")],
    split: str = "train",
    count: Annotated[int, typer.Option(min=1)] = 3,
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
    layout: Annotated[str, typer.Option(help="layout of all rows; empty: found by their fields")] = "",
    field: Annotated[list[str] | None, typer.Option(help="PART=FIELD, for rows without a layout; repeat it")] = None,
) -> None:
    """Show what is in sources of problems or SFT traces: layout, questions, kinds, lengths, and what would be dropped.

    The verifier checks the first 2,000 gold answers. Exits with 1 if a source cannot be read; the others are shown.
    """
    from rich.console import Console

    from vt_ray.config import DataSource
    from vt_ray.data.contents import contents
    from vt_ray.data.problem_rows import ProblemFileError
    from vt_ray.report.contents_table import print_contents

    length = _token_count(tokenizer) if tokenizer else len
    fields = dict(_part_and_field(text) for text in field or ())
    console, lines = Console(highlight=False), []
    failed = False
    for source in sources:
        try:
            found = contents(DataSource(source, encoding=encoding, layout=layout, fields=fields), show, length)
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


def _part_and_field(text: str) -> tuple[str, str]:
    part, equals, name = text.partition("=")
    if not (part and equals and name):
        raise typer.BadParameter(f"--field {text!r} must be PART=FIELD, for example question=prompt")
    return part, name


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
    from vt_ray.data.chat_model import ChatError
    from vt_ray.data.classify import ClassificationError, checked_names, read_questions, votes_path
    from vt_ray.data.classify import classify as run
    from vt_ray.data.problem_rows import ProblemFileError

    try:
        names = checked_names(subdomains.split(","))
        questions = read_questions(sources, names)
        found = run(questions, output, _chat_model(endpoint, model, max_tokens), names)
    except (ChatError, ClassificationError, ProblemFileError) as error:
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
    from vt_ray.data.chat_model import ChatError
    from vt_ray.engines.vllm.chat import VllmChatModel

    try:
        return VllmChatModel(model, max_tokens)
    except ConfigError as error:
        raise ChatError(f"--model {model}: {error}") from error


def _token_count(name: str) -> Callable[[str], int]:
    """Returns a function that counts the tokens of a text."""
    from transformers import AutoTokenizer

    try:
        encode = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--tokenizer {name}: no tokenizer there ({str(error).splitlines()[0]})") from error
    return lambda text: len(encode(text, add_special_tokens=False)["input_ids"])


class _ManyValues(TyperCommand):
    """A command some of whose options accept several values: `--train A B` is `--train A --train B`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        expanded: list[str] = []
        option, values = "", 0
        for arg in args:
            if arg.startswith("-"):
                option, values = arg, 0
            else:
                values += 1
                if values > 1 and option in ("--train", "--eval", "--against"):
                    expanded.append(option)
            expanded.append(arg)
        return super().parse_args(ctx, expanded)


@app.command(name="write-problems", cls=_ManyValues)
def write_problems(
    subdomain: Annotated[str, typer.Option(help="a field of mathematics, such as calculus")],
    output: Annotated[Path, typer.Option(help="the problems, .jsonl, for data.probe_files")],
    endpoint: Annotated[str, typer.Option(help="URL of an OpenAI-compatible endpoint; its key is in OPENAI_API_KEY")],
    model: Annotated[str, typer.Option(help="name of the model at the endpoint; default: its first")] = "",
    count: Annotated[int, typer.Option(min=1, help="problems to write")] = 100,
    samples: Annotated[int, typer.Option(min=2, help="replies that answer each question and vote")] = 8,
    min_agreement: Annotated[float, typer.Option(help="least share of them that agree with the answer")] = 0.5,
    against: Annotated[
        list[str] | None, typer.Option(help="sources of questions that must not be repeated: benchmarks, training rows")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="tokens of a reply, its reasoning included")] = 4096,
    token_cap: Annotated[int, typer.Option(min=1, help="most tokens of all prompts and replies")] = 10_000_000,
    money_cap: Annotated[float | None, typer.Option(min=0, help="most money; needs the prices")] = None,
    prompt_price: Annotated[float, typer.Option(min=0, help="price of a million tokens of prompts")] = 0.0,
    reply_price: Annotated[float, typer.Option(min=0, help="price of a million tokens of replies")] = 0.0,
    seed: Annotated[int, typer.Option(help="another seed gives other problems")] = 0,
) -> None:
    """Let a language model write probing problems. Its own answers vote for the gold answer, compared by the verifier.

    Copies, and questions of the sources in --against, are left out. The replies are stored beside the output, so the
    same command continues after a kill and asks nothing twice. Exits with 1 if there are fewer problems than --count.
    """
    from rich.console import Console

    from vt_ray.engines.endpoint import EndpointModel
    from vt_ray.problem_writer.stored_replies import Cap
    from vt_ray.problem_writer.writer import Wanted, replies_path
    from vt_ray.problem_writer.writer import write_problems as run
    from vt_ray.report.written_table import print_written

    try:
        wanted = Wanted(subdomain.strip(), count, samples, min_agreement, tuple(against or ()), seed)
        cap = Cap(token_cap, money_cap, prompt_price, reply_price)
        found = run(wanted, output, EndpointModel(endpoint, model, max_tokens, temperature=1.0), cap)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {replies_path(output)} holds the replies; the same command continues", err=True)
        raise typer.Exit(130) from None
    print_written(found, output, Console(highlight=False))
    if found.end:
        raise typer.Exit(1)


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
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        raise typer.BadParameter(f"--output {output} cannot be written ({error}): name another folder") from error
    write_leakage_page(output / "leakage.html", found)
    for line in [*pair_lines(found), headline(found)]:
        typer.echo(line)
    typer.echo(f"decontaminated: {output}")
