"""What Progress-TTL writes down: of each program, of each engine, and the sums it decides by."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from scheduler.presets.progress import Windows
from scheduler.state import EngineState, Program
from scheduler.types import EngineId, ProgramKey, Seconds, Tokens


@dataclass(slots=True)
class Track:
    """One program."""

    target: EngineId | None = None
    """The engine it is bound to, paused or not."""
    context: Tokens = 0
    shared: Tokens = 0
    """Tokens of its context that other programs are thought to have as well."""
    last_prompt: Tokens = 0
    last_context: Tokens = 0
    """Of its latest answered call, prompt and answer."""
    completed: Seconds | None = None
    """When its latest call was answered."""
    restore: Seconds | None = None
    """What restoring its context would have cost then."""
    activated: Seconds | None = None
    """The beginning of its segment; None while it is paused."""
    paused: Seconds = 0.0
    fresh: bool = False
    """No call of the segment has been answered yet."""
    rounds: int = 0
    """Of the segment: calls whose context was still there."""
    rounds_since_expiry: int = 0
    """The same since a time-to-live last ran out."""
    until: Seconds = 0.0
    """When its time-to-live runs out."""
    marked: bool = False
    """It is paused once its calls are answered, unless others have come."""
    yielded: bool = False
    """It was last paused because its segment had lasted long enough."""
    entered: Seconds = 0.0
    """When it began to wait."""
    forced_at: Seconds = math.inf
    """From then on it goes first, and memory is not asked for."""
    _smaller: bool = False
    """The latest size seen was smaller than `context`."""

    def observe(self, tokens: Tokens) -> None:
        """A size of the context was seen: it grows at once, and shrinks when a smaller one is seen again."""
        self._smaller = tokens < self.context and not self._smaller
        if not self._smaller:
            self.context = tokens

    def activate(self, now: Seconds) -> None:
        """A segment begins."""
        self.activated = now
        self.fresh = True
        self.rounds = 0
        self.marked = self.yielded = False

    def pause(self, now: Seconds) -> None:
        """The segment ends."""
        self.activated = None
        self.paused = now
        self.marked = False


class Entry(NamedTuple):
    """The private tokens of an engine's active programs at one moment."""

    at: Seconds
    reasoning: int
    """Programs with a call there."""
    busy: Tokens
    """Private tokens of those."""
    resting: Tokens
    """Private tokens of programs in their gaps."""

    @property
    def private(self) -> Tokens:
        return self.busy + self.resting


@dataclass(slots=True)
class Target:
    """One engine: the windows, and the ledger back to its latest scrape."""

    windows: Windows
    _ledger: deque[Entry] = field(default_factory=deque)

    def note(self, entry: Entry) -> None:
        """Enters what is so from now on."""
        if self._ledger and self._ledger[-1].at == entry.at:
            self._ledger.pop()
        self._ledger.append(entry)

    def usage(self, engine: EngineState, entry: Entry, fresh: Seconds) -> float:
        """Tokens in use: a scrape younger than `fresh` and what has changed since, or else the private ones in all.

        A scrape counts only what requests reference, so that programs in their gaps are added, and what is referenced
        is scaled up to the programs with a call there.
        """
        horizon = max(engine.scraped, entry.at - fresh)
        while len(self._ledger) > 1 and self._ledger[1].at <= horizon:
            self._ledger.popleft()
        if entry.at - engine.scraped >= fresh or not self._ledger or self._ledger[0].at > engine.scraped:
            return entry.private
        then = self._ledger[0]
        running = engine.scraped_running
        if running:
            referenced: float = engine.kv_used * max(then.reasoning, running) / running
        else:
            referenced = then.busy if then.reasoning else engine.kv_used
        return referenced + then.resting + entry.private - then.private


@dataclass(frozen=True, slots=True)
class Load:
    """What an engine has to carry at present."""

    engine: EngineState
    windows: Windows
    entry: Entry
    usage: float
    active: int
    marked: int
    """Programs with a call there that are paused after it."""
    promised: Tokens
    """Private tokens of those."""
    context: Tokens
    """Of the programs with a call there."""
    granted: int
    """R, the rounds that an admitted program is granted memory for."""
    protected: int
    """Of those, the rounds that active programs have left."""
    outstanding: int
    """The same, with at least one for each program with a call there."""
    restore: Seconds
    """What restoring a program with rounds left costs on average."""

    @property
    def capacity(self) -> Tokens:
        return self.engine.account.capacity

    @property
    def projected(self) -> float:
        """Tokens in use once the present calls are answered and the marked programs are paused."""
        return self.usage + self.windows.means.output * (self.entry.reasoning - self.marked) - self.promised


@dataclass(slots=True)
class Memory:
    """All that is written down."""

    tracks: dict[ProgramKey, Track] = field(default_factory=dict)
    targets: dict[EngineId, Target] = field(default_factory=dict)
    touched: dict[EngineId, None] = field(default_factory=dict)
    """Engines where something has happened since the last review."""
    finished: Program | None = None
    """The program whose call was answered just now."""
    turns: int = 0
    """Programs bound by turns."""
