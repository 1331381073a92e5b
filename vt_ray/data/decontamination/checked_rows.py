"""Training rows with their matches, in the order of the files: on one core, or with Ray Data on a cluster.

    files --read_questions--> batches of rows --Matcher.matches--> CheckedRow, ...

Both ways call `check_batch` with the same batches, so that they give the same result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from vt_ray.data.decontamination.matcher import Match, Matcher
from vt_ray.data.decontamination.options import DecontaminationOptions
from vt_ray.data.decontamination.rows import Question, read_questions

# The words of a batch should fit into the cache of a core.
BATCH_ROWS = 500


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """`line`: the row as JSON, as it is written to kept.jsonl or dropped.jsonl."""

    question: Question
    line: str
    matches: list[Match] = field(default_factory=list)


def checked_rows(sources: Sequence[str], matcher: Matcher, question_field: str = "") -> Iterator[list[CheckedRow]]:
    """Yields batches of checked rows, on one core. Raises ProblemFileError."""
    for source in sources:
        for batch in _batches(source, question_field):
            yield check_batch(batch, matcher)


def check_batch(rows: Sequence[CheckedRow], matcher: Matcher) -> list[CheckedRow]:
    """Returns the rows with their matches."""
    found: list[list[Match]] = [[] for _ in rows]
    for match in matcher.matches([row.question.text for row in rows]):
        found[match.text].append(match)
    return [CheckedRow(row.question, row.line, matches) for row, matches in zip(rows, found, strict=True)]


def checked_rows_on_ray(
    sources: Sequence[str], questions: Sequence[Question], options: DecontaminationOptions, question_field: str = ""
) -> Iterator[list[CheckedRow]]:
    """Yields the same batches as `checked_rows`, with Ray Data: one task reads a file, any number check its batches.

    All nodes must see the files under the same paths. Uses the running cluster, or starts one on this machine.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ValueError(f"Ray Data is not installed ({error}): pip install 'ray[data]', or use one core") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    # A core less than there are: the tasks that read the files need some. On one core they share it.
    cores = ray.cluster_resources().get("CPU", 1)
    checkers = max(1, int(cores) - 1)
    # A row of the dataset is a whole batch, as JSON text, so that batches keep their limits.
    checked = (
        ray.data.from_items([{"source": source} for source in sources], override_num_blocks=len(sources))
        .map_batches(_RowReader(question_field).batches, batch_size=1, num_cpus=0.5)
        .map_batches(
            RayChecker,
            fn_constructor_args=(ray.put(list(questions)), options),
            batch_size=1,
            num_cpus=1 if cores >= 2 else 0.5,
            concurrency=(1, checkers),
        )
    )
    for row in checked.iter_rows():
        yield [_from_json(item) for item in json.loads(row["rows"])]


class _RowReader:
    """A task of Ray Data: yields the batches of a file."""

    def __init__(self, question_field: str):
        self._field = question_field

    def batches(self, files: dict[str, Any]) -> Iterator[dict[str, list[str]]]:
        for source in files["source"]:
            for batch in _batches(str(source), self._field):
                yield {"rows": [json.dumps([asdict(row) for row in batch])]}


class RayChecker:
    """An actor of Ray Data: builds the Matcher once and checks batches."""

    def __init__(self, questions: Any, options: DecontaminationOptions):
        import ray

        self._matcher = Matcher(ray.get(questions), options)

    def __call__(self, batches: dict[str, Any]) -> dict[str, list[str]]:
        checked = []
        for text in batches["rows"]:
            rows = check_batch([_from_json(item) for item in json.loads(str(text))], self._matcher)
            checked.append(json.dumps([asdict(row) for row in rows]))
        return {"rows": checked}


def _batches(source: str, question_field: str) -> Iterator[tuple[CheckedRow, ...]]:
    rows = (
        CheckedRow(question, json.dumps(row.fields, default=str))
        for row, question in read_questions(source, question_field)
    )
    while batch := tuple(islice(rows, BATCH_ROWS)):
        yield batch


def _from_json(item: dict[str, Any]) -> CheckedRow:
    matches = [Match(**match) for match in item["matches"]]
    return CheckedRow(Question(**item["question"]), item["line"], matches)
