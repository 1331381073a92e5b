"""Limits of the verifier, and the sandbox for programs: the section `verify` of the settings."""

from __future__ import annotations

from dataclasses import dataclass, field

BACKENDS = ("namespaces", "namespaces_without_proc", "landlock")


@dataclass
class SandboxConfig:
    """The sandbox that runs the programs of code answers. docker/README.md lists what each backend confines."""

    # "namespaces", "namespaces_without_proc" or "landlock". "auto" takes the first of these that confines a trial
    # program on this machine, and refuses code if none does. "remote" sends programs to `remote_url`.
    backend: str = "auto"
    # Python interpreter, 3.9 or newer, that runs the programs. Empty: the first that the user of the sandbox can read.
    python: str = ""
    # true runs programs with limits but without confinement if no backend works: only for programs that you trust.
    unsafe: bool = False
    # URL of a SandboxFusion server, for backend=remote.
    remote_url: str = ""
    # Tests after which the process that starts the programs is replaced, at least 1.
    recycle_after: int = 5_000


# Larger values are refused by the operating system, so no program could run.
_DAY_S = 86_400
HIGHEST_LIMITS = {
    "test_timeout_s": _DAY_S,
    "completion_timeout_s": _DAY_S,
    "memory_mb": 16 << 20,
    "output_kb": 1 << 20,
    "math_timeout_s": _DAY_S,
    "function_timeout_s": _DAY_S,
}


def limit_fault(name: str, value: float) -> str | None:
    """The error message for a limit that is not above 0 or exceeds its highest value, else None."""
    highest = HIGHEST_LIMITS[name]
    if 0 < value <= highest:
        return None
    return f"{name}={value} must be above 0 and at most {highest}: the default is {getattr(Limits, name)}"


@dataclass
class Limits:
    """Limits of the verifier. A completion that exceeds one is wrong; for a kind of `kinds` it is unverified."""

    # Wall-clock seconds of one code test, above 0.
    test_timeout_s: float = 2.0
    # Wall-clock seconds of all tests of one program together, above 0. Bounds a program that stays just below the limit
    # of each test.
    completion_timeout_s: float = 10.0
    # MiB of memory of one code test, of the algebra process, and of a call of a function in `kinds`.
    memory_mb: int = 512
    # KiB of standard output of a test, or of the JSON result of a `call` test. A larger expected output allows at least
    # twice its own size.
    output_kb: int = 64
    # Wall-clock seconds to compare one math answer by computer algebra, above 0.
    math_timeout_s: float = 5.0
    # Wall-clock seconds of one call of a function in `kinds`, above 0.
    function_timeout_s: float = 5.0
    # Kinds of problems of your own: name -> import path "package.module:function". The function takes the completion's
    # text and the fields of the problem's row (a dict), and returns True, False or a vt_ray.records.Verdict.
    kinds: dict[str, str] = field(default_factory=dict)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)

    @property
    def longest_completion_s(self) -> float:
        """Seconds that one completion of any kind may take, without the start of child processes."""
        return self.completion_timeout_s + self.math_timeout_s + self.function_timeout_s

    def __post_init__(self) -> None:
        """Raises ValueError if a limit is out of range."""
        for name in HIGHEST_LIMITS:
            if fault := limit_fault(name, getattr(self, name)):
                raise ValueError(f"verifier limit {fault}")
