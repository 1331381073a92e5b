"""The verifier pool on Ray: each actor holds one `verify.Verifier`, the driver deals groups to the least busy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import ray

from vt_ray.actors.busy import BusyTime
from vt_ray.actors.logs import redirect_output
from vt_ray.interfaces import Handle
from vt_ray.records import Completion, GradedGroup, Problem, Rollouts, Verdict
from vt_ray.verify.verifier import Limits, Verifier


# Verifying twice gives the same verdict, so Ray may restart a lost worker and repeat its groups.
@ray.remote(max_restarts=-1, max_task_retries=3)
class VerifierActor:
    def __init__(self, name: str, limits: Limits, log_folder: Path):
        redirect_output(log_folder / f"{name}.log")
        self.busy = BusyTime()
        self.verifier = Verifier(limits)

    def ready(self) -> None:
        """Answers when the actor has started."""

    def busy_seconds(self) -> float:
        return self.busy.seconds

    def grade(self, rollouts: Rollouts) -> GradedGroup:
        problem, completions = rollouts.problem, rollouts.completions
        with self.busy:
            verdicts = tuple(self._verdict(problem, c) for c in completions)
        return GradedGroup(
            question_id=problem.question_id,
            subdomain=problem.subdomain,
            verdicts=verdicts,
            prompt_tokens=len(rollouts.prompt_token_ids),
            completion_tokens=tuple(len(c.token_ids) for c in completions),
            truncated=tuple(c.finish_reason == "length" for c in completions),
            rollouts=None,
        )

    def _verdict(self, problem: Problem, completion: Completion) -> Verdict:
        """A completion cut off at the length limit scores 0, whatever it has said so far (section 3)."""
        if completion.finish_reason == "length":
            return Verdict("wrong", "truncated")
        return self.verifier.verify(problem, completion.text)


class RayVerifier:
    """Implements `interfaces.Verifier` over a pool of actors."""

    def __init__(self, actors: list):
        self.actors = actors

    def grade(self, rollouts: Iterable[Handle]) -> Iterator[GradedGroup]:
        pending: dict[ray.ObjectRef, tuple[int, Handle]] = {}
        load = [0] * len(self.actors)
        for handle in rollouts:
            least_busy = load.index(min(load))
            load[least_busy] += 1
            pending[self.actors[least_busy].grade.remote(handle)] = (least_busy, handle)
            yield from self._collect(pending, load, timeout=0)
        while pending:
            yield from self._collect(pending, load, timeout=None)

    def _collect(self, pending: dict, load: list[int], timeout: float | None) -> Iterator[GradedGroup]:
        if not pending:
            return
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=timeout)
        for ref in ready:
            actor, handle = pending.pop(ref)
            load[actor] -= 1
            yield replace(ray.get(ref), rollouts=handle)
