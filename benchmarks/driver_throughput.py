"""The driver alone: completions a second by number of generators, and what a step costs as a run grows longer.

    python benchmarks/driver_throughput.py --generators 1 4 16 64 --tokens 16384 --growth-steps 160

Everything between the engines is the run's own: `loop.run_stage` over a `RayCluster` with its reservation, dealing,
streams, verifier pool and schedule, tracker, metrics and commits. The engines are stand-ins in the same actors' seats:

    generator   yields a ready-made group for each prompt: so many token ids with log-probabilities, and a text
    verifier    the actor's own code around a verdict that is written at the end of the text
    learner     takes the rollouts, and counts them
    recorder    notes that it was called; with --real-recorder parquet files are written

Payloads go through Ray's object store from process to process as in a run. Prints a table, and last one line of JSON.
The first step of a run is not counted: its questions meet actors that have just started.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from statistics import fmean
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import ray  # noqa: E402

from vt_ray.actors.busy import BusyTime  # noqa: E402
from vt_ray.actors.cluster import RayCluster  # noqa: E402
from vt_ray.actors.generators import MAX_STREAMS, GeneratorActor  # noqa: E402
from vt_ray.actors.learners import LearnerActor  # noqa: E402
from vt_ray.actors.logs import redirect_output  # noqa: E402
from vt_ray.actors.recorder import RecorderActor  # noqa: E402
from vt_ray.actors.verifiers import VerifierActor, VerifierWorker  # noqa: E402
from vt_ray.config import ClusterConfig, Config, StageConfig  # noqa: E402
from vt_ray.data.prompts import PromptEncoder  # noqa: E402
from vt_ray.records import Completion, Problem, Rollouts, Verdict  # noqa: E402
from vt_ray.signal_phase.loop import run_stage  # noqa: E402
from vt_ray.signal_phase.stage_run import StageRun  # noqa: E402
from vt_ray.tracking import MetricsLog  # noqa: E402

CHARACTERS_A_TOKEN = 3
PROBE = list(range(8))


@ray.remote(concurrency_groups={"streams": MAX_STREAMS, "weights": 1, "questions": 1})
class StandInGenerator:
    """As `GeneratorActor`, with no engine: every group is there as soon as it is asked for. Imports no torch."""

    def __init__(self, name: str, tokens: int, group_size: int, log_folder: Path):
        redirect_output(log_folder / f"{name}.log")
        self.name, self.version, self.busy = name, 0, BusyTime()
        self.completions = [ready_made(i, tokens) for i in range(group_size)]
        self.waiting: dict[int, SimpleQueue] = {}

    @ray.method(concurrency_group="questions")
    def ready(self) -> str:
        assert "torch" not in sys.modules and "vllm" not in sys.modules
        return self.name

    @ray.method(concurrency_group="questions")
    def busy_seconds(self) -> float:
        return self.busy.seconds

    def submit(self, call, prompts, sampling) -> None:
        for prompt in prompts:
            self.waiting.setdefault(call, SimpleQueue()).put(prompt)

    def end(self, call, sampling) -> None:
        self.waiting.setdefault(call, SimpleQueue()).put(None)

    @ray.method(concurrency_group="streams")
    def stream(self, call, sampling):
        asked = self.waiting.setdefault(call, SimpleQueue())
        while (told := asked.get()) is not None:
            ticket, prompt = told
            with self.busy:
                runs = ((self.version, len(self.completions[0].token_ids)),)
                group = tuple(replace(c, version_runs=runs) for c in self.completions[: len(prompt.seeds)])
            yield Rollouts(prompt.problem, prompt.token_ids, group, prompt.step, prompt.seeds)
            yield ticket
        del self.waiting[call]

    @ray.method(concurrency_group="weights")
    def load(self, version, probe, *buckets):
        from vt_ray.interfaces import Acknowledgement

        self.version = version
        return Acknowledgement(self.name, version, {}, (0.0,) * (len(probe) - 1))


def ready_made(sample: int, tokens: int) -> Completion:
    """A completion of so many tokens; every second one is right, and its text says so at its end."""
    chance = np.random.default_rng(sample)
    return Completion(
        sample=sample,
        token_ids=chance.integers(151_936, size=tokens, dtype=np.int32),
        rollout_logprobs=-chance.exponential(size=tokens).astype(np.float32),
        text="x" * (CHARACTERS_A_TOKEN * tokens) + ("right" if sample % 2 else "wrong"),
        finish_reason="stop",
        version_runs=((0, tokens),),
        seconds=1.0,
    )


class StandInVerifier(VerifierWorker):
    def __init__(self, name: str, limits, log_folder: Path):
        redirect_output(log_folder / f"{name}.log")
        self.verifier = SimpleNamespace(backend="stand-in", backend_notes=(), verify=written_verdict)
        self._known = {}


def written_verdict(problem: Problem, text: str) -> Verdict:
    return Verdict("correct" if text.endswith("right") else "wrong", "", 1e-5)


@ray.remote
class StandInLearner:
    """As `LearnerActor`, one rank, with nothing to train."""

    def __init__(self, rank: int, threads: int, log_folder: Path):
        redirect_output(log_folder / f"learner_{rank}.log")
        self.busy = BusyTime()

    def busy_seconds(self) -> float:
        return self.busy.seconds

    def address(self):
        return "", 0

    def join(self, world_size, address, port) -> None: ...

    def open(self, spec) -> None: ...

    def close(self) -> None: ...

    def mgpo_step(self, shares, mgpo, temperature, *rollouts) -> dict[str, float]:
        with self.busy:
            lengths = [len(c.token_ids) for group in rollouts for c in group.completions]
        sums = ("loss", "entropy", "clipped_tokens", "rollout_kl", "logprob_gap_max", "grad_norm", "learning_rate")
        counts = {"tokens": sum(lengths), "updated_completions": len(lengths), "consumed_digest": 0}
        return {**dict.fromkeys(sums, 0.0), **counts}

    def token_logprobs(self, token_ids) -> list[float]:
        return [0.0] * (len(token_ids) - 1)

    def export_weights(self, bucket_bytes):
        return [(ray.put(b"weights"), {}, 7)]

    def save_state(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "state").write_text("none")


@ray.remote
class StandInRecorder:
    """Takes the rollouts as `RecorderActor` does, and leaves an empty file."""

    def __init__(self, log_folder: Path): ...

    def busy_seconds(self) -> float:
        return 0.0

    def write(self, path: Path, *arguments) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


# As `VerifierActor` is made of `VerifierWorker`.
StandInVerifierActor = ray.remote(max_restarts=0, max_task_retries=0)(StandInVerifier)


class StandInCluster(RayCluster):
    """The run's own cluster with others in the actors' seats."""

    def __init__(self, config: Config, log_folder: Path, tokens: int, group_size: int, real_recorder: bool):
        super().__init__(config, log_folder)
        self.payload = tokens, group_size
        self.stand_ins = {LearnerActor: StandInLearner, VerifierActor: StandInVerifierActor}
        if not real_recorder:
            self.stand_ins[RecorderActor] = StandInRecorder

    def _seat(self, actor_class, name: str, *arguments):
        if actor_class is GeneratorActor:
            return super()._seat(StandInGenerator, name, name, *self.payload, self.log_folder)
        return super()._seat(self.stand_ins.get(actor_class, actor_class), name, *arguments)


class ClockedLog(MetricsLog):
    """Notes when each step's line was written, and the driver's CPU seconds and memory then."""

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
    """A tokenizer of the least work: the encoder's own is measured elsewhere."""

    def apply_chat_template(self, messages, add_generation_prompt, return_dict):
        return list(messages[0]["content"].encode())


