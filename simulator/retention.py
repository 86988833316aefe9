"""Soft retention: which programs' KV is kept through their gaps, as the vLLM plugin does it.

A pin owns the blocks of a program's last context for a time to live, which rests while the program has a live
request. Owned blocks are free memory that is taken last: pins break under pressure, the latest-arrived program's
first and its last block first, so that what is left of it still serves as a prefix.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import NamedTuple

from scheduler.events import PinOutcome
from scheduler.types import Seconds, Tokens
from simulator.blocks import Block, BlockPool

_REPORTS = 4096
_REMEMBERED = 4096


class Report(NamedTuple):
    """What became of a program's pin; `tokens` is what it held, of a broken one what is left, of a hit what served."""

    program: str
    outcome: PinOutcome
    tokens: Tokens


class Kept(NamedTuple):
    """A block and the content it had when it was kept: if the content differs now, the block was taken since."""

    block: Block
    content: int | None

    @property
    def stale(self) -> bool:
        return self.block.content != self.content


@dataclass(slots=True)
class _Holding:
    """A program's last context, pinned until `expires`, or only remembered (None)."""

    rank: float
    blocks: list[Kept] = field(default_factory=list)
    expires: Seconds | None = None
    live: int = 0
    hit: bool = False
    broken: bool = False
    asked: Seconds | None = None
    """The time to live asked for while a request was live; it replaces the request's own."""


