"""The requests of an engine that decode, one token a step each, as one object.

What a step does to all of them follows from a few sums, so a step, or a run of steps, costs the same however many they
are. A request's own numbers are worked out when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf

from scheduler.types import Seconds, Tokens
from simulator.pace import Cadence, Pace
from simulator.profile import StepWork
from simulator.request import Progress
from simulator.runs import Steps

_Entry = tuple[float, int, Progress]


class Decoding:
    """The requests whose context has KV except for its last token. In each step every one of them takes part."""

    def __init__(self, block_size: Tokens, cadence: Cadence) -> None:
        self.steps = Steps()
        self.members: dict[Progress, None] = {}
        self._block_size = block_size
        self._cadence = cadence
        self._bases = 0
        self._phases = [0] * block_size
        """How many of them take a new block in the steps whose number has this remainder."""
        self._ends: list[_Entry] = []
        self._counts: list[_Entry] = []
        self._alarms: list[_Entry] = []
        self._entries = 0

    def __len__(self) -> int:
        return len(self.members)

    @property
    def work(self) -> StepWork:
        """What the first step that has not ended computes for them."""
        size = len(self.members)
        return StepWork(decode_batch=size, decode_context=self._bases + size * self.steps.ended)

    def join(self, item: Progress) -> None:
        """The request decodes from the next step on."""
        table = item.table
        item.sampled -= self.steps.ended
        table.base -= self.steps.begun
        table.steps = self.steps
        self.members[item] = None
        self._bases += table.base
        self._phases[(1 - table.base) % self._block_size] += 1
        self._push(self._ends, _end(item), item)
        self._remind(item)

    def leave(self, item: Progress) -> None:
        """The request does something else from now on."""
        table = item.table
        del self.members[item]
        self._bases -= table.base
        self._phases[(1 - table.base) % self._block_size] -= 1
        item.sampled += self.steps.ended
        table.base += self.steps.begun
        table.steps = None

    def blocks(self, steps: int) -> int:
        """How many new blocks they take in the next so many steps."""
        cycles, rest = divmod(steps, self._block_size)
        begun = self.steps.begun
        partial = sum(self._phases[step % self._block_size] for step in range(begun + 1, begun + rest + 1))
        return cycles * len(self.members) + partial

    def run(self, pace: Pace, blocks: int, until: Seconds) -> int:
        """How many steps they take, the one that has begun among them, before anything else can happen.

        Those after it take no more than `blocks` new blocks together. The run ends with a step that has an output, or
        that ends at `until` or later.
        """
        if self._cadence.tokens == 1:
            return 1
        event = min(self._first(self._ends, _end), self._first(self._counts, self._count))
        alarm = min(until, self._first(self._alarms, self._alarm))
        steps = min(int(event) - self.steps.ended, 1 + self._steps_within(blocks))
        return min(steps, pace.steps_until(alarm)) if alarm < inf and pace.end(steps) > alarm else steps

    def due(self, now: Seconds) -> list[Progress]:
        """Those with an output at the end of the step that has just ended."""
        if self._cadence.tokens == 1:
            return list(self.members)
        ended = self.steps.ended
        found = dict.fromkeys(self._pop(self._ends, _end, ended))
        found.update(dict.fromkeys(self._pop(self._counts, self._count, ended)))
        found.update(dict.fromkeys(self._pop(self._alarms, self._alarm, now)))
        return list(found)

    def told(self, item: Progress, now: Seconds) -> None:
        """An output says how far the request has come."""
        item.told, item.told_at = item.produced, now
        if item in self.members:
            self._remind(item)

    def is_due(self, item: Progress, now: Seconds) -> bool:
        """Whether a token that ends a prefill has an output."""
        return (
            item.produced in (1, item.request.output_tokens, item.told + self._cadence.tokens)
            or now >= item.told_at + self._cadence.seconds
        )

    def _steps_within(self, blocks: int) -> int:
        """How many steps more they can take with so many new blocks."""
        cycles, rest = divmod(blocks, len(self.members))
        steps, begun = cycles * self._block_size, self.steps.begun
        while True:
            rest -= self._phases[(begun + steps + 1) % self._block_size]
            if rest < 0:
                return steps
            steps += 1

    def _remind(self, item: Progress) -> None:
        if self._cadence.tokens == 1:
            return
        self._push(self._counts, self._count(item), item)
        if self._cadence.seconds < inf:
            self._push(self._alarms, self._alarm(item), item)

    def _push(self, heap: list[_Entry], key: float, item: Progress) -> None:
        self._entries += 1
        heappush(heap, (key, self._entries, item))

    def _first(self, heap: list[_Entry], key: Callable[[Progress], float]) -> float:
        while heap and not (heap[0][2] in self.members and heap[0][0] == key(heap[0][2])):
            heappop(heap)
        return heap[0][0] if heap else inf

    def _pop(self, heap: list[_Entry], key: Callable[[Progress], float], limit: float) -> list[Progress]:
        found = []
        while self._first(heap, key) <= limit:
            found.append(heappop(heap)[2])
        return found

    def _count(self, item: Progress) -> int:
        return item.told + self._cadence.tokens - item.sampled

    def _alarm(self, item: Progress) -> Seconds:
        return item.told_at + self._cadence.seconds


def _end(item: Progress) -> int:
    """The number of the step that gives the request its last token."""
    return item.request.output_tokens - item.sampled
