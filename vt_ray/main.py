"""Console script `vt-ray`: reads the settings with Hydra, checks them, and runs the pipeline on a Ray cluster.

`vt-ray`, `python -m vt_ray.main` and `python vt_ray/main.py` are the same. This is the only module that imports both
the phases and the Ray actors.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import sys
import textwrap
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

# As a script (`python vt_ray/main.py`), Python puts the folder of the package on the path instead of its parent.
if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from vt_ray import __version__  # noqa: E402
from vt_ray.config import (  # noqa: E402
    CONF,
    MAX_NAME_BYTES,
    REPLACED_SETTINGS,
    Config,
    ConfigError,
    digest,
    to_config,
    weight_label,
)
from vt_ray.planning.placement import ClusterError, with_needed_actors  # noqa: E402
from vt_ray.run.checkpoint import CheckpointError  # noqa: E402

if TYPE_CHECKING:
    from vt_ray.data.decontamination.run_check import RunLeakage
    from vt_ray.data.problem_sets import ProblemSets

ConfigStore.instance().store(name="vt_ray_schema", node=Config)

# A preempted job gets SIGTERM, and SIGKILL at most 30 s later.
TERMINATION_S = 15.0


class RunError(RuntimeError):
    """A run failed. The message is for the screen, and the traceback is in the run's logs/driver.log."""


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def hydra_main(composed: DictConfig) -> float | None:
    """Returns Pass@1 of the last milestone, the objective of Hydra's optimising sweepers; None after dry_run."""
    config = None
    try:
        config = to_config(composed)
        _name_sweep_member(config)
        _interrupt_on_sigterm(config)
        summary = launch(config)
        return summary["milestones"][-1]["pass_at_1"]["mean"] if summary else None
    except (ConfigError, ClusterError, RunError, CheckpointError, OSError) as error:
        # One line instead of Hydra's traceback. A sweep ends here too: its later members are not started.
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(interruption_message(config))


def _interrupt_on_sigterm(config: Config) -> None:
    """Raise KeyboardInterrupt in the main thread on SIGTERM (preemption), as Ctrl-C does.

    If a library swallows the KeyboardInterrupt, or the shutdown hangs, the process exits after TERMINATION_S seconds.
    Ray's processes and the actors then end with the driver. Commits are atomic, so no step is written in part.
    """

    def exit_hard() -> None:
        from vt_ray.progress import console

        with suppress(Exception):
            console.print(interruption_message(config), markup=False, soft_wrap=True)
        os._exit(1)

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        timer = threading.Timer(TERMINATION_S, exit_hard)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def interruption_message(config: Config | None) -> str:
    """The last line on the screen after Ctrl-C or SIGTERM: the newest committed result, and how to continue."""
    from vt_ray.run.run_folder import RunFolder, newest_result

    committed = newest_result(RunFolder(config).root) if config else ""
    if not committed:
        return "interrupted: nothing is committed yet; the same command starts over"
    return f"interrupted: the same command continues after {committed}, which is committed"


def launch(config: Config) -> dict[str, Any] | None:
    """Check the settings, then print the plan (`dry_run=true`) or run the pipeline on a Ray cluster.

    Returns the summary of the run, None after `dry_run`.
    """
    from vt_ray.data.decontamination.run_check import read_known
    from vt_ray.planning.resource_plan import print_plan
    from vt_ray.planning.validate import validate
    from vt_ray.planning.validate.machine import refuse_missing_gpus, refuse_unusable_folders
    from vt_ray.progress import console
    from vt_ray.report.encoded_prompt import print_prompt, recorded_prompt
    from vt_ray.report.leakage_page import write_leakage
    from vt_ray.run.inputs import inputs_digest
    from vt_ray.run.run_folder import RunFolder

    validate(config)
    _refuse_models(config)
    known = read_known(RunFolder(config).paths.decontamination, lambda: inputs_digest(config))
    problems, prompt = _checked_problems(config, known)
    placed = with_needed_actors(config)
    if config.dry_run:
        print_plan(placed, problems)
        if refusal := RunFolder(config).refusal():
            text = f"without dry_run this command is refused: {refusal}"
            console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
        else:
            print_prompt(prompt or recorded_prompt(RunFolder(config).paths.prompt))
        return None
    refuse_missing_gpus(placed)
    refuse_unusable_folders(config)
    confinement = _confinement(config, problems)
    with RunFolder(config).open() as run:
        if problems.leakage and not known:
            write_leakage(run.paths, inputs_digest(config), problems.leakage)
        weight = weight_label(config.signal.mgpo.weight, config.signal.mgpo.lam)
        console.print(f"[bold]vt_ray[/] {run.root}  seed {config.seed}  {weight}", soft_wrap=True)
        console.print(f"code verifier: {confinement}", soft_wrap=True)
        with _third_party_output_to(run.paths.logs / "driver.log"):
            from vt_ray.actors.cluster import RayCluster
            from vt_ray.pipeline import run_pipeline
            from vt_ray.spectrum_phase.fusion_gate import stop_message
            from vt_ray.tracking.follower import following

            with RayCluster(placed, run.paths.logs) as cluster, following(config.tracking, run.root):
                summary = run_pipeline(config, cluster, run, problems)
        console.print(f"report: {run.paths.report}", soft_wrap=True)
        if stopped := stop_message(config, run.root):
            raise RunError(stopped)
    return summary


