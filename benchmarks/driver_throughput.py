"""Throughput of the driver alone: completions a second by number of generators, and the cost of a step in a long run.

    python benchmarks/driver_throughput.py --generators 1 4 16 64 --tokens 16384 --growth-steps 160

The code between the engines is the code of a run: `loop.run_stage` over a `RayCluster` with its reservation, prompt
queue, streams, verifier pool, tracker, metrics and commits. Stand-ins replace the engines in the actors:

    generator   yields a ready-made group for each prompt: token ids with log-probabilities, and a text
    verifier    the code of the actor, with a verdict that stands at the end of the text
    learner     receives the rollouts and counts them
    recorder    creates an empty file; with --real-recorder it writes parquet files

Payloads go through the object store of Ray from process to process, as in a run. The script prints a table and a line
of JSON. The first step of a run is not counted, because its actors have just started.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from driver_stand_ins import (  # noqa: E402
    StandInGenerator,
    StandInLearner,
    StandInRecorder,
    StandInVerifierActor,
)

from vt_ray.actors.cluster import RayCluster  # noqa: E402
from vt_ray.actors.generators import GeneratorActor  # noqa: E402
from vt_ray.actors.learners import LearnerActor  # noqa: E402
from vt_ray.actors.verifiers import VerifierActor  # noqa: E402
from vt_ray.config import ClusterConfig, Config, StageConfig  # noqa: E402
from vt_ray.data.prompts import PromptEncoder  # noqa: E402
from vt_ray.records import Problem  # noqa: E402
from vt_ray.report.watch.stage_bar import stage_bar  # noqa: E402
from vt_ray.run.metrics_log import MetricsLog  # noqa: E402
from vt_ray.run.paths import RunPaths  # noqa: E402
from vt_ray.run.step_line import EvaluationFigures  # noqa: E402
from vt_ray.signal_phase.loop import run_stage  # noqa: E402
from vt_ray.signal_phase.stage_run import StageRun  # noqa: E402

FINGERPRINT = list(range(8))


class StandInCluster(RayCluster):
    """A `RayCluster` that starts stand-ins instead of the actors with engines."""

    def __init__(self, config: Config, log_folder: Path, tokens: int, group_size: int, real_recorder: bool):
        super().__init__(config, log_folder)
        self.payload = tokens, group_size
        self.stand_ins = {LearnerActor: StandInLearner, VerifierActor: StandInVerifierActor}
        self.real_recorder = real_recorder

    def _spawn(self, actor_class, name: str, *arguments):
        if actor_class is GeneratorActor:
            return super()._spawn(StandInGenerator, name, name, *self.payload, self.log_folder)
        return super()._spawn(self.stand_ins.get(actor_class, actor_class), name, *arguments)

    @contextmanager
    def recorder(self):
        with super().recorder() as real:
            yield real if self.real_recorder else StandInRecorder()


class ClockedLog(MetricsLog):
    """A metrics log that also records the time, the driver's CPU seconds and its memory at each line."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.times, self.cpu_s, self.rss_mb = [], [], []

    def write(self, line) -> None:
        super().write(line)
        self.times.append(time.monotonic())
        self.cpu_s.append(time.process_time())
        self.rss_mb.append(rss_mb())


def rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Characters:
    """A tokenizer with as little work as possible; it is not part of the measurement."""

    def apply_chat_template(self, messages, add_generation_prompt, return_dict):
        return list(messages[0]["content"].encode())

    def decode(self, ids):
        return bytes(ids).decode(errors="replace")


def no_evaluation(step: int) -> EvaluationFigures:
    raise RuntimeError(f"the stand-in stage was asked to evaluate step {step}")


