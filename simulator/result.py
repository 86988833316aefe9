"""What came of a simulation. Times are seconds of virtual time since its start, lengths are tokens."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.events import PinOutcome
from scheduler.types import Seconds, Tokens


@dataclass(frozen=True, slots=True)
class CallResult:
    """One call. `arrived` and `dispatched` are the gateway's times, `first_token` and `finished` what it sees."""

    program: str
    call: str
    turn: int
    """0 for calls that wait for none of their program, else one more than the deepest of those."""
    stage: str
    engine: str
    arrived: Seconds
    dispatched: Seconds
    first_token: Seconds
    finished: Seconds
    prompt: Tokens
    cached: Tokens
    output: Tokens

    @property
    def held(self) -> Seconds:
        """How long it stood in the scheduler's line."""
        return self.dispatched - self.arrived

    @property
    def ttft(self) -> Seconds:
        """From its arrival to its first token."""
        return self.first_token - self.arrived


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """One program; its lengths are sums over its calls."""

    program: str
    workflow: str
    parent: str | None
    arrival: Seconds
    finished: Seconds
    """When its last answer was complete at the client."""
    calls: int
    prompt: Tokens
    cached: Tokens
    output: Tokens
    objective: Seconds | None = None
    """Within how many seconds of its arrival it was to end, if its client had said so."""
    given_up: bool = False
    """One of its calls was refused."""

    @property
    def completion(self) -> Seconds:
        """From its arrival to its last token; infinite if it was given up."""
        return math.inf if self.given_up else self.finished - self.arrival

    @property
    def in_time(self) -> bool | None:
        """Whether it ended as soon as it was to; None if nobody had said when."""
        return None if self.objective is None else self.completion <= self.objective


@dataclass(frozen=True, slots=True)
class Holding:
    """KV of one program on one engine. Prefixes that it shares with others count in full."""

    program: str
    running: Tokens
    """Context of its requests that have a token."""
    retained: Tokens
    """What its pin held when it was last reported."""


@dataclass(frozen=True, slots=True)
class EngineSample:
    """One engine at one moment. Blocks that nothing references and no pin keeps are free."""

    at: Seconds
    running: int
    """Requests that were admitted."""
    waiting: int
    """Requests in the engine's own queue."""
    held: int
    """Calls in the scheduler's line, whichever engine they will go to."""
    kv_running: Tokens
    kv_retained: Tokens
    programs: tuple[Holding, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineResult:
    """One engine of the fleet. `samples` are in order of time, and empty unless asked for."""

    name: str
    hardware: str
    kv_tokens: Tokens
    calls: int
    preemptions: int
    busy: Seconds
    """Time spent in steps."""
    pins: Mapping[PinOutcome, int]
    samples: tuple[EngineSample, ...] = ()
    modelled: bool = False
    """Its speed is computed from data sheets, not measured."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds from each call's arrival: in the scheduler's line, and to its first token; of turn 0 and of later ones."""

    first_held: array[float] = field(default_factory=lambda: array("d"))
    later_held: array[float] = field(default_factory=lambda: array("d"))
    first_ttft: array[float] = field(default_factory=lambda: array("d"))
    later_ttft: array[float] = field(default_factory=lambda: array("d"))

    def add(self, turn: int, held: Seconds, ttft: Seconds) -> None:
        """Enters one call."""
        (self.later_held if turn else self.first_held).append(held)
        (self.later_ttft if turn else self.first_ttft).append(ttft)


@dataclass(frozen=True, slots=True)
class Cost:
    """What the simulation itself took; the seconds are real ones of one core."""

    wall: Seconds
    brain: Seconds
    engines: Seconds
    events: int
    """SimPy events."""
    brain_events: int
    engine_steps: int


@dataclass(frozen=True, slots=True)
class Simulation:
    """One replay of a workload under one policy. Two are equal if the same happened, whatever they took."""

    policy: str
    seed: int
    programs: tuple[ProgramResult, ...]
    """In the order in which they ended."""
    engines: tuple[EngineResult, ...]
    waits: Waits
    makespan: Seconds
    """From the first arrival to the last answer."""
    cost: Cost = field(compare=False)
    calls: tuple[CallResult, ...] = ()
    """In the order in which they ended; empty unless asked for."""
    alone: Mapping[str, Seconds] = field(default_factory=dict)
    """Completion time of each program with the fleet to itself; empty unless asked for."""

    @property
    def pins(self) -> dict[PinOutcome, int]:
        """Pins of the whole fleet by outcome."""
        return {outcome: sum(engine.pins.get(outcome, 0) for engine in self.engines) for outcome in PinOutcome}

    @property
    def preemptions(self) -> int:
        """Preemptions on the whole fleet."""
        return sum(engine.preemptions for engine in self.engines)
