"""Which pins own which blocks, and which of these blocks are held back from eviction. Knows nothing of vLLM.

A block that pins own is *held* while no request references it: it counts as free, but is outside the eviction list.
Its *guardian* is the oldest of its owners; a shared block is taken when the turn comes to its guardian, and not before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

Seniority = tuple[float, int]
"""A program's rank, then the order in which this engine met it. Smaller is older."""


class ContextBlock(NamedTuple):
    """A full block of a context: its id, the hash of what it holds, and the tokens it stands for."""

    block: int
    hash: bytes
    tokens: int


class Pool(Protocol):
    """The engine's blocks, as far as retention touches them."""

    def hash_of(self, block: int) -> bytes | None:
        """The hash of what the block holds now; None if nothing can be found in it."""
        ...

    def is_free(self, block: int) -> bool:
        """Whether no request references the block."""
        ...

    def hold(self, block: int) -> None:
        """Takes a free block out of the eviction list."""
        ...

    def release(self, blocks: Sequence[int]) -> None:
        """Puts held blocks at the end of the eviction list, the first of them to be evicted first."""
        ...


@dataclass(slots=True, eq=False)
class Pin:
    """One retention: the blocks of a program's context, head first, and how long they are kept.

    `kept` may still list blocks that are no longer owned; `blocks` and `tokens` count those that are.
    """

    program: str
    seniority: Seniority
    kept: list[ContextBlock]
    remaining: float
    deadline: float
    blocks: int = 0
    tokens: int = 0
    guarded: int = 0
    """Held blocks whose guardian this pin is."""
    used: bool = False
    broken: bool = False


@dataclass(slots=True)
class _Owned:
    tokens: int
    guardian: Pin
    owners: dict[Pin, None] = field(default_factory=dict)
    held: bool = False


class Ownership:
    """The blocks that pins own. Blocks in the eviction list are never owned."""

    def __init__(self, pool: Pool) -> None:
        self.held_blocks = 0
        self.held_tokens = 0
        self._pool = pool
        self._owned: dict[int, _Owned] = {}

    def __len__(self) -> int:
        return len(self._owned)

    def add(self, pin: Pin) -> None:
        """Makes the pin an owner of all its blocks, and holds those that are free."""
        for entry in pin.kept:
            owned = self._owned.get(entry.block)
            if owned is None:
                owned = self._owned[entry.block] = _Owned(entry.tokens, pin)
                if self._pool.is_free(entry.block):
                    self._pool.hold(entry.block)
                    self._hold(owned)
            elif pin.seniority < owned.guardian.seniority:
                self._guard(owned, pin)
            owned.owners[pin] = None
            pin.blocks += 1
            pin.tokens += owned.tokens

    def remove(self, pin: Pin) -> None:
        """Ends the pin's ownership. Blocks nobody owns any more go to the end of the eviction list, tail first."""
        orphans = []
        for entry in reversed(pin.kept):
            owned = self._owned.get(entry.block)
            if owned is None or pin not in owned.owners:
                continue
            if len(owned.owners) == 1:
                if owned.held:
                    orphans.append(entry.block)
                self._drop(entry.block, owned)
                continue
            self._disown(owned, pin)
            if owned.guardian is pin:
                self._guard(owned, min(owned.owners, key=lambda owner: owner.seniority))
        self._pool.release(orphans)

    def strip(self, pin: Pin, count: int) -> tuple[list[int], set[Pin]]:
        """Takes up to `count` of the held blocks that the pin guards, tail first, from all who own them.

        Returns the blocks and the pins that lost them. The caller releases the blocks.
        """
        taken: list[int] = []
        losers: set[Pin] = set()
        for entry in reversed(pin.kept):
            if len(taken) == count:
                break
            owned = self._owned.get(entry.block)
            if owned is not None and owned.held and owned.guardian is pin:
                losers.update(owned.owners)
                self._drop(entry.block, owned)
                taken.append(entry.block)
        while pin.kept and not self.is_owner(pin, pin.kept[-1].block):
            pin.kept.pop()
        return taken, losers

    def freed(self, block: int) -> bool:
        """A block's last reference is gone: whether it is owned, and therefore held from now on."""
        owned = self._owned.get(block)
        if owned is None:
            return False
        self._hold(owned)
        return True

    def referenced(self, block: int) -> bool:
        """A free block is referenced again: whether it was held."""
        owned = self._owned.get(block)
        if owned is None:
            return False
        self._let_go(owned)
        return True

    def forget(self, block: int) -> None:
        """What a referenced block held is gone."""
        owned = self._owned.get(block)
        if owned is not None:
            self._drop(block, owned)

    def clear(self) -> None:
        """Ends all ownership."""
        held = [block for block, owned in self._owned.items() if owned.held]
        for block, owned in list(self._owned.items()):
            self._drop(block, owned)
        self._pool.release(held)

    def is_owner(self, pin: Pin, block: int) -> bool:
        """Whether the pin owns the block."""
        owned = self._owned.get(block)
        return owned is not None and pin in owned.owners

    def guarded_before(self, seniority: Seniority, blocks: Iterable[int]) -> int:
        """How many of these blocks are held under a guardian that is older than `seniority`."""
        found = (self._owned.get(block) for block in blocks)
        return sum(1 for owned in found if owned is not None and owned.held and owned.guardian.seniority < seniority)

    def _hold(self, owned: _Owned) -> None:
        owned.held = True
        owned.guardian.guarded += 1
        self.held_blocks += 1
        self.held_tokens += owned.tokens

    def _let_go(self, owned: _Owned) -> None:
        owned.held = False
        owned.guardian.guarded -= 1
        self.held_blocks -= 1
        self.held_tokens -= owned.tokens

    def _guard(self, owned: _Owned, guardian: Pin) -> None:
        if owned.held:
            owned.guardian.guarded -= 1
            guardian.guarded += 1
        owned.guardian = guardian

    def _disown(self, owned: _Owned, pin: Pin) -> None:
        del owned.owners[pin]
        pin.blocks -= 1
        pin.tokens -= owned.tokens

    def _drop(self, block: int, owned: _Owned) -> None:
        if owned.held:
            self._let_go(owned)
        for owner in list(owned.owners):
            self._disown(owned, owner)
        del self._owned[block]
