"""Soft retention: which programs' KV is kept through their gaps, exactly as the vLLM plugin does it.

A pin owns the blocks of a program's last context for a time to live, which rests while the program has a live
request. Owned blocks are free memory that is taken last: pins break under pressure, the latest-arrived program's
first and its last block first, so that what is left of it still serves as a prefix. A block that several pins own
goes when the turn comes to the oldest of them.

The plugin may import no other room, and this room may not import the plugin's; a test plays the same random calls to
both and compares every report and every token.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from scheduler.events import PinOutcome
from scheduler.types import Seconds, Tokens
from simulator.blocks import BlockPool, Match
from simulator.request import Request
from simulator.runs import Pin, Seniority, Table, Trail

REPORTS = 4096
"""Reports that are kept for whoever asks for them."""
PROGRAMS = 4096
"""Programs without a pin or a live request that are remembered, in case a pin is asked for after the fact."""


class Report(NamedTuple):
    """What became of a program's pin; `tokens` is what it held, of a broken one what is left, of a hit what served."""

    program: str
    outcome: PinOutcome
    tokens: Tokens


@dataclass(slots=True)
class _Program:
    met: int
    rank: float = inf
    live: int = 0
    trail: Trail = field(default_factory=Trail)
    """Of the request that ended last."""
    noted: int = 0
    """How many blocks that was."""
    asked: Seconds | None = None
    """A time to live asked for while a request is live; it counts from its end, in place of the request's own."""