def measured(arguments: argparse.Namespace, generators: int, steps: int, prompts: int) -> ClockedLog:
    """Runs one stage of `steps` steps with `prompts` questions each, and returns its log."""
    stage = StageConfig("driver", [], steps, prompts, arguments.group_size, arguments.tokens)
    config = Config()
    config.cluster = ClusterConfig(
        num_generators=generators,
        num_verifiers=arguments.verifiers,
        cpus_per_actor=0.01,
        object_store_gb=arguments.object_store_gb,
    )
    problems = [Problem(f"algebra/{i}", "algebra", "math", f"What is {i} + {i}?") for i in range(arguments.problems)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cluster = StandInCluster(config, root / "logs", arguments.tokens, arguments.group_size, arguments.real_recorder)
        log = ClockedLog(root / "metrics.jsonl")
        with (
            cluster,
            cluster.generator(root) as generator,
            cluster.verifier() as verifier,
            cluster.tracker(config.tracker) as tracker,
            cluster.recorder() as recorder,
            cluster.learner(root, config.signal.optimizer, steps) as learner,
        ):
            run_stage(
                StageRun(
                    stage=stage,
                    signal=config.signal,
                    seed=0,
                    first_version=0,
                    problems=problems,
                    probe_problems=[],
                    encoder=PromptEncoder(Characters(), config.data),
                    fingerprint=FINGERPRINT,
                    generator=generator,
                    verifier=verifier,
                    tracker=tracker,
                    learner=learner,
                    recorder=recorder,
                    evaluate=no_evaluation,
                    busy_seconds=cluster.busy_seconds,
                    log=log,
                    paths=RunPaths(root).stage(stage.name),
                ),
                stage_bar,
            )
        log.seconds = [line["seconds"] for line in log.lines()]
    return log


def rate(arguments: argparse.Namespace, generators: int) -> dict:
    log = measured(arguments, generators, arguments.steps, arguments.prompts)
    seconds = log.times[-1] - log.times[0]
    done = (arguments.steps - 1) * arguments.prompts * arguments.group_size
    parts = {name: round(fmean(line[name] for line in log.seconds[1:]), 4) for name in log.seconds[0]}
    return {
        "completions_per_second": round(done / seconds, 1),
        # Independent of other processes on the machine: completions for each CPU second of the driver.
        "completions_per_driver_cpu_second": round(done / (log.cpu_s[-1] - log.cpu_s[0]), 1),
        "seconds": parts,
        "rss_mb": round(log.rss_mb[-1]),
    }


def growth(arguments: argparse.Namespace) -> dict:
    """Compares the first and the last quarter of a long run: seconds a step and memory of the driver."""
    log = measured(arguments, arguments.growth_generators, arguments.growth_steps, arguments.growth_prompts)
    steps = [b - a for a, b in zip(log.times, log.times[1:], strict=False)]
    quarter = len(steps) // 4
    first, last = fmean(steps[:quarter]), fmean(steps[-quarter:])
    cpu = [b - a for a, b in zip(log.cpu_s, log.cpu_s[1:], strict=False)]
    cpu_first, cpu_last = fmean(cpu[:quarter]), fmean(cpu[-quarter:])
    return {
        "steps": arguments.growth_steps,
        "seconds_a_step": {"first_quarter": round(first, 4), "last_quarter": round(last, 4)},
        "driver_cpu_seconds_a_step": {"first_quarter": round(cpu_first, 4), "last_quarter": round(cpu_last, 4)},
        "ratio": round(last / first, 3),
        "driver_cpu_ratio": round(cpu_last / cpu_first, 3),
        "rss_mb": {"after_first_quarter": round(log.rss_mb[quarter]), "at_the_end": round(log.rss_mb[-1])},
    }


def main() -> None:
    arguments = parsed()
    rates = {generators: rate(arguments, generators) for generators in arguments.generators}
    grown = growth(arguments) if arguments.growth_steps else {}
    print_tables(rates, grown)
    print(
        json.dumps(
            {
                "tokens": arguments.tokens,
                "completions_per_second": {g: r["completions_per_second"] for g, r in rates.items()},
                "by_generators": rates,
                "growth": grown,
            }
        )
    )


def print_tables(rates: dict[int, dict], grown: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    console, parts = Console(width=120), next(iter(rates.values()))["seconds"]
    table = Table("generators", "completions/s", "per driver CPU s", *(f"{name}, s" for name in parts), "driver, MB")
    for generators, found in rates.items():
        seconds = (f"{found['seconds'][name]:.3f}" for name in parts)
        rates_of_it = (found["completions_per_second"], found["completions_per_driver_cpu_second"])
        table.add_row(str(generators), *(f"{r:,.0f}" for r in rates_of_it), *seconds, str(found["rss_mb"]))
    console.print(table)
    if grown:
        console.print(grown)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generators", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens of each completion")
    parser.add_argument("--steps", type=int, default=7, help="steps for each number of generators, at least 2")
    parser.add_argument("--prompts", type=int, default=128, help="questions a step")
    parser.add_argument("--group-size", type=int, default=8, help="completions of a question")
    parser.add_argument("--verifiers", type=int, default=2)
    parser.add_argument("--problems", type=int, default=4096, help="questions in the pool")
    parser.add_argument("--growth-steps", type=int, default=160, help="steps of the long run; 0: no long run")
    parser.add_argument("--growth-prompts", type=int, default=32, help="questions a step of the long run")
    parser.add_argument("--growth-generators", type=int, default=4)
    parser.add_argument("--object-store-gb", type=float, default=1.0)
    parser.add_argument("--real-recorder", action="store_true", help="write rollouts as a run does")
    return parser.parse_args()


if __name__ == "__main__":
    main()
