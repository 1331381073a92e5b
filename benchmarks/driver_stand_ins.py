"""Stand-in actors without engines, for benchmarks/driver_throughput.py. Imports no torch."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import numpy as np
import ray

from vt_ray.actors.busy import BusyTime
from vt_ray.actors.process import begin_process
from vt_ray.actors.verifiers import Grader
from vt_ray.records import Completion, Problem, Rollouts, Verdict

CHARACTERS_A_TOKEN = 3
# Equal to `vt_ray.actors.generators.MAX_STREAMS`; importing that module would load the engine.
STREAMS = 16


@ray.remote(concurrency_groups={"streams": STREAMS, "weights": 1, "questions": 1})
class StandInGenerator:
    """A `GeneratorActor` without an engine: it yields every group immediately. Imports no torch."""

    def __init__(self, name: str, tokens: int, group_size: int, log_folder: Path):
        begin_process(log_folder / f"{name}.log")
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

    @ray.method(concurrency_group="questions")
    def counters(self) -> dict:
        return {}

    @ray.method(concurrency_group="questions")
    def stuck_seconds(self) -> float:
        return 0.0

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
    def load(self, version, fingerprint, arrivals):
        from vt_ray.interfaces import Acknowledgement

        self.version = version
        return Acknowledgement(self.name, version, {}, (0.0,) * (len(fingerprint) - 1))


def ready_made(sample: int, tokens: int) -> Completion:
    """Returns a completion of `tokens` tokens. Every second one is right; the end of its text says right or wrong."""
    chance = np.random.default_rng(sample)
    return Completion(
        sample=sample,
        token_ids=chance.integers(151_936, size=tokens, dtype=np.int32),
        rollout_logprobs=-chance.exponential(size=tokens).astype(np.float32),
        # No two texts of a group are equal: a verifier grades a text once.
        text=f"{sample} " + "x" * (CHARACTERS_A_TOKEN * tokens) + ("right" if sample % 2 else "wrong"),
        finish_reason="stop",
        version_runs=((0, tokens),),
        seconds=1.0,
    )


class StandInVerifier(Grader):
    def __init__(self, name: str, limits, log_folder: Path):
        begin_process(log_folder / f"{name}.log")
        self.verifier = SimpleNamespace(backend="stand-in", backend_notes=(), verify=written_verdict)
        self._known = {}


def written_verdict(problem: Problem, text: str) -> Verdict:
    return Verdict("correct" if text.endswith("right") else "wrong", "", 1e-5)


@ray.remote
class StandInLearner:
    """A `LearnerActor` of one rank without a model."""

    def __init__(self, rank: int, threads: int, log_folder: Path):
        begin_process(log_folder / f"learner_{rank}.log")
        self.busy = BusyTime()

    def busy_seconds(self) -> float:
        return self.busy.seconds

    def address(self):
        return "", 0

    def join(self, world_size, address, port) -> None: ...

    def open(self, spec) -> None: ...

    def close(self) -> None: ...

    def update_shard(self, shares, mgpo, temperature, *rollouts) -> dict[str, float]:
        with self.busy:
            lengths = [len(c.token_ids) for group in rollouts for c in group.completions]
        sums = ("loss", "entropy", "clipped_tokens", "rollout_kl", "logprob_gap_max", "grad_norm", "learning_rate")
        counts = {"tokens": sum(lengths), "updated_completions": len(lengths), "consumed_digest": 0}
        return {**dict.fromkeys(sums, 0.0), **counts}

    def begin_export(self, bucket_bytes: int) -> int:
        return 1

    def next_bucket(self) -> bytes:
        return b"weights"

    def end_export(self, fingerprint):
        from vt_ray.actors.export import Exported, Proof

        return Proof(Exported({}, 7), (0.0,) * (len(fingerprint) - 1))

    def save_state(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "state").write_text("none")


class StandInRecorder:
    """Creates an empty file instead of each file of rollouts."""

    def write(self, path: Path, *arguments) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


# Made like `VerifierActor` from `Grader`.
StandInVerifierActor = ray.remote(max_restarts=0, max_task_retries=0)(StandInVerifier)