class Retention:
    """The pins of one engine. Programs are known from their first request on; the oldest idle ones are forgotten."""

    def __init__(self, pool: BlockPool, block_size: Tokens) -> None:
        self._pool = pool
        self._block_size = block_size
        self._holdings: OrderedDict[str, _Holding] = OrderedDict()
        self._reports: deque[Report] = deque(maxlen=_REPORTS)
        self.cursor = 0
        """How many reports there ever were."""
        self.counters: Counter[PinOutcome] = Counter()

    @property
    def protected_blocks(self) -> int:
        """Distinct blocks that pins own, in use or free."""
        return sum(bool(block.owners) for block in self._pool.blocks)

    def reports_since(self, cursor: int) -> list[Report]:
        """The reports after the first `cursor` ones, as far back as 4,096."""
        fresh = max(0, min(self.cursor - cursor, len(self._reports)))
        return list(self._reports)[len(self._reports) - fresh :]

    def arrived(self, program: str, rank: int | None) -> None:
        """A request of the program is there: its pin no longer runs out."""
        if not program:
            return
        holding = self._holdings.setdefault(program, _Holding(inf))
        self._holdings.move_to_end(program)
        holding.rank = inf if rank is None else rank
        holding.live += 1

    def admitted(self, program: str, cached: Tokens) -> None:
        """The program's request starts with `cached` tokens of its prefix served."""
        holding = self._holdings.get(program)
        if holding and holding.expires is not None and cached and not holding.hit:
            holding.hit = True
            self._report(program, PinOutcome.HIT, cached)

    def finished(self, program: str, table: Sequence[Block], ttl: Seconds, now: Seconds) -> None:
        """The program's request has ended with this context: keep it for `ttl` seconds in place of what was kept."""
        if not program:
            return
        holding = self._holdings[program]
        ttl = ttl if holding.asked is None else holding.asked
        before = holding.blocks if holding.expires is not None else []
        holding.blocks = [Kept(block, block.content) for block in table]
        holding.expires = None
        if ttl > 0:
            self._pin(program, holding, now + ttl)
        kept = {item.block for item in holding.blocks} if ttl > 0 else set()
        for block, _ in reversed(before):
            if block not in kept:
                self._pool.disown(block, program)
        self._gone(holding)

    def aborted(self, program: str) -> None:
        """The program's request was aborted: an earlier pin goes on as it was."""
        if program:
            self._gone(self._holdings[program])

    def ask(self, program: str, ttl: Seconds, now: Seconds) -> None:
        """Keeps the program's KV for `ttl` seconds from now, or from the end of its live request; 0 releases it."""
        holding = self._holdings.get(program)
        if holding and holding.live:
            holding.asked = ttl
        elif ttl <= 0:
            if holding and holding.expires is not None:
                self._unpin(program, holding)
        elif holding and holding.expires is not None:
            holding.expires = now + ttl
        elif holding and self._still_there(holding):
            self._pin(program, holding, now + ttl)
        else:
            self._report(program, PinOutcome.LOST, 0)

    def expire(self, now: Seconds) -> None:
        """Ends the pins whose time has passed; their blocks go before all other pins', after all plain ones."""
        for program, holding in self._holdings.items():
            if holding.expires is not None and not holding.live and holding.expires <= now:
                if not holding.hit:
                    self._report(program, PinOutcome.EXPIRED, self._tokens(holding))
                self._unpin(program, holding, expired=True)

    def breakable(self, rank: float) -> set[Block]:
        """The free blocks which only pins of this rank or later own."""
        held = self._holdings
        return {block for block in self._pool.owned if all(held[owner].rank >= rank for owner in block.owners)}

    def make_room(self, count: int) -> None:
        """Breaks pins, latest program first and last block first, until `count` blocks can be taken."""
        victims = self._victims()
        while self._pool.takeable < count:
            program, holding, kept = next(victims)
            holding.blocks.remove(kept)
            self._pool.disown(kept.block, program, expired=True)
            if not holding.broken:
                holding.broken = True
                self._report(program, PinOutcome.BROKEN, self._tokens(holding))
            if not holding.blocks:
                holding.expires = None

    def faults(self) -> Iterator[str]:
        """What is wrong with the pins: blocks have to be owned by exactly the pins that list them."""
        pinned = {
            (kept.block.id, program)
            for program, holding in self._holdings.items()
            if holding.expires is not None
            for kept in holding.blocks
        }
        owned = {(block.id, owner) for block in self._pool.blocks for owner in block.owners}
        for block, program in owned ^ pinned:
            yield f"block {block} is {'owned' if (block, program) in owned else 'pinned'} alone by {program!r}"

    def _victims(self) -> Iterator[tuple[str, _Holding, Kept]]:
        pinned = [(name, holding) for name, holding in self._holdings.items() if holding.expires is not None]
        for program, holding in sorted(pinned, key=lambda item: item[1].rank, reverse=True):
            for kept in [kept for kept in reversed(holding.blocks) if not kept.block.users]:
                yield program, holding, kept

    def _pin(self, program: str, holding: _Holding, expires: Seconds) -> None:
        holding.expires, holding.hit, holding.broken = expires, False, False
        for block, _ in holding.blocks:
            self._pool.own(block, program)
        self._report(program, PinOutcome.APPLIED, self._tokens(holding))

    def _unpin(self, program: str, holding: _Holding, *, expired: bool = False) -> None:
        holding.expires = None
        for block, _ in reversed(holding.blocks):
            self._pool.disown(block, program, expired=expired)

    def _gone(self, holding: _Holding) -> None:
        holding.live -= 1
        if not holding.live:
            holding.asked = None
        self._forget()

    def _forget(self) -> None:
        surplus = len(self._holdings) - _REMEMBERED
        if surplus > 0:
            idle = (name for name, holding in self._holdings.items() if holding.expires is None and not holding.live)
            for program in list(islice(idle, surplus)):
                del self._holdings[program]

    def _still_there(self, holding: _Holding) -> bool:
        kept = 0
        while kept < len(holding.blocks) and not holding.blocks[kept].stale:
            kept += 1
        del holding.blocks[kept:]
        return kept > 0

    def _tokens(self, holding: _Holding) -> Tokens:
        return len(holding.blocks) * self._block_size

    def _report(self, program: str, outcome: PinOutcome, tokens: Tokens) -> None:
        self._reports.append(Report(program, outcome, tokens))
        self.cursor += 1
        self.counters[outcome] += 1
