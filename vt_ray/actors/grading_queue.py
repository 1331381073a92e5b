"""Which completions a worker grades next: chunks of groups, sized by their measured cost. Uses no Ray and no clock.

    handle --add--> a Chunk that opens the group --record--> Chunks of the rest --record--> GradedGroup
                            ^-- worker died, or it failed to verify: one by one on other workers

A worker has one chunk at a time and stops after CHUNK_S, between two completions. A long chunk therefore delays only
itself, and no worker is idle while a completion waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING

from vt_ray.planning.placement import ClusterError
from vt_ray.records import GradedGroup, Kind, Verdict

# interfaces loads torch: without it a verifier starts sooner and needs less than half the memory.
if TYPE_CHECKING:
    from vt_ray.interfaces import Handle

CHUNK_S = 0.25
MAX_TRIES = 3
# A mean covers about this many recent completions.
MEMORY = 100


@dataclass(frozen=True, slots=True)
class Chunk:
    """The completions of a group that one worker grades: `samples` are their numbers in the group, None means all.

    An empty tuple asks for the outline only: an earlier worker died when it opened the group.
    """

    group: int
    samples: tuple[int, ...] | None
    tries: int = 0
    failed_on: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Outline:
    """A group without its tokens and texts. `same_as` has for each completion the number of the first completion with
    the same text; empty if all texts differ."""

    question_id: str
    subdomain: str
    kind: Kind
    prompt_tokens: int
    completion_tokens: tuple[int, ...]
    truncated: tuple[bool, ...]
    step: int = 0
    first_versions: tuple[int, ...] = ()
    same_as: tuple[int, ...] = ()

    def copies(self, sample: int) -> list[int]:
        """Returns the later completions with the text of `sample`."""
        return [copy for copy, first in enumerate(self.same_as) if first == sample != copy]


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdicts of a chunk, by sample, and the seconds that the worker spent."""

    outline: Outline
    verdicts: dict[int, Verdict]
    seconds: float


@dataclass
class Costs:
    """Mean seconds to grade a completion, by kind of problem."""

    means: dict[Kind, float] = field(default_factory=dict)
    counts: dict[Kind, int] = field(default_factory=dict)

    def note(self, kind: Kind, seconds: float) -> None:
        self.counts[kind] = n = self.counts.get(kind, 0) + 1
        mean = self.means.get(kind, 0.0)
        self.means[kind] = mean + (seconds - mean) / min(n, MEMORY)

    def chunk_size(self, kind: Kind) -> int:
        """Returns the number of completions that take CHUNK_S, at least 1; 1 for a kind that was never measured."""
        return max(1, int(CHUNK_S / max(self.means.get(kind, CHUNK_S), 1e-6)))


@dataclass
class _Group:
    handle: Handle
    outline: Outline | None = None
    verdicts: list[Verdict | None] = field(default_factory=list)
    to_grade: tuple[int, ...] = ()

    def open(self, outline: Outline) -> None:
        """A completion cut off at the length limit is wrong, even if its text so far contains the answer."""
        self.outline = outline
        self.to_grade = graded_samples(outline)
        self.verdicts = [Verdict("wrong", "truncated") if cut else None for cut in outline.truncated]

    @property
    def missing(self) -> list[int]:
        return [sample for sample in self.to_grade if self.verdicts[sample] is None]

    def put(self, sample: int, verdict: Verdict) -> None:
        """Records a verdict, also for the copies of the sample, which took no time."""
        assert self.outline is not None
        assert self.verdicts[sample] is None, f"sample {sample} already has a verdict"
        self.verdicts[sample] = verdict
        for copy in self.outline.copies(sample):
            self.verdicts[copy] = replace(verdict, seconds=0.0)


def graded_samples(outline: Outline) -> tuple[int, ...]:
    """The completions that a verifier grades: neither cut off nor copies of an earlier one."""
    firsts = outline.same_as or range(len(outline.truncated))
    return tuple(
        i for i, (first, cut) in enumerate(zip(firsts, outline.truncated, strict=True)) if first == i and not cut
    )