def _refuse_models(config: Config) -> None:
    """Raises ConfigError for checkpoints to fuse, or models to evaluate or sample, that the engine cannot swap in."""
    from vt_ray.run.milestone_names import named_models
    from vt_ray.spectrum_phase.given_checkpoints import (
        refuse_unusable_checkpoints,
        refuse_unusable_models,
        refuse_unusable_teachers,
    )

    # With model.rope_theta, the base model gets another RoPE than its folder has: the pipeline compares with that.
    is_base = config.model.source == "hf" and config.model.rope_theta is None
    base = Path(config.model.path) if is_base else None
    if config.spectrum.checkpoints:
        refuse_unusable_checkpoints(config.spectrum.checkpoints, base, config.model.dtype)
    if config.evaluation.models:
        refuse_unusable_models(named_models(config.evaluation.models), base, config.model.dtype)
    refuse_unusable_teachers(config, base)


def _checked_problems(config: Config, known: RunLeakage | None) -> tuple[ProblemSets, dict[str, Any]]:
    """The problems of the run, and one encoded prompt, {} if no tokenizer is at hand. Prints the counts by source.

    `known` is the decontamination of an earlier start. Raises ConfigError for data that a phase cannot use.
    """
    from vt_ray.data.benchmark_problems import load_benchmarks
    from vt_ray.data.problem_sets import load_problem_sets, refuse_without_solutions, stage_mixture, stage_problems
    from vt_ray.data.prompts import PromptEncoder
    from vt_ray.data.source_report import print_sources
    from vt_ray.engines.base_model import tokenizer_at_hand
    from vt_ray.evaluation.benchmarks import encodable
    from vt_ray.progress import console
    from vt_ray.report.encoded_prompt import encoded_prompt
    from vt_ray.report.leakage_page import run_lines
    from vt_ray.run.milestone_names import SELF_DISTIL
    from vt_ray.run.run_folder import RunFolder
    from vt_ray.spectrum_phase.examples import measured, print_fit
    from vt_ray.spectrum_phase.groups import refuse_unusable_groups

    problems = load_problem_sets(config.data, config.seed, config.verify.kinds, known, load_benchmarks(config))
    for line in run_lines(problems.leakage):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    # A continued run has its base model, and the pipeline checks the prompts with its tokenizer.
    prompt: dict[str, Any] = {}
    continued = RunFolder(config).paths.base.is_dir()
    if not continued and (tokenizer := tokenizer_at_hand(config.model, download=not config.dry_run)):
        encoder = PromptEncoder(tokenizer, config.data)
        problems = encodable(problems, encoder)
        prompt = encoded_prompt(encoder, problems)
        if config.dry_run and "sft" in config.phases:
            print_fit(measured(encoder, problems, config.spectrum.sft), config.spectrum.sft)
    if "probe" in config.phases:
        refuse_unusable_groups(problems.probe, config.spectrum)
    for stage in config.curriculum.stages if "rl" in config.phases else []:
        stage_mixture(stage, stage_problems(stage, problems.train), problems.sources)
    if "sft" in config.phases or (config.signal.control == "sft" and "rl" in config.phases):
        refuse_without_solutions(problems.solved, config.spectrum.sft.styles, bool(problems.traces.sources))
    if SELF_DISTIL in config.phases and "rejection" not in config.phases and not problems.traces.sources:
        raise ConfigError(
            f"phases={config.phases}: no source of the run has traces for self_distil: add rejection, or give "
            "data.trace_files"
        )
    print_sources(problems.sources)
    return problems, prompt


