"""Settings of decontamination. Each pass drops, reports or is off."""

from __future__ import annotations

from dataclasses import dataclass

ACTIONS = ("drop", "report", "off")


@dataclass(frozen=True)
class DecontaminationOptions:
    """`policy` is "drop" or "report"; the passes are "drop", "report" or "off".

    ngram: words of an n-gram. A training row that shares one with an evaluation row is contaminated. A text with fewer
        words is compared by its whole.
    policy: what happens to contaminated rows. "report" keeps all rows, also those of the other passes.
    ngram_share: least share of the evaluation question's n-grams that a row must contain to be dropped; rows below it
        are reported. 0 is the rule of the paper: any shared n-gram.
    near_duplicates: rows whose shingles of three words overlap with an evaluation row (MinHash).
    near_threshold: least Jaccard similarity of the shingles.
    number_blind: rows that contain an evaluation question up to its numbers.
    number_blind_share: least share of the question's n-grams.
    duplicates: exact copies within the training rows; the first copy is kept. "report" by default, because traces for
        SFT have several rows for one question.
    near_copies: near copies within the training rows (MinHash; 6 KB of memory for a row).
    """

    ngram: int = 10
    policy: str = "drop"
    ngram_share: float = 0.0
    near_duplicates: str = "drop"
    near_threshold: float = 0.7
    number_blind: str = "report"
    number_blind_share: float = 0.8
    duplicates: str = "report"
    near_copies: str = "off"

    def __post_init__(self) -> None:
        if not 2 <= self.ngram <= 50:
            raise ValueError(f"ngram={self.ngram}: expected 2 to 50 words")
        if self.policy not in ("drop", "report"):
            raise ValueError(f"policy={self.policy!r}: expected drop or report")
        for name in ("near_duplicates", "number_blind", "duplicates", "near_copies"):
            if getattr(self, name) not in ACTIONS:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected {', '.join(ACTIONS)}")
        for name in ("near_threshold", "number_blind_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected a number above 0, at most 1")

        if not 0 <= self.ngram_share <= 1:
            raise ValueError(f"ngram_share={self.ngram_share}: expected 0 to 1")

    def action(self, reason: str, score: float = 1.0) -> str:
        """Returns "drop", "report" or "off" for a finding of this reason and score."""
        own = {
            "near_duplicate": self.near_duplicates,
            "number_blind": self.number_blind,
            "duplicate": self.duplicates,
            "near_copy": self.near_copies,
        }.get(reason, "drop")
        reported = self.policy == "report" or (reason == "ngram" and score < self.ngram_share)
        return "report" if own == "drop" and reported else own
