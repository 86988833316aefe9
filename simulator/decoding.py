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
from simulator.pace import Cadence, Pace
from simulator.request import Progress
from simulator.rhythm import Rhythm
from simulator.runs import Steps


class Decoding:
    """The requests whose context has KV except for its last token. In each step every one of them takes part."""

    def __init__(self, block_size: Tokens, footprint: Footprint, cadence: Cadence) -> None:
        self.steps = Steps()
        self.members: dict[Progress, None] = {}
        self._block_size = block_size
        self._footprint = footprint
        self._cadence = cadence
        self._bases = 0
        self._phases = [0] * block_size
        """How many of them take a new block in the steps whose number has this remainder."""
        self._rhythm = Rhythm(cadence)
        self._ends: list[tuple[int, int, Progress]] = []
        """The number of the step that gives a request its last token; those of requests that have left are outdated."""
        self._joined = 0

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
        self._joined += 1
        heappush(self._ends, (_end(item), self._joined, item))
        self._rhythm.join(item, item.told_at, item.told - item.sampled)

    def leave(self, item: Progress) -> None:
        """The request does something else from now on."""
        table = item.table
        del self.members[item]
        self._bases -= table.base
        self._phases[(1 - table.base) % self._block_size] -= 1
        beat = self._rhythm.leave(item)
        item.told, item.told_at = item.sampled + beat.step, beat.at
        item.sampled += self.steps.ended
        table.base += self.steps.begun
        table.steps = None

    def blocks(self, steps: int) -> int:
        """How many new blocks of memory they take in the next so many steps."""
        if self._footprint != FULL_ATTENTION:
            return sum(self._blocks_of(item.table.computed, steps) for item in self.members)
        size, phases = self._block_size, self._phases
        cycles, rest = divmod(steps, size)
        first = (self.steps.begun + 1) % size
        partial = sum(phases[first : first + rest]) + sum(phases[: max(0, first + rest - size)])
        return cycles * len(self.members) + partial

    def _blocks_of(self, computed: Tokens, steps: int) -> int:
        footprint, size = self._footprint, self._block_size
        have, get = -(-computed // size), -(-(computed + steps) // size)
        return footprint.blocks(get, size) - footprint.blocks(have, size)

    def run(self, pace: Pace, until: Seconds) -> int:
        """How many steps they take, the one that has begun among them, before anything else can happen.

        The run ends with a step that has an output, or that ends at `until` or later.
        """
        self._drop_outdated()
        steps = int(min(self._ends[0][0], self._rhythm.next_step)) - self.steps.ended
        alarm = min(until, self._rhythm.next_alarm)
        return min(steps, pace.steps_until(alarm)) if alarm < inf and pace.end(steps) > alarm else steps

    def steps_within(self, blocks: int, limit: int) -> int:
        """How many steps they can take, of at most `limit`, if those after the first get no more than so many blocks."""
        return bisect_right(range(limit), blocks, key=self.blocks)

    def due(self, now: Seconds) -> list[Progress]:
        """Those with an output at the end of the step that has just ended."""
        found = self._rhythm.due(now, self.steps.ended)
        ended = self._pop_ended()
        return list(dict.fromkeys([*ended, *found])) if ended else found

    def is_due(self, item: Progress, now: Seconds) -> bool:
        """Whether a token that ends a prefill has an output."""
        return (
            item.produced in (1, item.request.output_tokens, item.told + self._cadence.tokens)
            or now >= item.told_at + self._cadence.seconds
        )

    def _drop_outdated(self) -> None:
        ends = self._ends
        while ends and not (ends[0][2] in self.members and ends[0][0] == _end(ends[0][2])):
            heappop(ends)

    def _pop_ended(self) -> list[Progress]:
        found = []
        self._drop_outdated()
        while self._ends and self._ends[0][0] <= self.steps.ended:
            found.append(heappop(self._ends)[2])
            self._drop_outdated()
        return found


def _end(item: Progress) -> int:
    """The number of the step that gives the request its last token."""
    return item.request.output_tokens - item.sampled