class GradingQueue:
    """The groups of one call of `grade`. The pool hands each chunk to a worker and reports the outcome."""

    def __init__(self, costs: Costs):
        self.costs = costs
        # Completions that were graded again.
        self.retries = 0
        self._numbers = count()
        self._groups: dict[int, _Group] = {}
        self._waiting: deque[Chunk] = deque()

    @property
    def open_groups(self) -> int:
        return len(self._groups)

    def add(self, handle: Handle) -> None:
        number = next(self._numbers)
        self._groups[number] = _Group(handle)
        self._waiting.append(Chunk(number, None))

    def handle(self, chunk: Chunk) -> Handle:
        return self._groups[chunk.group].handle

    def next_chunk(self, worker: int, workers: Collection[int]) -> Chunk | None:
        """Returns the next chunk for `worker`, None if there is none.

        A chunk that failed on this worker is left to the other `workers`, until it has failed on all of them.
        """
        for chunk in self._waiting:
            if worker not in chunk.failed_on or chunk.failed_on.issuperset(workers):
                self._waiting.remove(chunk)
                return chunk
        return None

    def record(self, chunk: Chunk, worker: int, answer: Answer) -> GradedGroup | None:
        """Records an answer. Returns the group if it is complete. Samples that are not in the answer wait again."""
        group = self._groups[chunk.group]
        samples: Iterable[int] = chunk.samples or ()
        if group.outline is None:
            group.open(answer.outline)
            samples = group.missing
            self.retries += len(group.missing) if chunk.tries else 0
        for sample, verdict in answer.verdicts.items():
            self.costs.note(answer.outline.kind, verdict.seconds)
            if verdict.retry and chunk.tries + 1 < MAX_TRIES:
                self._again(chunk, [sample], worker)
            else:
                group.put(sample, verdict)
        self._wait(chunk, [sample for sample in samples if sample not in answer.verdicts])
        return self._finished(chunk.group)

    def worker_died(self, chunk: Chunk, worker: int) -> GradedGroup | None:
        """Puts back the chunk of a dead worker, one completion per chunk: one of them may have killed the worker."""
        group = self._groups[chunk.group]
        last = chunk.tries + 1 == MAX_TRIES
        if group.outline is None:
            if last:
                raise ClusterError(f"{MAX_TRIES} verifiers were lost one after the other over one group of completions")
            self._waiting.appendleft(Chunk(chunk.group, (), chunk.tries + 1, chunk.failed_on | {worker}))
        elif last:
            for sample in chunk.samples or ():
                group.put(sample, Verdict("unverified", "worker lost"))
        else:
            self._again(chunk, chunk.samples or (), worker)
        return self._finished(chunk.group)

    def _again(self, chunk: Chunk, samples: Collection[int], worker: int) -> None:
        self.retries += len(samples)
        failed_on = chunk.failed_on | {worker}
        self._first([Chunk(chunk.group, (sample,), chunk.tries + 1, failed_on) for sample in samples])

    def _wait(self, chunk: Chunk, samples: list[int]) -> None:
        outline = self._groups[chunk.group].outline
        assert outline is not None
        size = 1 if chunk.tries else self.costs.chunk_size(outline.kind)
        parts = [tuple(samples[i : i + size]) for i in range(0, len(samples), size)]
        self._first([Chunk(chunk.group, part, chunk.tries, chunk.failed_on) for part in parts])

    def _first(self, chunks: list[Chunk]) -> None:
        """Puts chunks before all waiting ones: groups are finished before others are begun."""
        self._waiting.extendleft(reversed(chunks))

    def _finished(self, number: int) -> GradedGroup | None:
        group = self._groups[number]
        verdicts = tuple(v for v in group.verdicts if v is not None)
        if group.outline is None or len(verdicts) < len(group.verdicts):
            return None
        del self._groups[number]
        outline = group.outline
        return GradedGroup(
            question_id=outline.question_id,
            subdomain=outline.subdomain,
            verdicts=verdicts,
            prompt_tokens=outline.prompt_tokens,
            completion_tokens=outline.completion_tokens,
            truncated=outline.truncated,
            rollouts=group.handle,
            step=outline.step,
            first_versions=outline.first_versions,
        )
