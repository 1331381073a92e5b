"""The question of a row of any public layout, and whether its text may be shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vt_ray.data.json_text import loads
from vt_ray.data.problem_rows import Row, read_rows

# In order of preference. LeetCodeDataset and HumanEval have a `prompt` beside or instead of the statement.
QUESTION_FIELDS = (
    *("question", "Question", "problem", "questions", "problem_text", "problem_description", "question_content"),
    *("quiz", "description", "query", "instruction", "prompt", "messages", "conversations", "input", "text"),
)
_TEXT_KEYS = ("content", "value", "stem")
_USERS = ("user", "human")


@dataclass(frozen=True, slots=True)
class Question:
    """The question of one row. `withheld`: its authors ask that its text is not published."""

    file: str
    row: int
    text: str
    withheld: bool = False


def question_of(row: Row, field: str = "") -> Question:
    """Returns the question of a row: of the named field, else of the first field in QUESTION_FIELDS that has text.

    Raises ProblemFileError if the row has none.
    """
    names = [field] if field else [name for name in QUESTION_FIELDS if name in row.fields]
    for name in names:
        text = _text(row.fields.get(name))
        if text:
            if name == "instruction" and (more := _text(row.fields.get("input"))):
                text = f"{text}\n{more}"
            return Question(
                str(row.path), row.number, row.encodable(name, text), is_withheld(str(row.path), row.fields)
            )
    raise row.error(f"no question in the fields {sorted(row.fields)}: name the field of the question with --field")


def read_questions(source: str, field: str = "") -> Iterator[tuple[Row, Question]]:
    """Yields each row of a source with its question. Raises ProblemFileError."""
    for row in read_rows(source):
        yield row, question_of(row, field)


def read_all(sources: Sequence[str], field: str = "") -> list[Question]:
    """Returns the questions of all sources. Raises ProblemFileError, ValueError for a source that is listed twice."""
    refuse_repeated(sources)
    return [question for source in sources for _, question in read_questions(source, field)]


def refuse_repeated(sources: Sequence[str]) -> None:
    """Raises ValueError if a source is listed twice."""
    for source, count in Counter(sources).items():
        if count > 1:
            raise ValueError(f"{source} is listed {count} times: list it once")


def _text(value: Any) -> str:
    """Returns the text of a field: text, a chat (list or JSON text; its first user message), or an object with text."""
    if isinstance(value, str):
        stripped = value.strip()
        if stripped.startswith("[{") and (chat := _chat(stripped)) is not None:
            return _text(chat)
        return stripped
    if isinstance(value, dict):
        return next((_text(value[key]) for key in _TEXT_KEYS if value.get(key)), "")
    if isinstance(value, (list, tuple)) and all(isinstance(part, dict) for part in value):
        said = [part for part in value if part.get("role", part.get("from")) in _USERS]
        return _text(said[0]) if said else ""
    return ""


def _chat(text: str) -> Any:
    try:
        return loads(text)
    except ValueError:
        return None


def is_withheld(source: str, names: Iterable[str]) -> bool:
    """Whether a row of this source and these fields is of GPQA or has a canary: no report and no tracker shows it."""
    return "gpqa" in source.lower() or any("canary" in name.lower() for name in names)
