"""The pins of one engine: when they are made, rest, end and break. Time is passed in; knows nothing of vLLM."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from agentserve.vllm_plugin.ownership import ContextBlock, Ownership, Pin, Pool, Seniority
from agentserve.vllm_plugin.reports import Outcome, Reports
from agentserve.vllm_plugin.ticket import YOUNGEST, Ticket

MAX_PROGRAMS = 4096
"""Programs without a pin or a call that are remembered, in case a pin is asked for after the fact."""


@dataclass(slots=True)
class _Program:
    name: str
    met: int
    rank: float = YOUNGEST
    live: set[str] = field(default_factory=set)
    trail: tuple[ContextBlock, ...] = ()
    """The context of the call that ended last."""
    ordered: float | None = None
    """A time-to-live that was ordered while a call runs; it counts from the end of that call."""


class Retention:
    """Keeps the KV of programs through their gaps, softly.

    A pin protects the context of the program's call that finished last. Its time-to-live rests while the program has a
    call in the engine. All times are seconds on one monotonic clock.
    """

    def __init__(self, pool: Pool, total_blocks: int) -> None:
        self.reports = Reports()
        self.ownership = Ownership(pool)
        self.pins: dict[str, Pin] = {}
        self.released = 0
        """Pins that were ended by an order, by a call that asked for none, or by one that replaced them."""
        self._pool = pool
        self._programs: dict[str, _Program] = {}
        self._calls: dict[str, tuple[_Program, float]] = {}
        self._met = 0
        self._trails = 0
        self._max_trails = 2 * total_blocks
        self._next_expiry = math.inf

    def enter(self, request: str, ticket: Ticket, now: float) -> None:
        """A program's call has come. A second arrival of the same request changes nothing."""
        if request in self._calls:
            return
        self.expire(now)
        program = self._programs.get(ticket.program) or self._meet(ticket.program)
        program.rank = ticket.rank
        if not program.live:
            self._rest(program, now)
        program.live.add(request)
        self._calls[request] = (program, ticket.ttl)

    def follows(self, request: str) -> bool:
        """Whether the request is a program's call."""
        return request in self._calls

    def leave(self, request: str, context: tuple[ContextBlock, ...], finished: bool, now: float) -> None:
        """A call has ended; its blocks are still referenced. `finished` is false if it was aborted or failed.

        A call that finished decides anew what is kept; one that did not leaves an earlier pin as it is.
        """
        program, ttl = self._calls.pop(request)
        program.live.discard(request)
        if context:
            self._remember(program, context)
        if program.ordered is not None:
            ttl = program.ordered
        if finished:
            self._pin(program, context, ttl)
        elif program.ordered is not None:
            self._retime(program, ttl)
        if not program.live:
            program.ordered = None
            self._resume(program, now)
        self._forget_surplus()

    def order(self, name: str, ttl: float, now: float) -> None:
        """Sets a program's time-to-live from now, or from the end of the call it has in the engine; 0 releases."""
        self.expire(now)
        program = self._programs.get(name)
        if program is None:
            if ttl > 0:
                self.reports.add(name, Outcome.LOST, 0)
        elif program.live:
            program.ordered = ttl
        else:
            self._set(program, ttl)
            self._resume(program, now)

    def hit(self, request: str, tokens: int) -> None:
        """A call was admitted with that many of its tokens cached."""
        call = self._calls.get(request)
        pin = self.pins.get(call[0].name) if call is not None else None
        if pin is not None and not pin.used:
            pin.used = True
            self.reports.add(pin.program, Outcome.HIT, tokens)

    def expire(self, now: float) -> None:
        """Ends the pins whose time has run out. Cheap when there is none."""
        if now < self._next_expiry:
            return
        for pin in sorted(self.pins.values(), key=lambda pin: pin.deadline):
            if pin.deadline > now:
                break
            self.reports.add(pin.program, Outcome.EXPIRED, pin.tokens)
            self._end(pin)
        self._next_expiry = min((pin.deadline for pin in self.pins.values()), default=math.inf)

    def make_room(self, count: int) -> None:
        """Breaks pins until `count` held blocks are back in the eviction list: the youngest first, from its tail."""
        hurt: set[Pin] = set()
        while count:
            pin = max((pin for pin in self.pins.values() if pin.guarded), key=lambda pin: pin.seniority)
            taken, losers = self.ownership.strip(pin, count)
            self._pool.release(taken)
            hurt |= losers
            count -= len(taken)
        for pin in sorted(hurt, key=lambda pin: pin.seniority):
            self._report_broken(pin)

    def shielded_from(self, request: str, reused: Iterable[int]) -> int:
        """How many held blocks a waiting request may not break, because older programs own them.

        The blocks that it reuses itself (its cached prefix) do not count. A request of no program is the youngest.
        """
        call = self._calls.get(request)
        seniority = self._seniority(call[0]) if call is not None else (YOUNGEST, self._met + 1)
        guarded = sum(pin.guarded for pin in self.pins.values() if pin.seniority < seniority)
        return guarded - self.ownership.guarded_before(seniority, reused) if guarded else 0

    def clear(self) -> None:
        """Drops all pins because what they protected is gone; each is reported lost."""
        lost = list(self.pins.values())
        for pin in lost:
            self.reports.add(pin.program, Outcome.LOST, pin.tokens)
        self.pins.clear()
        self.ownership.clear()
        for program in self._programs.values():
            program.trail = ()
        self._trails = 0

    def _meet(self, name: str) -> _Program:
        self._met += 1
        program = self._programs[name] = _Program(name, self._met)
        return program

    def _seniority(self, program: _Program) -> Seniority:
        """A pin goes on with the rank it was made with, and so does its program meanwhile."""
        pin = self.pins.get(program.name)
        return pin.seniority if pin is not None else (program.rank, program.met)

    def _remember(self, program: _Program, context: tuple[ContextBlock, ...]) -> None:
        """Keeps the context in mind, and the program as the latest to have had a call."""
        self._trails += len(context) - len(program.trail)
        program.trail = context
        self._programs[program.name] = self._programs.pop(program.name)

    def _forget_surplus(self) -> None:
        while len(self._programs) > MAX_PROGRAMS or self._trails > self._max_trails:
            idle = (each for each in self._programs.values() if not each.live and each.name not in self.pins)
            oldest = next(idle, None)
            if oldest is None:
                return
            self._trails -= len(oldest.trail)
            del self._programs[oldest.name]

    def _set(self, program: _Program, ttl: float) -> None:
        """Carries out an order for a program without a call: from its pin, or from what is left of its last context."""
        pin = self.pins.get(program.name)
        present = self._present(program.trail) if ttl > 0 else ()
        if pin is not None and (ttl == 0 or sum(entry.tokens for entry in present) <= pin.tokens):
            self._retime(program, ttl)
        elif ttl > 0:
            self._pin(program, present, ttl)

    def _present(self, trail: tuple[ContextBlock, ...]) -> tuple[ContextBlock, ...]:
        """The longest prefix of a context whose blocks still hold it."""
        for index, entry in enumerate(trail):
            if self._pool.hash_of(entry.block) != entry.hash:
                return trail[:index]
        return trail

    def _pin(self, program: _Program, context: tuple[ContextBlock, ...], ttl: float) -> None:
        """Puts a new pin in the place of the program's earlier one. Its clock does not run yet.

        A call that leaves nothing to keep (shorter than a block, or finished right after its preemption) lets an
        earlier pin go on.
        """
        earlier = self.pins.get(program.name)
        if ttl > 0 and not context and earlier is not None:
            earlier.remaining = ttl
            return
        if ttl > 0 and context:
            pin = Pin(program.name, (program.rank, program.met), list(context), ttl, math.inf)
            self.ownership.add(pin)
            self.pins[program.name] = pin
            self.reports.add(program.name, Outcome.APPLIED, pin.tokens)
        elif ttl > 0:
            self.reports.add(program.name, Outcome.LOST, 0)
        if earlier is not None:
            self.released += 1
            self._end(earlier)

    def _retime(self, program: _Program, ttl: float) -> None:
        """Gives the program's pin, if there is one, another time-to-live; 0 ends it."""
        pin = self.pins.get(program.name)
        if pin is None:
            return
        pin.remaining = ttl
        pin.used = False
        if ttl == 0:
            self.released += 1
            self._end(pin)

    def _rest(self, program: _Program, now: float) -> None:
        pin = self.pins.get(program.name)
        if pin is not None:
            pin.remaining = pin.deadline - now
            pin.deadline = math.inf

    def _resume(self, program: _Program, now: float) -> None:
        """Lets the pin's clock run, now that the program has no call. A pin outlives the call that used it."""
        pin = self.pins.get(program.name)
        if pin is not None:
            pin.used = False
            pin.deadline = now + pin.remaining
            self._next_expiry = min(self._next_expiry, pin.deadline)

    def _end(self, pin: Pin) -> None:
        if self.pins.get(pin.program) is pin:
            del self.pins[pin.program]
        self.ownership.remove(pin)

    def _report_broken(self, pin: Pin) -> None:
        if not pin.broken:
            pin.broken = True
            self.reports.add(pin.program, Outcome.BROKEN, pin.tokens)
        if not pin.blocks:
            del self.pins[pin.program]
