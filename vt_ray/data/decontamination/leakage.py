"""Counts of a decontamination: which training file contains how many rows of which evaluation file.

`Leakage.as_json` is report.json:

    {"options", "seconds", "rows", "kept", "dropped", "reported",
     "training": [{"file", "rows", "kept", "dropped", "reported"}],
     "evaluation": [{"file", "rows"}],
     "matrix": [{"training_file", "evaluation_file", "rows", "share", "kept_rows", "strong_rows", "evaluation_rows",
                 "reasons": {"ngram": 3}, "examples": [...]}],
     "copies": {"duplicate": 0, "near_copy": 0}, "boilerplate_ngrams"}
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

# Examples of a cell of the matrix: of dropped and of kept rows.
EXAMPLES = 5
EXAMPLE_CHARACTERS = 600
# A row is a strong match from this score on: half of the question's n-grams.
STRONG = 0.5


@dataclass
class TrainingCounts:
    rows: int = 0
    dropped: int = 0
    reported: int = 0


@dataclass
class Cell:
    """The matches between one training file and one evaluation file. A row counts once, and once for each reason."""

    rows: int = 0
    kept_rows: int = 0
    strong_rows: int = 0
    evaluation_rows: set[int] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, findings: list[dict[str, Any]], dropped: bool, text: str) -> None:
        self.rows += 1
        self.kept_rows += not dropped
        self.strong_rows += max(finding["score"] for finding in findings) >= STRONG
        self.reasons.update({finding["reason"] for finding in findings})
        self.evaluation_rows |= {finding["evaluation_row"] for finding in findings}
        if sum(example["dropped"] == dropped for example in self.examples) < EXAMPLES:
            self.examples.append({**findings[0], "dropped": dropped, "training_text": text[:EXAMPLE_CHARACTERS]})


@dataclass
class Leakage:
    training: dict[str, TrainingCounts]
    evaluation: dict[str, int]
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    copies: Counter[str] = field(default_factory=Counter)

    def add(self, file: str, text: str, findings: list[dict[str, Any]], dropped: bool) -> None:
        """Counts one training row. `findings` have the keys of a line of dropped.jsonl."""
        counts = self.training[file]
        counts.rows += 1
        counts.dropped += dropped
        counts.reported += bool(findings) and not dropped
        by_file: dict[str, list[dict[str, Any]]] = {}
        for finding in findings:
            if finding["reason"] in ("duplicate", "near_copy"):
                self.copies[finding["reason"]] += 1
            else:
                by_file.setdefault(finding["evaluation_file"], []).append(finding)
        for evaluation, found in by_file.items():
            self.cells.setdefault((file, evaluation), Cell()).add(found, dropped, text)

    def as_json(self) -> dict[str, Any]:
        rows = sum(counts.rows for counts in self.training.values())
        dropped = sum(counts.dropped for counts in self.training.values())
        return {
            "rows": rows,
            "kept": rows - dropped,
            "dropped": dropped,
            "reported": sum(counts.reported for counts in self.training.values()),
            "training": [
                {
                    "file": file,
                    "rows": counts.rows,
                    "kept": counts.rows - counts.dropped,
                    "dropped": counts.dropped,
                    "reported": counts.reported,
                }
                for file, counts in self.training.items()
            ],
            "evaluation": [{"file": file, "rows": count} for file, count in self.evaluation.items()],
            "matrix": [self._cell(file, evaluation) for file in self.training for evaluation in self.evaluation],
            "copies": {"duplicate": self.copies["duplicate"], "near_copy": self.copies["near_copy"]},
        }

    def _cell(self, file: str, evaluation: str) -> dict[str, Any]:
        cell = self.cells.get((file, evaluation), Cell())
        return {
            "training_file": file,
            "evaluation_file": evaluation,
            "rows": cell.rows,
            "share": round(cell.rows / max(self.training[file].rows, 1), 6),
            "kept_rows": cell.kept_rows,
            "strong_rows": cell.strong_rows,
            "evaluation_rows": len(cell.evaluation_rows),
            "reasons": dict(sorted(cell.reasons.items())),
            "examples": cell.examples,
        }
