"""Questions that a new problem must not repeat: earlier ones of the same file, and those of files of the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vt_ray.data.decontamination.copies import Copies
from vt_ray.data.decontamination.matcher import Matcher
from vt_ray.data.decontamination.options import DecontaminationOptions
from vt_ray.data.decontamination.rows import read_all
from vt_ray.data.layouts.layout import question_digest
from vt_ray.records import Problem

# As `vt-tools decontaminate`, but a question with other numbers and a near copy are left out too: writing one more
# problem costs little.
OPTIONS = DecontaminationOptions(number_blind="drop", duplicates="off", near_copies="drop")


class Screen:
    """Remembers each question that it sees. `against` are sources: files, folders, globs or hub names.

    Raises ProblemFileError for a source that cannot be read, ValueError for a source that is listed twice.
    """

    def __init__(self, against: Sequence[str]):
        questions = read_all(against)
        self._matcher = Matcher(questions, OPTIONS) if questions else None
        self._copies = Copies(OPTIONS)
        self._seen: set[bytes] = set()

    def fault(self, problem: Problem) -> str:
        """Returns the question that the problem repeats, by its place; "" for a new question."""
        digest = question_digest(problem)
        if digest in self._seen:
            return "copy of an earlier question"
        self._seen.add(digest)
        if self._copies.of_batch([problem.question], [("", len(self._seen))])[0]:
            return "near copy of an earlier question"
        matches = self._matcher.matches([problem.question]) if self._matcher else []
        for match in matches:
            if OPTIONS.action(match.reason, match.score) == "drop":
                file = self._matcher.questions[match.question].file if self._matcher else ""
                return f"{match.reason.replace('_', ' ')} of a question in {Path(file).name}"
        return ""
