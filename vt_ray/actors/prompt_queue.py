"""Which generator has which prompts, so that each group arrives exactly once even if generators die. Uses no Ray.

    prompts --add--> waiting --assign, least loaded first--> held by a generator --delivered--> done
                        ^-------------- requeue ----------------'

A generator gets prompts in chunks: when it holds at most LOW times the sequences that it runs at a time, up to HIGH
times. No generator is then idle while another has a queue, and a long completion delays few other prompts.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable

from vt_ray.records import Prompt

LOW, HIGH = 1.25, 1.5


class PromptQueue:
    """`room` is the number of sequences that a generator runs at a time. Tickets number the prompts. Generators are
    known by an id, which a replacement does not share with the generator it replaces."""

    def __init__(self, room: int):
        self._low, self._high = LOW * room, HIGH * room
        self._prompts: dict[int, Prompt] = {}
        self._waiting: deque[int] = deque()
        self._held: defaultdict[int, dict[int, None]] = defaultdict(dict)
        self._load: defaultdict[int, int] = defaultdict(int)
        self._added = 0

    @property
    def waiting(self) -> int:
        """Prompts that no generator holds."""
        return len(self._waiting)

    @property
    def open(self) -> int:
        """Prompts whose group has not arrived."""
        return len(self._prompts)

    def add(self, prompts: Iterable[Prompt]) -> None:
        for prompt in prompts:
            self._prompts[self._added] = prompt
            self._waiting.append(self._added)
            self._added += 1

    def assign(self, generators: Collection[int]) -> dict[int, list[tuple[int, Prompt]]]:
        """Returns the (ticket, prompt) pairs that each generator gets now, in the order of the prompts."""
        free = [g for g in generators if self._load[g] <= self._low]
        assigned: defaultdict[int, list[tuple[int, Prompt]]] = defaultdict(list)
        while self._waiting and free:
            generator = min(free, key=self._load.__getitem__)
            ticket = self._waiting.popleft()
            prompt = self._prompts[ticket]
            self._held[generator][ticket] = None
            self._load[generator] += len(prompt.seeds)
            assigned[generator].append((ticket, prompt))
            if self._load[generator] >= self._high:
                free.remove(generator)
        return dict(assigned)

    def has_room(self, generators: Iterable[int]) -> bool:
        return any(self._load[g] <= self._low for g in generators)

    def delivered(self, generator: int, ticket: int) -> None:
        """The group of `ticket` has arrived. Raises KeyError if this generator does not hold the ticket."""
        del self._held[generator][ticket]
        self._load[generator] -= len(self._prompts.pop(ticket).seeds)

    def requeue(self, generator: int) -> None:
        """Puts the prompts of a dead generator at the front of the queue, in their order."""
        self._waiting.extendleft(reversed(self._held.pop(generator, {})))
        self._load.pop(generator, None)
