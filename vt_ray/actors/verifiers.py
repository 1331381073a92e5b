"""A verifier on Ray: an actor around `verify.Verifier` that grades chunks of groups."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from vt_ray.actors.grading_queue import CHUNK_S, Answer, Outline, graded_samples
from vt_ray.actors.process import begin_process
from vt_ray.records import Problem, Rollouts
from vt_ray.verify.sandbox.backends import NoSandbox
from vt_ray.verify.verifier import Limits, Verifier

if TYPE_CHECKING:
    from vt_ray.interfaces import Handle

# Groups whose texts an actor keeps: the chunks of a group follow each other closely.
KNOWN_GROUPS = 4


@dataclass(frozen=True)
class _Group:
    problem: Problem
    texts: tuple[str, ...]
    outline: Outline


class Grader:
    """Grades one chunk at a time."""

    def __init__(self, name: str, limits: Limits, log_folder: Path):
        begin_process(log_folder / f"{name}.log")
        self.verifier = Verifier(limits)
        self._known: dict[str, _Group] = {}

    def ready(self) -> str:
        """Returns how the actor confines programs; "none" if it refuses to run programs."""
        try:
            print(*self.verifier.backend_notes, sep="\n", flush=True)
            return self.verifier.backend
        except NoSandbox as error:
            print(error, flush=True)
            return "none"

    def grade(self, rollouts: list[Handle], samples: tuple[int, ...] | None) -> Answer:
        """Grades `samples` (None: all) of the one group in `rollouts`, in order, until CHUNK_S have passed.

        Grades at least one sample if there is one. The handle is in a list, so that Ray passes it on unresolved.
        """
        began = time.monotonic()
        group = self._group(rollouts[0])
        begin = time.monotonic()
        if samples is None:
            samples = graded_samples(group.outline)
        verdicts = {}
        for sample in samples:
            verdicts[sample] = self.verifier.verify(group.problem, group.texts[sample])
            if time.monotonic() - begin > CHUNK_S:
                break
        return Answer(group.outline, verdicts, time.monotonic() - began)

    def _group(self, handle: ray.ObjectRef[Rollouts]) -> _Group:
        key = handle.hex()
        if key not in self._known:
            if len(self._known) == KNOWN_GROUPS:
                del self._known[next(iter(self._known))]
            rollouts: Rollouts = ray.get(handle)
            self._known[key] = read_group(rollouts)
        return self._known[key]


def read_group(rollouts: Rollouts) -> _Group:
    problem, completions = rollouts.problem, rollouts.completions
    # A cut completion is not graded, so a whole one with the same text is no copy of it.
    first: dict[tuple[str, str], int] = {}
    same_as = tuple(first.setdefault((c.text, c.finish_reason), i) for i, c in enumerate(completions))
    outline = Outline(
        question_id=problem.question_id,
        subdomain=problem.subdomain,
        kind=problem.kind,
        prompt_tokens=len(rollouts.prompt_token_ids),
        completion_tokens=tuple(len(c.token_ids) for c in completions),
        truncated=tuple(c.finish_reason == "length" for c in completions),
        step=rollouts.step,
        first_versions=tuple(c.version_runs[0][0] for c in completions),
        same_as=same_as,
    )
    return _Group(problem, tuple(c.text for c in completions), outline)


# Ray does not restart it: the pool must know which chunk was lost, and replaces the actor itself.
VerifierActor = ray.remote(max_restarts=0, max_task_retries=0)(Grader)
