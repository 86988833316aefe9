"""Autellix (arXiv 2502.13965): programs to which engines have given least service go first.

A call inherits its program's service: the seconds that a model was executed for it so far, along the longest path of
calls that followed one another. When a call ends,

    service = max(service, inherited service + seconds of this call)

which is PLAS for programs whose calls follow one another and ATLAS for those with parallel ones. Services are sorted
into K queues, a new call into that of its inherited service; inside a queue the first to arrive goes first. A call
whose program has waited too long for what it got goes to the first queue:

    (W_program + W_call) / (T_program + T_call) >= beta

The paper gives neither K, nor the queues' bounds, nor beta.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from scheduler.listener import Listener
from scheduler.order.base import Moves
from scheduler.state import Call, EngineState, Program
from scheduler.types import CallId, ProgramKey, Seconds, Usage
from scheduler.view import View
from tools.window import SampleWindow

WINDOW = 1000
"""Calls of which the median service is taken."""


@dataclass(slots=True, eq=False)
class _Entry:
    """One row of the process table. A sub-agent is a part of its parent's program: they share a row."""

    service: float = 0.0
    waited: Seconds = 0.0
    ran: Seconds = 0.0
    inherited: dict[CallId, float] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Table:
    """The process table, and the services of the latest calls."""

    programs: dict[ProgramKey, _Entry] = field(default_factory=dict)
    services: SampleWindow = field(default_factory=lambda: SampleWindow(WINDOW))

    def entry(self, program: Program) -> _Entry:
        """The program's row, made on first use."""
        entry = self.programs.get(program.key)
        if entry is None:
            parent = self.programs.get(program.parent) if program.parent is not None else None
            entry = self.programs[program.key] = parent or _Entry()
        return entry

    @property
    def median(self) -> float:
        """The median service of a call; 0 while none has ended."""
        ordered = self.services.ordered
        return ordered[len(ordered) // 2] if ordered else 0.0


@dataclass(frozen=True, slots=True)
class AttainedService(Listener):
    """Queues of attained service. The original demotes running calls too; here a call keeps the queue it was sent with.

    Attributes:
        queues: K.
        first: where the second queue begins; 0 for the median service of a call.
        factor: how many times later each further queue begins.
        beta: waiting for so many times its service takes a program's calls to the first queue.
        tokens: service is counted in tokens, prefilled and generated, not in seconds.
    """

    moves: ClassVar[Moves] = Moves.ALWAYS

    queues: int = 4
    first: float = 0.0
    factor: float = 2.0
    beta: float = 2.0
    tokens: bool = False
    _table: _Table = field(init=False, default_factory=_Table, repr=False, compare=False)

    def key(self, view: View, call: Call) -> float:
        return self.priority(view, call)

    def priority(self, view: View, call: Call) -> int:
        entry = self._table.programs.get(call.program.key)
        if entry is None or self._starves(entry, view.now - call.arrived):
            return 0
        return self._queue(entry.inherited.get(call.id, entry.service))

    def _starves(self, entry: _Entry, waited: Seconds) -> bool:
        return entry.ran > 0 and (entry.waited + waited) / entry.ran >= self.beta

    def _queue(self, service: float) -> int:
        bound = self.first or self._table.median
        if not bound:
            return 0
        for queue in range(self.queues - 1):
            if service < bound:
                return queue
            bound *= self.factor
        return self.queues - 1

    def call_arrived(self, view: View, call: Call) -> None:
        entry = self._table.entry(call.program)
        entry.inherited[call.id] = entry.service

    def call_finished(self, view: View, call: Call, usage: Usage, engine: EngineState) -> None:
        ran = executed(view, call, usage, engine)
        service = float(usage.prompt - (usage.cached or 0) + usage.output) if self.tokens else ran
        self._table.services.add(service)
        entry = self._table.entry(call.program)
        entry.service = max(entry.service, entry.inherited.pop(call.id, entry.service) + service)
        entry.ran += ran
        entry.waited += view.now - call.arrived - ran

    def call_dropped(self, view: View, call: Call) -> None:
        if call.id not in call.program.calls:
            self._table.entry(call.program).inherited.pop(call.id, None)

    def program_ended(self, view: View, program: Program) -> None:
        self._table.programs.pop(program.key, None)


def executed(view: View, call: Call, usage: Usage, engine: EngineState) -> Seconds:
    """How long the model was executed for a call: its prefill, and the time since its first token.

    Of a call that does not stream, the first token is not seen: its decoding is estimated from the present batch.
    """
    steps = engine.spec.steps
    cached = usage.cached or 0
    prefill = steps.prefill(usage.prompt - cached, cached)
    if call.first_token is not None:
        decode = view.now - call.first_token
    else:
        others = sum(other.prompt + other.output for other in engine.running.values())
        decode = usage.output * steps.decode(1 + len(engine.running), others + usage.prompt + usage.output)
    return min(prefill + decode, view.now - call.dispatched)
