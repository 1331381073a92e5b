"""leakage.html: the matrix of training files and evaluation files of a decontamination, with examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vt_ray.data.decontamination.run_check import RunLeakage, is_generated
from vt_ray.report.html import Table, render, write_page
from vt_ray.report.tables import Rows
from vt_ray.run.checkpoint import write_json
from vt_ray.run.paths import RunPaths

GENERATED_SENTENCE = (
    "Generated problems are not compared with one another: a hash of its parameters gives each of them to the "
    "training, the probing or the test set, so that these are disjoint for every seed."
)
REASON_NAMES = {
    "ngram": "n-gram",
    "short_text": "short text",
    "near_duplicate": "near duplicate",
    "number_blind": "number-blind",
}


def write_leakage_page(path: Path, report: Mapping[str, Any]) -> None:
    """Writes the page from the content of report.json."""
    found = [cell for cell in report["matrix"] if cell["rows"]]
    generated = any(is_generated(entry["file"]) for entry in report["training"])
    page = render(
        "leakage.html.jinja",
        {},
        title="Decontamination",
        headline=headline(report),
        rule=[_rule(report["options"]), *([GENERATED_SENTENCE] if generated else [])],
        matrices=[
            Table("All training rows that match an evaluation set", matrix_rows(report, "rows")),
            Table("Strong matches: at least half of the question", matrix_rows(report, "strong_rows")),
            Table("Matching rows that were kept", matrix_rows(report, "kept_rows")),
        ],
        pairs=Table("", pair_rows(report)),
        cells=found,
        names=REASON_NAMES,
    )
    write_page(path, page)


def write_leakage(paths: RunPaths, inputs: str, leakage: RunLeakage) -> None:
    """Writes what the decontamination of a run found. `inputs`: the digest of all that the run reads."""
    dropped: dict[str, list[int]] = {}
    for file, row in sorted(leakage.dropped):
        dropped.setdefault(file, []).append(row)
    paths.decontamination.parent.mkdir(exist_ok=True)
    with paths.contaminated.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(line) + "\n" for line in leakage.lines)
    write_leakage_page(paths.leakage, leakage.report)
    # The last one: a start that was interrupted before it checks again.
    write_json(paths.decontamination, {"inputs": inputs, "report": leakage.report, "dropped_rows": dropped})


def run_lines(leakage: RunLeakage | None) -> list[str]:
    """The lines on the screen of a run: a headline, and a line for each training and evaluation file with matches.

    A run with generated problems alone has none: they are disjoint by construction.
    """
    if leakage is None:
        return []
    pairs = pair_lines(leakage.report)
    generated = all(is_generated(entry["file"]) for entry in leakage.report["training"])
    return [] if generated and not pairs else [run_headline(leakage.report), *pairs]


def run_headline(report: Mapping[str, Any]) -> str:
    policy = report["options"]["policy"]
    found = report["dropped"] + report["reported"]
    if not found:
        return f"decontamination: none of {report['rows']:,} training rows contains a probing or test question"
    outcome = f"{report['dropped']:,} are left out, {report['reported']:,} are kept (data.decontaminate={policy})"
    return f"decontamination: {found:,} of {report['rows']:,} training rows match a probing or test question; {outcome}"


def headline(report: Mapping[str, Any]) -> str:
    """Returns the result in a sentence, with the copies within the training rows if they were looked for."""
    copies, options = report["copies"], report["options"]
    said = (
        f"{report['dropped']:,} of {report['rows']:,} training rows were dropped, {report['reported']:,} were kept and "
        "reported."
    )
    if (options["duplicates"], options["near_copies"]) == ("off", "off"):
        return said
    return f"{said} Copies within the training rows: {copies['duplicate']:,} exact, {copies['near_copy']:,} near."


def matrix_rows(report: Mapping[str, Any], key: str) -> Rows:
    """Returns the leakage matrix: a row for each training file, a column for each evaluation file."""
    evaluation = [entry["file"] for entry in report["evaluation"]]
    cells = {(cell["training_file"], cell["evaluation_file"]): cell for cell in report["matrix"]}
    rows = [["training file", "rows", *map(short_name, evaluation)]]
    for entry in report["training"]:
        values = [_share(cells[entry["file"], file][key], entry["rows"]) for file in evaluation]
        rows.append([short_name(entry["file"]), f"{entry['rows']:,}", *values])
    return rows


def pair_rows(report: Mapping[str, Any]) -> Rows:
    """Returns the counts of each training file and evaluation file with matches; a row may have several reasons."""
    rows = [["training file", "evaluation file", "rows", "strong", "kept", "questions", *REASON_NAMES.values()]]
    totals = {entry["file"]: entry["rows"] for entry in [*report["training"], *report["evaluation"]]}
    for cell in report["matrix"]:
        if cell["rows"]:
            training, evaluation = cell["training_file"], cell["evaluation_file"]
            counts = [cell["strong_rows"], cell["kept_rows"]]
            questions = f"{cell['evaluation_rows']:,} of {totals[evaluation]:,}"
            reasons = [cell["reasons"].get(reason, 0) for reason in REASON_NAMES]
            rows.append(
                [
                    short_name(training),
                    short_name(evaluation),
                    _share(cell["rows"], totals[training]),
                    *(f"{count:,}" for count in counts),
                    questions,
                    *(f"{count:,}" for count in reasons),
                ]
            )
    return rows


def pair_lines(report: Mapping[str, Any]) -> list[str]:
    """Returns a line of text for each training file and evaluation file with matches."""
    _, *pairs = pair_rows(report)
    return [
        f"{training} x {evaluation}: {rows} rows match, {strong} strongly; {questions} questions found; "
        + ", ".join(f"{name} {n}" for name, n in zip(REASON_NAMES.values(), counts, strict=True) if n != "0")
        for training, evaluation, rows, strong, _, questions, *counts in pairs
    ]


def short_name(file: str) -> str:
    """Returns the name of a file with its folder."""
    return "/".join(Path(file).parts[-2:])


def _share(count: int, rows: int) -> str:
    return f"{count:,} ({count / rows:.2%})" if count else "0"


def _rule(options: Mapping[str, Any]) -> str:
    return (
        f"A training row matches if it shares {options['ngram']} words in a row with an evaluation question, or has a "
        f"shorter question as its whole or as whole sentences. Policy: {options['policy']}; near duplicates: "
        f"{options['near_duplicates']}; number-blind: {options['number_blind']}; copies: {options['duplicates']}; "
        f"near copies: {options['near_copies']}. A score is the share of the question's n-grams."
    )
