"""Weights with all their values at hand, as a test sends them to a generator."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Weights:
    """Implements `interfaces.Weights`."""

    version: int
    buckets: tuple[Any, ...]
    checksums: dict[str, int]
    fingerprint_logprobs: tuple[float, ...]
    num_bytes: int
