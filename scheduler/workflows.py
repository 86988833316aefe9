"""What the stages of workflows take: learned from traffic, for orders by deadline and for operators.

For the n-th call of a stage in its program (n from 0):

    alone    seconds that the call takes on the fastest engine of its model while nothing else runs there
    ahead    what its program still needs after it, at least: the longest chain of calls that began when another had
             ended, each by what it takes alone. Calls that run side by side are one link

Time spent waiting, on slower engines or in a full batch is in neither: a program of which `ahead` does not fit into
the time left is late whatever is done. Where few calls of number n have been seen, all of the stage count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from scheduler.average import Average, plain, read_average
from scheduler.types import EngineId, PrefixMark, ProgramKey, Seconds, TenantId, Tokens

ENOUGH = 3
"""Samples from which a mean is believed."""
MEMORY = 500
"""Samples that a mean remembers."""
MOST_REPEATS = 32
"""Further calls of a stage in one program count as that one."""
ANY = -1
"""The number under which all calls of a stage count."""

StageKey: TypeAlias = tuple[TenantId, str, str]
"""Tenant, workflow and stage."""


def _average() -> Average:
    return Average(0.0, memory=MEMORY)


@dataclass(frozen=True, slots=True)
class Answered:
    """One answered call of a program that has not ended."""

    stage: str
    number: int
    arrived: Seconds
    ended: Seconds
    alone: Seconds


@dataclass(slots=True)
class StageStats:
    """One stage of a tenant's workflow."""

    output: Average = field(default_factory=_average)
    """Output tokens of a call."""
    alone: Average = field(default_factory=_average)
    template: Average = field(default_factory=_average)
    """Tokens at the beginning of its prompts that two programs in a row had in common."""
    service: dict[EngineId, Average] = field(default_factory=dict)
    """Seconds from dispatch to the last token, by engine."""
    ahead: dict[int, Average] = field(default_factory=dict)
    """By the number of the call, and under `ANY`."""
    repeats: dict[int, int] = field(default_factory=dict)
    """How many programs that came to the stage made so many calls of it, older ones halved from time to time."""
    _latest: tuple[ProgramKey, Sequence[PrefixMark]] | None = None

    def answered(self, engine: EngineId, seconds: Seconds, alone: Seconds, output: Tokens) -> None:
        """A call of the stage has its answer."""
        self.service.setdefault(engine, _average()).add(seconds)
        self.alone.add(alone)
        self.output.add(output)

    def prompted(self, program: ProgramKey, prefix: Sequence[PrefixMark], tokens_per_byte: float) -> None:
        """A call of the stage has come: learns what it shares with the latest one of another program."""
        if self._latest is not None and self._latest[0] != program:
            self.template.add(shared_bytes(self._latest[1], prefix) * tokens_per_byte)
        self._latest = program, prefix

    @property
    def usual(self) -> Seconds | None:
        """What a call takes alone, once enough have been seen."""
        return self.alone.value if self.alone.count >= ENOUGH else None

    def after(self, number: int, planned: Seconds | None = None) -> Seconds:
        """`ahead` of a call with that number: what was learned of it, beside what is declared; 0 if there is neither."""
        for key in (min(number, MOST_REPEATS), ANY):
            average = self.ahead.get(key)
            if average is not None and average.count >= ENOUGH:
                return believed(average, planned)
        return planned or 0.0

    def ended(self, number: int, ahead: Seconds) -> None:
        """What came after a call of the stage is known."""
        for key in (min(number, MOST_REPEATS), ANY):
            self.ahead.setdefault(key, _average()).add(ahead)

    def repeated(self, calls: int) -> None:
        """A program has ended that made so many calls of the stage."""
        number = min(calls, MOST_REPEATS)
        self.repeats[number] = self.repeats.get(number, 0) + 1
        if sum(self.repeats.values()) > MEMORY:
            self.repeats = {calls: half for calls, count in self.repeats.items() if (half := count // 2)}

    def to_json(self) -> list[object]:
        """Plain JSON values."""
        return [
            plain(self.output),
            plain(self.alone),
            plain(self.template),
            {engine: plain(average) for engine, average in self.service.items()},
            {str(number): plain(average) for number, average in self.ahead.items()},
            {str(number): count for number, count in self.repeats.items()},
        ]

    @classmethod
    def from_json(cls, state: object) -> StageStats:
        """The inverse of `to_json`.

        Raises:
            TypeError, ValueError: the state is not what `to_json` writes.
        """
        if not isinstance(state, list) or len(state) != 6:
            raise TypeError(f"expected the statistics of a stage, not {state!r}")
        output, alone, template, service, ahead, repeats = state
        for table in (service, ahead, repeats):
            if not isinstance(table, Mapping):
                raise TypeError(f"expected an object, not {table!r}")
        return cls(
            read_average(output, MEMORY),
            read_average(alone, MEMORY),
            read_average(template, MEMORY),
            {EngineId(engine): read_average(item, MEMORY) for engine, item in service.items()},
            {int(number): read_average(item, MEMORY) for number, item in ahead.items()},
            {int(number): int(count) for number, count in repeats.items()},
        )


def believed(learned: Average, planned: Seconds | None) -> Seconds:
    """A mean beside what is declared, which counts as much as `ENOUGH` samples do; without a declaration, the mean."""
    if planned is None:
        return learned.value
    return (learned.count * learned.value + ENOUGH * planned) / (learned.count + ENOUGH)


def shared_bytes(one: Sequence[PrefixMark], other: Sequence[PrefixMark]) -> int:
    """The bytes that two prompts are known to begin with in common."""
    known = {mark.hash: mark.size for mark in one}
    return max((mark.size for mark in other if known.get(mark.hash) == mark.size), default=0)


def chains(answered: Sequence[Answered]) -> list[Seconds]:
    """`ahead` after each of a program's calls, which are given in the order in which they ended."""
    found = [0.0] * len(answered)
    by_arrival = sorted(range(len(answered)), key=lambda place: answered[place].arrived)
    longest = 0.0
    for place in reversed(range(len(answered))):
        while by_arrival and answered[by_arrival[-1]].arrived >= answered[place].ended:
            later = by_arrival.pop()
            longest = max(longest, answered[later].alone + found[later])
        found[place] = longest
    return found
