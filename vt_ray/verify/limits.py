"""What one completion may cost the verifier."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Limits:
    """Time in wall-clock seconds, sizes in MiB and KiB.

    `completion_timeout_s` bounds all tests of one program together, so that a program just under the limit of
    each test cannot hold a worker for minutes. `output_kb` bounds the standard output of a test and, for a
    `call` test, the JSON text of the result.
    """

    test_timeout_s: float = 2.0
    completion_timeout_s: float = 10.0
    memory_mb: int = 512
    output_kb: int = 64
    math_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"verifier limit {name} is {value}: it must be above 0, set it to a positive number")
