"""Which gold answers of a source the verifier tests, and the record of the result for the next start.

problems --at most 2,000 math and choice, 200 code, drawn by a fixed seed--> verify.gold_check --> GoldTests
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from vt_ray import verify
from vt_ray.import_path import import_object
from vt_ray.progress import bar
from vt_ray.records import Problem
from vt_ray.verify.limits import Limits
from vt_ray.verify.sandbox.backends import NoSandbox, choose_backend

# The check as an import path: SFT reads problems too, and its result must not depend on the graders' code.
_CHECK = "vt_ray.verify.gold_check:gold_faults"
SAMPLE = 2_000
PROGRAM_SAMPLE = 200
# Seconds for the reference programs of a sample. A test of all programs has no limit.
_PROGRAMS_S = 120.0
# From this number of gold answers a progress bar is shown and the result is kept; one program takes about as long as
# twenty of them.
_MANY = 1_000
_PROGRAM_WEIGHT = 20
# The packages that compare math answers.
_PACKAGES = ("math-verify", "latex2sympy2-extended", "sympy")
_NAMED_ROWS = 5


@dataclass(frozen=True)
class GoldTests:
    """`tested` gold answers were tested; `faults` are the problems that failed, each with its fault."""

    tested: int
    faults: tuple[tuple[Problem, str], ...] = ()

    def summary(self, path: str) -> str:
        """Returns the number of faults and the first of them. `path` is the source, whose name is left out."""
        named = "; ".join(
            f"{f'row {p.row}' if p.source == path else p.place}: {f'{p.answer!r:.60}: ' if p.answer else ''}{fault}"
            for p, fault in self.faults[:_NAMED_ROWS]
        )
        more = f" and {len(self.faults) - _NAMED_ROWS} more" if len(self.faults) > _NAMED_ROWS else ""
        return f"{len(self.faults):,} of {self.tested:,} tested gold answers do not pass the verifier ({named}{more})"


def check_golds(problems: Sequence[Problem], whole: bool = False) -> GoldTests:
    """Tests the gold answers of a sample; with `whole` those of all math and choice problems, and no time limit.

    A result that took seconds is kept in the user's cache folder, by a digest of the problems and of the verifier's
    code, and read from there at the next start. Raises ValueError if the verifier cannot be started.
    """
    drawn = sample(problems, whole)
    weight = sum(_PROGRAM_WEIGHT if p.kind == "code" else 1 for p in drawn)
    if weight < _MANY:
        faults = list(import_object(_CHECK)(drawn))
    else:
        record = _record(drawn, whole)
        faults = _recorded(record)
        if not faults:
            faults = list(_faults_with_a_bar(drawn, whole))
            if not any(p.kind == "code" for p in drawn) or _has_sandbox():
                _write(record, faults)
    return GoldTests(len(faults), tuple((p, fault) for p, fault in zip(drawn, faults, strict=False) if fault))


def sample(problems: Sequence[Problem], whole: bool = False) -> list[Problem]:
    """Returns the problems that are tested, in order, programs last: they may reach the time limit."""
    programs = [p for p in problems if p.kind == "code" and p.solutions]
    others = [p for p in problems if p.kind in ("math", "choice")]
    return [*_drawn(others, SAMPLE, whole), *_drawn(programs, PROGRAM_SAMPLE, whole=False)]


def _drawn(problems: list[Problem], size: int, whole: bool) -> list[Problem]:
    if whole or len(problems) <= size:
        return problems
    return [problems[i] for i in sorted(random.Random(0).sample(range(len(problems)), size))]


def _faults_with_a_bar(problems: list[Problem], whole: bool) -> Iterator[str]:
    """Yields the faults in order, up to the time limit of the programs of a sample."""
    programs_begin = 0.0
    with bar("test gold answers", len(problems)) as advance:
        for problem, fault in zip(problems, import_object(_CHECK)(problems), strict=True):
            yield fault
            advance("", 1)
            if problem.kind == "code" and not whole:
                programs_begin = programs_begin or time.monotonic()
                if time.monotonic() - programs_begin > _PROGRAMS_S:
                    return


def _record(problems: list[Problem], whole: bool) -> Path:
    found = hashlib.sha256(repr((whole, sys.version_info[:2], *map(_version, _PACKAGES))).encode())
    for file in sorted(Path(verify.__path__[0]).rglob("*.py")):
        found.update(file.read_bytes())
    for p in problems:
        values = (p.kind, p.answer, p.options, p.tests, p.solutions if p.tests else (), p.tolerance)
        found.update(repr(values).encode("utf-8", "surrogatepass"))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "vt_ray" / "gold_tests" / f"{found.hexdigest()[:32]}.json"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _has_sandbox() -> bool:
    """Whether programs run on this machine. Without a sandbox none has failed, and the next start must test them."""
    try:
        choose_backend(Limits())
    except NoSandbox:
        return False
    return True


def _recorded(record: Path) -> list[str]:
    """Returns the faults of a record, [] without a whole one."""
    try:
        faults = json.loads(record.read_text())
    except (OSError, ValueError):
        return []
    return faults if isinstance(faults, list) and all(isinstance(fault, str) for fault in faults) else []


def _write(record: Path, faults: list[str]) -> None:
    """Writes the faults. Without a writable cache folder the next start tests again."""
    part = record.with_suffix(f".{os.getpid()}")
    with suppress(OSError, RuntimeError):
        record.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(faults))
        part.replace(record)