def measured(arguments: argparse.Namespace, generators: int, steps: int, prompts: int) -> ClockedLog:
    """One stage of `steps` steps of `prompts` questions."""
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
                    held_out=[],
                    encoder=PromptEncoder(Characters(), config.data),
                    probe=PROBE,
                    generator=generator,
                    verifier=verifier,
                    tracker=tracker,
                    learner=learner,
                    recorder=recorder,
                    busy_seconds=cluster.busy_seconds,
                    log=log,
                    rollouts=root / "rollouts",
                    checkpoints=root / "checkpoints",
                )
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
        # What no other process on the machine can take away: the driver keeps up with so many a second of one core.
        "completions_per_driver_cpu_second": round(done / (log.cpu_s[-1] - log.cpu_s[0]), 1),
        "seconds": parts,
        "rss_mb": round(log.rss_mb[-1]),
    }


def growth(arguments: argparse.Namespace) -> dict:
    """Seconds a step and the driver's memory in the first and in the last quarter of a long run."""
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
    table = Table("generators", "completions/s", "a driver CPU s", *(f"{name}, s" for name in parts), "driver, MB")
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
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens of a completion")
    parser.add_argument("--steps", type=int, default=7, help="steps for each number of generators, 2 at least")
    parser.add_argument("--prompts", type=int, default=128, help="questions a step")
    parser.add_argument("--group-size", type=int, default=8, help="completions of a question")
    parser.add_argument("--verifiers", type=int, default=2)
    parser.add_argument("--problems", type=int, default=4096, help="questions in the pool")
    parser.add_argument("--growth-steps", type=int, default=160, help="steps of the long run, 0: none")
    parser.add_argument("--growth-prompts", type=int, default=32, help="questions a step of the long run")
    parser.add_argument("--growth-generators", type=int, default=4)
    parser.add_argument("--object-store-gb", type=float, default=1.0)
    parser.add_argument("--real-recorder", action="store_true", help="write rollouts as a run does")
    return parser.parse_args()


if __name__ == "__main__":
    main()
