"""The requests of an engine that decode, one token a step each, as one object.

What a step does to all of them follows from a few sums, so a step, or a run of steps, costs the same however many they
are. A request's own numbers are worked out when somebody asks for them.
"""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush
from math import inf

from scheduler.types import Seconds, Tokens
from simulator.footprint import FULL_ATTENTION, Footprint
from simulator.pace import Pace
from simulator.request import Progress
from simulator.runs import Steps


class Decoding:
    """The requests whose context has KV except for its last token. In each step every one of them takes part."""

    def __init__(self, block_size: Tokens, footprint: Footprint) -> None:
        self.steps = Steps()
        self.members: dict[Progress, None] = {}
        self._block_size = block_size
        self._footprint = footprint
        self._bases = 0
        self._phases = [0] * block_size
        """How many of them take a new block in the steps whose number has this remainder."""
        self._loud: dict[Progress, None] = {}
        """Those of whose every token an output tells."""
        self._marks: list[tuple[int, int, Progress]] = []
        """A heap of steps that give requests their last token, or the first that is to be told of again."""
        self._marked = 0

    def __len__(self) -> int:
        return len(self.members)

    @property
    def context(self) -> Tokens:
        """The tokens that have KV before the first step that has not ended."""
        return self._bases + len(self.members) * self.steps.ended

    def join(self, item: Progress) -> None:
        """The request decodes from the next step on."""
        table = item.table
        item.sampled -= self.steps.ended
        table.base -= self.steps.begun
        table.steps = self.steps
        self.members[item] = None
        self._bases += table.base
        self._phases[(1 - table.base) % self._block_size] += 1
        if item.produced >= item.quiet:
            self._loud[item] = None
        self._mark(item)

    def leave(self, item: Progress) -> None:
        """The request does something else from now on."""
        table = item.table
        del self.members[item]
        self._bases -= table.base
        self._phases[(1 - table.base) % self._block_size] -= 1
        self._loud.pop(item, None)
        item.sampled += self.steps.ended
        table.base += self.steps.begun
        table.steps = None

    def hush(self, item: Progress) -> None:
        """The request's `quiet` has grown."""
        if item.produced < item.quiet:
            self._loud.pop(item, None)
            self._mark(item)

    def blocks(self, steps: int) -> int:
        """How many new blocks of memory they take in the next so many steps."""
        if self._footprint != FULL_ATTENTION:
            return sum(self._blocks_of(item.table.computed, steps) for item in self.members)
        size, phases = self._block_size, self._phases
        if steps == 1:
            return phases[(self.steps.begun + 1) % size]
        cycles, rest = divmod(steps, size)
        first = (self.steps.begun + 1) % size
        partial = sum(phases[first : first + rest]) + sum(phases[: max(0, first + rest - size)])
        return cycles * len(self.members) + partial

    def needs_more(self, blocks: int, steps: int) -> bool:
        """Whether they take more than so many new blocks in the next so many steps."""
        at_most = (1 + steps // self._block_size) * len(self.members)
        return at_most > blocks and self.blocks(steps) > blocks

    def _blocks_of(self, computed: Tokens, steps: int) -> int:
        footprint, size = self._footprint, self._block_size
        have, get = -(-computed // size), -(-(computed + steps) // size)
        return footprint.blocks(get, size) - footprint.blocks(have, size)

    def run(self, pace: Pace, until: Seconds) -> int:
        """How many steps they take, the one that has begun among them, before anything else can happen.

        The run ends with a step that has an output, or that ends at `until` or later.
        """
        if self._loud:
            return 1
        steps = self._first_mark() - self.steps.ended
        return min(steps, pace.steps_until(until)) if until < inf and pace.end(steps) > until else steps

    def steps_within(self, blocks: int, limit: int) -> int:
        """How many steps they can take, of at most `limit`, if those after the first get no more than so many blocks."""
        return bisect_right(range(limit), blocks, key=self.blocks)

    def due(self) -> list[Progress]:
        """Those with an output at the end of the step that has just ended."""
        finished = self._pass_marks()
        return list({**finished, **self._loud})

    def _mark(self, item: Progress) -> None:
        self._marked += 1
        heappush(self._marks, (self._next_mark(item), self._marked, item))

    def _next_mark(self, item: Progress) -> int:
        tokens = item.request.output_tokens
        if item not in self._loud:
            tokens = min(tokens, item.quiet + 1)
        return tokens - item.sampled

    def _is_mark(self, item: Progress, step: int) -> bool:
        """Whether a mark is still the request's next one."""
        return item in self.members and step == self._next_mark(item)

    def _first_mark(self) -> int:
        while not self._is_mark(self._marks[0][2], self._marks[0][0]):
            heappop(self._marks)
        return self._marks[0][0]

    def _pass_marks(self) -> dict[Progress, None]:
        """Those that have their last token now. Others are told of from here on."""
        finished: dict[Progress, None] = {}
        while self._marks and self._marks[0][0] <= self.steps.ended:
            step, _, item = heappop(self._marks)
            if not self._is_mark(item, step):
                continue
            if item.produced == item.request.output_tokens:
                finished[item] = None
            else:
                self._loud[item] = None
                self._mark(item)
        return finished
