"""Which generator has which prompts, so that each group comes exactly once whoever is lost. No Ray, no clock in here.

    prompts --admit--> waiting --deal, least loaded first--> held by a generator --delivered--> done
                          ^----------------- lost ---------------'

A generator gets prompts in chunks: once it has no more than LOW times the sequences that it runs at a time, up to HIGH
times. So it never idles while another has a queue, and a long completion holds up few of those behind it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable

from vt_ray.records import Prompt

LOW, HIGH = 1.25, 1.5


class Dealing:
    """`room` is the number of sequences that a generator runs at a time. Tickets number the prompts; generators are
    known by a number too, which the one that takes the place of a lost one does not share."""

    def __init__(self, room: int):
        self._low, self._high = LOW * room, HIGH * room
        self._prompts: dict[int, Prompt] = {}
        self._waiting: deque[int] = deque()
        self._held: defaultdict[int, dict[int, None]] = defaultdict(dict)
        self._load: defaultdict[int, int] = defaultdict(int)
        self._admitted = 0

    @property
    def waiting(self) -> int:
        """Prompts that nobody has."""
        return len(self._waiting)

    @property
    def open(self) -> int:
        """Prompts whose group has not come."""
        return len(self._prompts)

    def admit(self, prompts: Iterable[Prompt]) -> None:
        for prompt in prompts:
            self._prompts[self._admitted] = prompt
            self._waiting.append(self._admitted)
            self._admitted += 1

    def deal(self, generators: Collection[int]) -> dict[int, list[tuple[int, Prompt]]]:
        """What each is to be given now, in the order of the prompts."""
        takers = [g for g in generators if self._load[g] <= self._low]
        dealt: defaultdict[int, list[tuple[int, Prompt]]] = defaultdict(list)
        while self._waiting and takers:
            taker = min(takers, key=self._load.__getitem__)
            ticket = self._waiting.popleft()
            prompt = self._prompts[ticket]
            self._held[taker][ticket] = None
            self._load[taker] += len(prompt.seeds)
            dealt[taker].append((ticket, prompt))
            if self._load[taker] >= self._high:
                takers.remove(taker)
        return dict(dealt)

    def has_room(self, generators: Iterable[int]) -> bool:
        return any(self._load[g] <= self._low for g in generators)

    def delivered(self, generator: int, ticket: int) -> None:
        """The group of `ticket` has come. Raises KeyError for one that this generator does not have."""
        del self._held[generator][ticket]
        self._load[generator] -= len(self._prompts.pop(ticket).seeds)

    def lost(self, generator: int) -> None:
        """Its prompts are the first to be dealt again, in their order."""
        self._waiting.extendleft(reversed(self._held.pop(generator, {})))
        self._load.pop(generator, None)