def _confinement(config: Config, problems: ProblemSets) -> str:
    """A sentence about the sandbox on this machine. Other nodes choose their own sandbox.

    Raises ConfigError if there are code problems and no sandbox works on the machine of a local cluster.
    """
    from vt_ray.verify.kinds import kind_entry
    from vt_ray.verify.sandbox.backends import NoSandbox, choose_backend

    of_benchmarks = [problem for benchmark in problems.benchmarks for problem in benchmark.problems]
    graded = [*problems.train, *problems.test, *of_benchmarks]
    if not any(kind_entry(problem.kind).needs_sandbox for problem in graded):
        return "no code problems"
    try:
        return choose_backend(config.verify).notes[-1]
    except NoSandbox as error:
        if config.cluster.ray_address is None:
            raise ConfigError(str(error)) from error
        return f"not on this machine ({error})"


def _name_sweep_member(config: Config) -> None:
    """Give each member of a sweep a folder of its own, named by the values that the sweep varies."""
    hydra_config = HydraConfig.get()
    if hydra_config.mode != hydra.types.RunMode.MULTIRUN:
        return
    params = hydra_config.sweeper.get("params") or {}
    arguments = [*(f"{key}={value}" for key, value in params.items()), *sys.argv[1:]]
    config.run_name = member_name(config.run_name, varied(arguments, hydra_config.overrides.task))


def varied(arguments: Sequence[str], member: Sequence[str]) -> list[str]:
    """The overrides of one sweep member whose keys have several values in the sweep's `arguments`.

    `run_name` and `runs_dir` are left out, because they name the folder themselves.
    """
    parser = OverridesParser.create()
    parsed = parser.parse_overrides([text for text in arguments if "=" in text and not text.startswith("-")])
    keys = {o.get_key_element() for o in parsed if o.is_sweep_override()} - {"run_name", "runs_dir"}
    return [text for text in member if parser.parse_override(text).get_key_element() in keys]


def member_name(run_name: str, overrides: Sequence[str]) -> str:
    """A folder name of at most MAX_NAME_BYTES. If characters are replaced or cut, a hash keeps the name unique."""
    whole = "-".join([run_name, *overrides])
    name = re.sub(r"[^\w.=,+\[\]{}:@%-]", "_", whole)
    if name == whole and len(os.fsencode(name)) <= MAX_NAME_BYTES:
        return name
    if len(os.fsencode(run_name)) > MAX_NAME_BYTES:
        return run_name  # `validate` refuses it
    suffix = f"-{digest(whole)[:8]}"
    return os.fsencode(name)[: MAX_NAME_BYTES - len(suffix)].decode(errors="ignore") + suffix


def short_message(error: BaseException) -> str:
    """The message of an error in an actor, without the traceback that Ray puts into the text of its own error."""
    cause = getattr(error, "cause", None) or error
    full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or os.strerror(errno.ENOSPC) in str(cause):
        where = getattr(cause, "filename", None) or "no space left"
        return f"the disk is full ({where}): free some space or lower signal.keep_checkpoints"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    text = lines[-1] if "Traceback" in str(cause) else " ".join(lines)
    return textwrap.shorten(f"{type(cause).__name__}: {text}", width=600, placeholder=" ...")


@contextmanager
def _third_party_output_to(path: Path) -> Iterator[None]:
    """Redirect stdout, stderr and logging to `path`, so that the screen shows only our bars and tables.

    The file descriptors are redirected, because C++ code and child processes write to them directly. If the run fails,
    its traceback is written to `path` too, and a RunError carries the short message to the screen.
    """
    from vt_ray.progress import console

    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    screen, errors = os.dup(1), os.dup(2)
    with path.open("a") as log, os.fdopen(screen, "w") as to_screen:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        console.file = to_screen
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, force=True)
        logging.captureWarnings(True)
        try:
            yield
        except ConfigError:
            raise
        except Exception as error:
            # The log may be on a full disk.
            with suppress(OSError):
                traceback.print_exc()
            if isinstance(error, ClusterError):
                raise
            raise RunError(
                f"{short_message(error)}\n       the traceback is in {path}, the log of each actor in the same folder; "
                "after a fix, the same command continues after the newest committed step"
            ) from error
        finally:
            console.file = sys.stdout
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os.dup2(screen, 1)
            os.dup2(errors, 2)
            os.close(errors)


def main() -> None:
    if sys.argv[1:] == ["--version"]:  # Hydra would print its own version
        print(f"vt_ray {__version__}")
        return
    _refuse_replaced_settings(sys.argv[1:])
    hydra_main()


def _refuse_replaced_settings(arguments: Sequence[str]) -> None:
    """Exits with the new name of a setting: Hydra's own message would only say that it does not know the setting."""
    for argument in arguments:
        key = argument.lstrip("+~").partition("=")[0]
        if key in REPLACED_SETTINGS:
            sys.exit(f"error: {argument}: this setting no longer exists: {REPLACED_SETTINGS[key]}")


if __name__ == "__main__":
    main()