class Retention:
    """The pins of one engine."""

    def __init__(self, pool: BlockPool) -> None:
        self.cursor = 0
        """How many reports there ever were."""
        self.changes = 0
        """How often a pin or a program's rank has changed, as far as reports tell of the pins."""
        self.counters: Counter[PinOutcome] = Counter()
        self.released = 0
        """Pins that were ended by an order, by a call that asked for none, or by one that replaced them."""
        self._pool = pool
        self._pins: dict[str, Pin] = {}
        self._programs: OrderedDict[str, _Program] = OrderedDict()
        """Those whose last request was remembered longest ago come first."""
        self._met = 0
        self._pinned = 0
        self._resumed = 0
        self._noted = 0
        self._order: list[Pin] = []
        """The pins from the oldest program's to the latest's."""
        self._expiries: list[tuple[Seconds, int, int, Pin]] = []
        """A heap; entries of pins that rest, have another deadline now or have ended are outdated."""
        self._reports: deque[Report] = deque(maxlen=REPORTS)

    @property
    def protected_blocks(self) -> int:
        """Free blocks that pins keep from being taken."""
        return self._pool.held

    @property
    def next_expiry(self) -> Seconds:
        """When the first pin's time runs out."""
        expiries = self._expiries
        while expiries and not (expiries[0][3].deadline == expiries[0][0] and self._is_there(expiries[0][3])):
            heappop(expiries)
        return expiries[0][0] if expiries else inf

    def reports_since(self, cursor: int) -> list[Report]:
        """The reports after the first `cursor` ones, as far as they are kept.

        A cursor from the future was given by an engine that has started again: it gets all there is.
        """
        missing = self.cursor - cursor if cursor <= self.cursor else self.cursor
        return [self._reports[-back] for back in range(min(missing, len(self._reports)), 0, -1)]

    def arrived(self, request: Request, now: Seconds) -> None:
        """A request is there: the time to live of its program's pin rests."""
        if not request.program:
            return
        program = self._programs.get(request.program) or self._meet(request.program)
        rank = inf if request.rank is None else request.rank
        if rank != program.rank:
            program.rank = rank
            self.changes += 1
        pin = self._pins.get(request.program)
        if pin and not program.live:
            pin.remaining, pin.deadline = pin.deadline - now, inf
        program.live += 1

    def admitted(self, request: Request, cached: Tokens) -> None:
        """The request starts with `cached` tokens of its context served."""
        pin = self._pins.get(request.program)
        if pin and cached and not pin.used:
            pin.used = True
            self._report(pin.program, PinOutcome.HIT, cached)

    def ended(self, request: Request, table: Table, now: Seconds, *, finished: bool) -> None:
        """A request has ended with this table, which it still uses.

        One that finished decides anew what is kept; one that was aborted leaves an earlier pin as it is.
        """
        if not request.program:
            return
        program = self._programs[request.program]
        program.live -= 1
        if table.runs:
            self._remember(request.program, program, table)
        if finished:
            self._pin(request.program, table, request.ttl if program.asked is None else program.asked)
        elif program.asked is not None:
            self._retime(request.program, program.asked)
        if not program.live:
            program.asked = None
            self._resume(request.program, now)
        self._forget_surplus()

    def ask(self, name: str, ttl: Seconds, now: Seconds) -> None:
        """Keeps the program's KV for `ttl` seconds from now, or from the end of its live request; 0 releases it."""
        program = self._programs.get(name)
        if program is None:
            if ttl > 0:
                self._report(name, PinOutcome.LOST, 0)
        elif program.live:
            program.asked = ttl
        else:
            self._set(name, program, ttl)
            self._resume(name, now)

    def expire(self, now: Seconds) -> None:
        """Ends the pins whose time has run out."""
        while self.next_expiry <= now:
            pin = heappop(self._expiries)[3]
            self._report(pin.program, PinOutcome.EXPIRED, self._tokens(pin.blocks))
            self._end(pin)

    def shielded(self, request: Request, reused: Match) -> int:
        """How many protected blocks belong to programs older than the request's; those it reuses do not count."""
        pin, program = self._pins.get(request.program), self._programs.get(request.program)
        own = pin.seniority if pin else (program.rank, program.met) if program else (inf, self._met + 1)
        older = sum(pin.guarded for pin in self._order[: bisect_left(self._order, own, key=_seniority)])
        return older - sum(
            self._pool.memory_of(run, blocks)
            for run, blocks in reused.parts()
            if run.pins and not run.tables and run.guardian.seniority < own
        )

    @property
    def quiet_blocks(self) -> int:
        """How many blocks can surely be taken from pins before there is something to report."""
        if not self._pool.held:
            return 0
        run = self._pool.last_guarded(self._victim())
        return run.node.weight if all(pin.broken for pin in run.pins) else 0

    def take(self, count: int) -> None:
        """Takes so many free blocks into use, from pins as far as there are no others.

        Pins break the latest program's first, and its last block first.
        """
        plain = min(count, self._pool.takeable)
        self._pool.take(plain)
        if plain == count:
            return
        count -= plain
        hurt: set[Pin] = set()
        while count:
            taken, losers = self._pool.strip(self._victim(), count)
            count -= taken
            hurt |= losers
        for pin in sorted(hurt, key=_seniority):
            if not pin.broken:
                pin.broken = True
                self._report(pin.program, PinOutcome.BROKEN, self._tokens(pin.blocks))
            if not pin.runs:
                self._drop(pin)

    def faults(self) -> Iterator[str]:
        """What is wrong with the pins: they are among the holders of the runs that they list."""
        for pin in self._pins.values():
            if any(pin not in run.pins for run in pin.runs):
                yield f"the pin of {pin.program!r} lists blocks that it does not hold"

    def _victim(self) -> Pin:
        """The latest program's pin that guards free blocks."""
        return next(pin for pin in reversed(self._order) if pin.guarded)

    def _meet(self, name: str) -> _Program:
        self._met += 1
        program = self._programs[name] = _Program(self._met)
        return program

    def _remember(self, name: str, program: _Program, table: Table) -> None:
        """Keeps the context in mind, and the program as the latest to have had a request."""
        blocks = table.blocks
        self._noted += blocks - program.noted
        program.noted = blocks
        self._pool.follow(program.trail, table.runs)
        self._programs.move_to_end(name)

    def _set(self, name: str, program: _Program, ttl: Seconds) -> None:
        """Carries out what was asked: from the pin, or from what is left of the last context if that is more."""
        pin = self._pins.get(name)
        if pin and (ttl == 0 or program.trail.blocks <= pin.blocks):
            self._retime(name, ttl)
        elif ttl > 0:
            self._pin(name, program.trail, ttl)

    def _pin(self, name: str, context: Table | Trail, ttl: Seconds) -> None:
        """Puts a new pin in the place of the program's earlier one. Its clock does not run yet.

        A request that leaves no full block to keep lets an earlier pin go on.
        """
        earlier, program = self._pins.get(name), self._programs[name]
        if ttl > 0 and earlier and not context.runs:
            earlier.remaining = ttl
            return
        if earlier:
            self._drop(earlier)
        if ttl > 0 and context.runs:
            self._pinned += 1
            pin = Pin(
                program=name,
                seniority=(program.rank, program.met),
                number=earlier.number if earlier else self._pinned,
                remaining=ttl,
                deadline=inf,
            )
            self._pins[name] = pin
            insort(self._order, pin, key=_seniority)
            self._pool.own(pin, context.runs)
            self._report(name, PinOutcome.APPLIED, self._tokens(pin.blocks))
        elif ttl > 0:
            self._report(name, PinOutcome.LOST, 0)
        if earlier:
            self.released += 1
            self._pool.disown(earlier)

    def _retime(self, name: str, ttl: Seconds) -> None:
        """Gives the program's pin, if there is one, another time to live; 0 ends it."""
        pin = self._pins.get(name)
        if pin is None:
            return
        pin.remaining, pin.used = ttl, False
        if ttl == 0:
            self.released += 1
            self._end(pin)

    def _resume(self, name: str, now: Seconds) -> None:
        pin = self._pins.get(name)
        if pin:
            pin.used = False
            pin.deadline = now + pin.remaining
            self._resumed += 1
            heappush(self._expiries, (pin.deadline, pin.number, self._resumed, pin))

    def _end(self, pin: Pin) -> None:
        self._drop(pin)
        self._pool.disown(pin)

    def _drop(self, pin: Pin) -> None:
        del self._pins[pin.program]
        del self._order[bisect_left(self._order, pin.seniority, key=_seniority)]

    def _is_there(self, pin: Pin) -> bool:
        return self._pins.get(pin.program) is pin

    def _forget_surplus(self) -> None:
        while len(self._programs) > PROGRAMS or self._noted > 2 * self._pool.size:
            idle = (name for name, program in self._programs.items() if not program.live and name not in self._pins)
            oldest = next(idle, None)
            if oldest is None:
                return
            program = self._programs.pop(oldest)
            self._noted -= program.noted
            self._pool.follow(program.trail, ())

    def _tokens(self, blocks: int) -> Tokens:
        return blocks * self._pool.block_size

    def _report(self, program: str, outcome: PinOutcome, tokens: Tokens) -> None:
        self._reports.append(Report(program, outcome, tokens))
        self.cursor += 1
        self.changes += 1
        self.counters[outcome] += 1


def _seniority(pin: Pin) -> Seniority:
    return pin.seniority
