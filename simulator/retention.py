"""Soft retention: which programs' KV is kept through their gaps, exactly as the vLLM plugin does it.

A pin owns the blocks of a program's last context for a time to live, which rests while the program has a live
request. Owned blocks are free memory that is taken last: pins break under pressure, the latest-arrived program's
first and its last block first, so that what is left of it still serves as a prefix. A block that several pins own
goes when the turn comes to the oldest of them.

The plugin may import no other room, and this room may not import the plugin's; a test plays the same random calls to
both and compares every report and every token.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, TypeAlias

from scheduler.events import PinOutcome
from scheduler.types import Seconds, Tokens
from simulator.blocks import Block, BlockPool
from simulator.request import Request

REPORTS = 4096
"""Reports that are kept for whoever asks for them."""
PROGRAMS = 4096
"""Programs without a pin or a live request that are remembered, in case a pin is asked for after the fact."""

Seniority: TypeAlias = tuple[float, int]
"""A program's rank, then the order in which this engine met it; smaller is older."""


class Report(NamedTuple):
    """What became of a program's pin; `tokens` is what it held, of a broken one what is left, of a hit what served."""

    program: str
    outcome: PinOutcome
    tokens: Tokens


class _Kept(NamedTuple):
    """A block, and what it held when the call ended: if the content differs now, the block was taken since."""

    block: Block
    content: int | None


@dataclass(slots=True)
class _Pin:
    program: str
    seniority: Seniority
    blocks: list[Block]
    remaining: Seconds
    deadline: Seconds = inf
    used: bool = False
    broken: bool = False


@dataclass(slots=True)
class _Program:
    met: int
    rank: float = inf
    live: int = 0
    trail: tuple[_Kept, ...] = ()
    """The context of the request that ended last."""
    asked: Seconds | None = None
    """A time to live asked for while a request is live; it counts from its end, in place of the request's own."""


