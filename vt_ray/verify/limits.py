"""What one completion may cost the verifier."""

from __future__ import annotations

from dataclasses import dataclass, field

BACKENDS = ("namespaces", "namespaces_without_proc", "landlock")


@dataclass
class SandboxConfig:
    """How programs are confined.

    `backend` "auto" takes the first of `BACKENDS` whose walls hold on this machine, and refuses code where none
    does; a name asks for that one; "remote" sends programs to the SandboxFusion server at `remote_url`.
    `unsafe` runs programs with limits but no walls where no backend holds: for programs you would run yourself.
    `python` is the interpreter that runs programs ("" finds an interpreter that the sandbox's user can read).
    A broker is replaced after `recycle_after` tests.
    """

    backend: str = "auto"
    python: str = ""
    unsafe: bool = False
    remote_url: str = ""
    recycle_after: int = 5_000


# The operating system refuses longer waits and larger sizes somewhere above these, and then no program can be run.
_DAY_S = 86_400
HIGHEST_LIMITS = {
    "test_timeout_s": _DAY_S,
    "completion_timeout_s": _DAY_S,
    "memory_mb": 16 << 20,
    "output_kb": 1 << 20,
    "math_timeout_s": _DAY_S,
}


def limit_fault(name: str, value: float) -> str | None:
    """The fault of a limit's value, in words; None where the value is above 0 and at most its highest value."""
    highest = HIGHEST_LIMITS[name]
    if 0 < value <= highest:
        return None
    return f"{name}={value} must be above 0 and at most {highest}: the default is {getattr(Limits, name)}"


@dataclass
class Limits:
    """Time in wall-clock seconds, sizes in MiB and KiB.

    `completion_timeout_s` bounds all tests of one program together, so that a program just under the limit of
    each test cannot hold a worker for minutes. `output_kb` bounds the standard output of a test and, for a
    `call` test, the JSON text of the result; where much is expected, twice that.
    """

    test_timeout_s: float = 2.0
    completion_timeout_s: float = 10.0
    memory_mb: int = 512
    output_kb: int = 64
    math_timeout_s: float = 5.0
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)

    def __post_init__(self) -> None:
        """Raises ValueError where a limit is out of range."""
        for name in HIGHEST_LIMITS:
            if fault := limit_fault(name, getattr(self, name)):
                raise ValueError(f"verifier limit {fault}")
