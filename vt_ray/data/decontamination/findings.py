"""The findings of training rows: matches with evaluation questions, and copies of earlier training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vt_ray.data.decontamination.checked_rows import CheckedRow
from vt_ray.data.decontamination.copies import Copies, Copy
from vt_ray.data.decontamination.matcher import REASONS, Match
from vt_ray.data.decontamination.options import DecontaminationOptions
from vt_ray.data.decontamination.rows import Question

WITHHELD = "(withheld)"
_STRENGTH = (*REASONS, "duplicate", "near_copy")


class Findings:
    """The findings of each row: matches with evaluation questions and copies of earlier rows."""

    def __init__(self, questions: Sequence[Question], options: DecontaminationOptions):
        self._questions, self._options = questions, options
        self._copies = Copies(options)

    def of_batch(self, rows: Sequence[CheckedRow]) -> list[list[dict[str, Any]]]:
        """Returns the findings of each row, strongest first: a finding that drops the row, then by reason."""
        copies = self._copies.of_batch(
            [row.question.text for row in rows], [(row.question.file, row.question.row) for row in rows]
        )
        return [self._sorted(row, copy) for row, copy in zip(rows, copies, strict=True)]

    def _sorted(self, row: CheckedRow, copy: Copy | None) -> list[dict[str, Any]]:
        found = [self._match(row, match) for match in row.matches]
        if copy:
            found.append(
                {"reason": copy.reason, "score": copy.score, "training_file": copy.file, "training_row": copy.row}
            )
        return sorted(found, key=lambda f: (not self.drops(f), _STRENGTH.index(f["reason"]), -f["score"]))

    def drops(self, finding: dict[str, Any]) -> bool:
        return self._options.action(finding["reason"], finding["score"]) == "drop"

    def _match(self, row: CheckedRow, match: Match) -> dict[str, Any]:
        question = self._questions[match.question]
        return {
            "reason": match.reason,
            "score": round(match.score, 3),
            "evaluation_file": question.file,
            "evaluation_row": question.row,
            "other_evaluation_rows": match.others,
            "shared_words": WITHHELD if question.withheld or row.question.withheld else match.shared,
        }


def shown_text(row: Question, found: Sequence[dict[str, Any]]) -> str:
    """The text of a training row for a report; withheld if it, or an evaluation question that it contains, must be."""
    hidden = row.withheld or any(finding.get("shared_words") == WITHHELD for finding in found)
    return WITHHELD if hidden else row.text
