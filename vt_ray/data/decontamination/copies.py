"""Copies of one question within the training rows: exact ones, and near ones by MinHash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from vt_ray.data.decontamination.near import NearIndex, sketches
from vt_ray.data.decontamination.options import DecontaminationOptions
from vt_ray.data.decontamination.text import tokens
from vt_ray.data.decontamination.word_hashes import hash_texts


@dataclass(frozen=True, slots=True)
class Copy:
    """A training row repeats an earlier one. `reason`: "duplicate" or "near_copy"."""

    reason: str
    file: str
    row: int
    score: float


class Copies:
    """Remembers all training questions in the order of the files: about 200 bytes each, 6 KB with near copies."""

    def __init__(self, options: DecontaminationOptions):
        self._exact = options.action("duplicate") != "off"
        self._near = NearIndex(options.near_threshold, exact=False) if options.action("near_copy") != "off" else None
        self._places: dict[int, tuple[int, int]] = {}
        self._files: list[str] = []
        self._near_places: list[tuple[str, int]] = []

    def of_batch(self, texts: Sequence[str], places: Sequence[tuple[str, int]]) -> list[Copy | None]:
        """Returns the earlier copy of each text, or None. `places`: [(file, row), ...] of the texts."""
        found: list[Copy | None] = [None] * len(texts)
        if self._near:
            for text, sketch in sketches(hash_texts(texts)):
                similar = self._near.similar(sketch)
                if similar:
                    earlier, score = similar[0]
                    found[text] = Copy("near_copy", *self._near_places[earlier], round(score, 3))
                else:
                    self._near.add(len(self._near_places), sketch)
                    self._near_places.append(places[text])
        if self._exact:
            for number, place in enumerate(places):
                found[number] = self._exact_copy(texts[number], place) or found[number]
        return found

    def _exact_copy(self, text: str, place: tuple[str, int]) -> Copy | None:
        """Words and operators count: `x + 2` and `x - 2` differ."""
        key = int.from_bytes(blake2b(" ".join(tokens(text)).encode(), digest_size=8).digest())
        if not self._files or self._files[-1] != place[0]:
            self._files.append(place[0])
        number, first = self._places.setdefault(key, (len(self._files) - 1, place[1]))
        file = self._files[number]
        return None if (file, first) == place else Copy("duplicate", file, first, 1.0)
