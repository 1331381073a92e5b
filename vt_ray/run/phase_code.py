"""The code that a phase's result depends on: all modules that its work imports, without comments and docstrings.

entry modules of a phase --imports, recursively, without MACHINERY--> modules --AST--> one digest per module
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from vt_ray.config import digest

PACKAGE = Path(__file__).parent.parent
ROOT = PACKAGE.name

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

# The modules that do the work of each phase; Ray actors only forward it. Modules that make and read problems are not
# listed, because the digest of the problems themselves is an input of the phase; likewise for traces.
_ANSWERS = ("data.prompts", "engines.vllm.engine", "verify")
# The held-out loss of an SFT is the likelihood of its examples.
_SFT = ("data.prompts", "spectrum_phase.examples", "spectrum_phase.sft", "engines.training", "engines.likelihood")
_PROBE = (*_ANSWERS, "spectrum_phase.probing")
_FUSION = (*_PROBE, "spectrum_phase.fusing")
ENTRIES = {
    "base": ("engines.base_model",),
    "sft": _SFT,
    "sft2": (*_SFT, "spectrum_phase.hard_examples"),
    "sft_continued": _SFT,
    "error_rates": (*_ANSWERS, "spectrum_phase.hard_examples"),
    "probe": _PROBE,
    "probe2": _PROBE,
    "fused": _FUSION,
    "fused2": _FUSION,
    "rejection": (*_ANSWERS, "self_distillation.rejection"),
    "self_distil": (*_SFT, "self_distillation.self_distil"),
    "spectrum_scores": (*_ANSWERS, "evaluation.milestones"),
}
# Modules and packages that cannot change a result: they transfer, monitor, validate, store and display. Their imports
# are not followed. Settings (config, verify.limits) are compared by value.
MACHINERY = (
    "actors",
    "benchmarks",
    "config",
    "data.benchmark_problems",
    "data.prefetch",
    "data.problem_sets",
    "data.source_report",
    "data.traces.files",
    "data_tools",
    "algorithms.flops",
    "engines.attention_check",
    "engines.learner_state",
    "engines.step_counts",
    "engines.vllm.counters",
    "engines.vllm.engine_args",
    "engines.vllm.held_weights",
    "engines.vllm.transfer",
    "engines.vllm.transfer_gpu",
    "engines.weights",
    "evaluation.benchmark_figures",
    "evaluation.energy",
    "evaluation.results_file",
    "evaluation.traces",
    "experiment",
    "import_path",
    "interfaces",
    "main",
    "pipeline",
    "planning",
    "problem_writer",
    "progress",
    "report",
    "run",
    "spectrum_phase.fuse_command",
    "self_distillation.phases",
    "spectrum_phase.given_checkpoints",
    "tools",
    "tracking",
    "verify.files.grading",
    "verify.files.rows",
    "verify.files.verdict_counts",
    "verify.files.verdict_file",
    "verify.limits",
    "verify.gold_check",
)
# Modules that only display a run or have no part in it. All other modules are part of `code_digest`.
SHOWN = (
    "data.contents",
    "data_tools",
    "planning.learner_memory",
    "planning.resource_plan",
    "problem_writer",
    "progress",
    "report",
    "tools",
    "tracking",
)


def phase_code(phase: str) -> dict[str, str]:
    """{module: digest} of the modules that the result of `phase` depends on; all modules for an unknown phase."""
    if phase not in ENTRIES:
        return _digests(_modules_below(PACKAGE))
    found: set[str] = set()
    waiting = [name for entry in ENTRIES[phase] for name in _modules_below(PACKAGE / entry.replace(".", "/"))]
    while waiting:
        name = waiting.pop()
        if name not in found and not is_machinery(name):
            found.add(name)
            waiting += _imports(_file(name))
    return _digests(found)


def code_digest() -> str:
    """A hash of the package's code without the modules that only display a run. Each start of a run records it."""
    return digest(_digests(name for name in _modules_below(PACKAGE) if not _among(name, SHOWN)))


def is_machinery(module: str) -> bool:
    return _among(module, MACHINERY)


def _among(module: str, others: Iterable[str]) -> bool:
    return any(f"{module}.".startswith(f"{other}.") for other in others)


def _digests(names: Iterable[str]) -> dict[str, str]:
    return {name: _digest(_file(name)) for name in sorted(names)}


def _modules_below(path: Path) -> list[str]:
    """The module at `path`, or all modules if it is a package."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return [_name(file) for file in files]


def _name(file: Path) -> str:
    relative = file.relative_to(PACKAGE).with_suffix("")
    return ".".join(relative.parts[:-1] if relative.name == "__init__" else relative.parts)


def _file(name: str) -> Path:
    path = PACKAGE.joinpath(*filter(None, name.split(".")))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _imports(file: Path) -> tuple[str, ...]:
    """The modules of this package that `file` imports, also inside functions; names are relative to the package."""
    return tuple(name for name in _imported(ast.parse(file.read_text())) if _file(name).is_file())


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from vt_ray.signal_phase import gate` imports a module, `from vt_ray.config import Config` does not.
            full = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name.removeprefix(ROOT).strip(".") for name in full if f"{name}.".startswith(f"{ROOT}."))


@cache
def _digest(file: Path) -> str:
    """The digest of the syntax tree: comments, docstrings and layout do not change it."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return digest(ast.unparse(tree))
