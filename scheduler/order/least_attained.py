"""llm-d's program-aware fairness by least attained service (llm-d router, flow control).

A program's service s grows by its prompt tokens and twice its output tokens when a call ends, and halves every minute.
Whenever an engine can take a call, the waiting programs are scored

    0.8 * (1 - norm(s)) + 0.2 * norm(wait of its first call)    with norm(v) = (v - min) / (max - min), 0.5 if all equal

over the programs that wait, and the highest score goes first. Inside a program calls go by arrival.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp2
from typing import ClassVar, NamedTuple

from scheduler.listener import Listener
from scheduler.order.base import Moves
from scheduler.state import Call, EngineState, Program
from scheduler.types import ProgramKey, Seconds, Usage
from scheduler.view import View


class _Charge(NamedTuple):
    """A program's service as of a time."""

    service: float
    at: Seconds


class _Range(NamedTuple):
    """The values of one quantity over all waiting programs."""

    low: float
    high: float

    def norm(self, value: float) -> float:
        """Where in the range a value lies, from 0 to 1."""
        if self.high <= self.low:
            return 0.5
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


class _Field(NamedTuple):
    """What the waiting programs are compared by, at one moment."""

    at: Seconds
    services: _Range
    waits: _Range


@dataclass(slots=True, eq=False)
class _Books:
    """Services charged, and the last comparison for as long as nothing has changed since."""

    charges: dict[ProgramKey, _Charge] = field(default_factory=dict)
    compared: _Field | None = None


@dataclass(frozen=True, slots=True)
class LeastAttained(Listener):
    """Programs by decayed service and waiting. The engine's own queue is not told: all requests have one priority.

    Attributes:
        service_weight: of having had little service.
        wait_weight: of having waited long.
        half_life: seconds in which service halves; 0 for never.
        output_weight: prompt tokens that an output token counts for.
    """

    moves: ClassVar[Moves] = Moves.ALWAYS

    service_weight: float = 0.8
    wait_weight: float = 0.2
    half_life: float = 60.0
    output_weight: float = 2.0
    _books: _Books = field(init=False, default_factory=_Books, repr=False, compare=False)

    def key(self, view: View, call: Call) -> float:
        waiting = self._compare(view)
        service = waiting.services.norm(self._service(call.program.key, view.now))
        wait = waiting.waits.norm(view.now - call.arrived)
        return -(self.service_weight * (1 - service) + self.wait_weight * wait)

    def priority(self, view: View, call: Call) -> int:
        return 0

    def _service(self, program: ProgramKey, now: Seconds) -> float:
        charge = self._books.charges.get(program)
        if charge is None:
            return 0.0
        return charge.service * exp2((charge.at - now) / self.half_life) if self.half_life else charge.service

    def _compare(self, view: View) -> _Field:
        known = self._books.compared
        if known is None or known.at != view.now:
            services: list[float] = []
            waits: list[Seconds] = []
            for program in view.programs.values():
                arrivals = [call.arrived for call in program.calls.values() if call.engine is None]
                if arrivals:
                    services.append(self._service(program.key, view.now))
                    waits.append(view.now - min(arrivals))
            known = self._books.compared = _Field(view.now, _range(services), _range(waits))
        return known

    def call_arrived(self, view: View, call: Call) -> None:
        self._books.compared = None

    def call_dispatched(self, view: View, call: Call, engine: EngineState) -> None:
        self._books.compared = None

    def call_dropped(self, view: View, call: Call) -> None:
        self._books.compared = None

    def call_finished(self, view: View, call: Call, usage: Usage, engine: EngineState) -> None:
        program = call.program.key
        service = self._service(program, view.now) + usage.prompt + self.output_weight * usage.output
        self._books.charges[program] = _Charge(service, view.now)
        self._books.compared = None

    def program_ended(self, view: View, program: Program) -> None:
        self._books.charges.pop(program.key, None)
        self._books.compared = None


def _range(values: list[float]) -> _Range:
    return _Range(min(values, default=0.0), max(values, default=0.0))