class Retention:
    """The pins of one engine."""

    def __init__(self, pool: BlockPool, block_size: Tokens) -> None:
        self.cursor = 0
        """How many reports there ever were."""
        self.counters: Counter[PinOutcome] = Counter()
        self.released = 0
        """Pins that were ended by an order, by a call that asked for none, or by one that replaced them."""
        self._pool = pool
        self._block_size = block_size
        self._pins: dict[str, _Pin] = {}
        self._programs: dict[str, _Program] = {}
        self._met = 0
        self._reports: deque[Report] = deque(maxlen=REPORTS)

    @property
    def protected_blocks(self) -> int:
        """Free blocks that pins keep from being taken."""
        return len(self._pool.owned)

    def reports_since(self, cursor: int) -> list[Report]:
        """The reports after the first `cursor` ones, as far as they are kept.

        A cursor from the future was given by an engine that has started again: it gets all there is.
        """
        missing = self.cursor - cursor if cursor <= self.cursor else self.cursor
        return list(self._reports)[-missing:] if missing else []

    def arrived(self, request: Request, now: Seconds) -> None:
        """A request is there: the time to live of its program's pin rests."""
        if not request.program:
            return
        program = self._programs.get(request.program) or self._meet(request.program)
        program.rank = inf if request.rank is None else request.rank
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

    def ended(self, request: Request, context: Sequence[Block], now: Seconds, *, finished: bool) -> None:
        """A request has ended with these full blocks, which it still uses.

        One that finished decides anew what is kept; one that was aborted leaves an earlier pin as it is.
        """
        if not request.program:
            return
        program = self._programs[request.program]
        program.live -= 1
        if context:
            program.trail = tuple(_Kept(block, block.content) for block in context)
            self._programs[request.program] = self._programs.pop(request.program)
        if finished:
            self._pin(request.program, context, request.ttl if program.asked is None else program.asked)
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
        for pin in sorted(self._pins.values(), key=lambda pin: pin.deadline):
            if pin.deadline > now:
                break
            self._report(pin.program, PinOutcome.EXPIRED, self._tokens(pin.blocks))
            self._end(pin)

    def shielded(self, request: Request, reused: Collection[Block]) -> int:
        """How many protected blocks belong to programs older than the request's; those it reuses do not count."""
        if not self._pins:
            return 0
        pin, program = self._pins.get(request.program), self._programs.get(request.program)
        own = pin.seniority if pin else (program.rank, program.met) if program else (inf, self._met + 1)
        return sum(block not in reused and self._guardian(block).seniority < own for block in self._pool.owned)

    def make_room(self, count: int) -> None:
        """Breaks pins until `count` blocks can be taken: the latest program's first, its last block first."""
        hurt: dict[str, _Pin] = {}
        while self._pool.takeable < count:
            pin, block = self._victim()
            for owner in list(block.owners):
                hurt[owner] = self._pins[owner]
                self._pins[owner].blocks.remove(block)
                self._pool.disown(block, owner)
        for pin in sorted(hurt.values(), key=lambda pin: pin.seniority):
            if not pin.broken:
                pin.broken = True
                self._report(pin.program, PinOutcome.BROKEN, self._tokens(pin.blocks))
            if not pin.blocks:
                del self._pins[pin.program]

    def faults(self) -> Iterator[str]:
        """What is wrong with the pins: blocks have to be owned by exactly the pins that list them."""
        pinned = {(block.id, pin.program) for pin in self._pins.values() for block in pin.blocks}
        owned = {(block.id, owner) for block in self._pool.blocks for owner in block.owners}
        for block, program in owned ^ pinned:
            yield f"block {block} is {'owned' if (block, program) in owned else 'pinned'} alone by {program!r}"

    def _meet(self, name: str) -> _Program:
        self._met += 1
        program = self._programs[name] = _Program(self._met)
        return program

    def _guardian(self, block: Block) -> _Pin:
        return min((self._pins[owner] for owner in block.owners), key=lambda pin: pin.seniority)

    def _victim(self) -> tuple[_Pin, Block]:
        """The last free block of the latest program that guards any."""
        guards = {id(pin): pin for pin in map(self._guardian, self._pool.owned)}
        pin = max(guards.values(), key=lambda pin: pin.seniority)
        return pin, next(b for b in reversed(pin.blocks) if not b.users and self._guardian(b) is pin)

    def _set(self, name: str, program: _Program, ttl: Seconds) -> None:
        """Carries out what was asked: from the pin, or from what is left of the last context if that is more."""
        pin = self._pins.get(name)
        present = self._present(program.trail) if ttl > 0 else []
        if pin and (ttl == 0 or len(present) <= len(pin.blocks)):
            self._retime(name, ttl)
        elif ttl > 0:
            self._pin(name, present, ttl)

    def _present(self, trail: Sequence[_Kept]) -> list[Block]:
        present: list[Block] = []
        for block, content in trail:
            if block.content != content:
                break
            present.append(block)
        return present

    def _pin(self, name: str, context: Sequence[Block], ttl: Seconds) -> None:
        """Puts a new pin in the place of the program's earlier one. Its clock does not run yet.

        A request that leaves no full block to keep lets an earlier pin go on.
        """
        earlier, program = self._pins.get(name), self._programs[name]
        if ttl > 0 and earlier and not context:
            earlier.remaining = ttl
            return
        self._pins.pop(name, None)
        if ttl > 0 and context:
            self._pins[name] = _Pin(name, (program.rank, program.met), list(context), ttl)
            for block in context:
                self._pool.own(block, name)
            self._report(name, PinOutcome.APPLIED, self._tokens(context))
        elif ttl > 0:
            self._report(name, PinOutcome.LOST, 0)
        if earlier:
            self.released += 1
            self._disown(earlier)

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

    def _end(self, pin: _Pin) -> None:
        del self._pins[pin.program]
        self._disown(pin)

    def _disown(self, pin: _Pin) -> None:
        """Gives up the pin's blocks, except those that a pin in its place has."""
        successor = self._pins.get(pin.program)
        kept = set(successor.blocks) if successor else set()
        for block in reversed(pin.blocks):
            if block not in kept:
                self._pool.disown(block, pin.program)

    def _forget_surplus(self) -> None:
        while len(self._programs) > PROGRAMS:
            idle = (name for name, program in self._programs.items() if not program.live and name not in self._pins)
            oldest = next(idle, None)
            if oldest is None:
                return
            del self._programs[oldest]

    def _tokens(self, blocks: Sequence[Block]) -> Tokens:
        return len(blocks) * self._block_size

    def _report(self, program: str, outcome: PinOutcome, tokens: Tokens) -> None:
        self._reports.append(Report(program, outcome, tokens))
        self.cursor += 1
        self.counters[outcome] += 1
