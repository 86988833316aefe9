"""The account of one engine's KV memory: who holds how many tokens, with shared prefixes counted once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from scheduler.types import CallId, PrefixMark, ProgramKey, Tokens

Owner: TypeAlias = CallId | ProgramKey
"""A running call, or a program that rests in a gap."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """The KV of one context: segments that others may share, named by the hash of their end, and a private tail."""

    segments: tuple[tuple[int, Tokens], ...]
    tail: Tokens

    @property
    def tokens(self) -> Tokens:
        return self.tail + sum(tokens for _, tokens in self.segments)


NOTHING = Footprint((), 0)


def footprint(marks: tuple[PrefixMark, ...], tokens_per_byte: float, tokens: Tokens) -> Footprint:
    """Splits a context of `tokens` at its prompt's marks; what is after the last mark is private."""
    segments = []
    start = 0
    for mark in marks:
        end = min(int(mark.size * tokens_per_byte), tokens)
        segments.append((mark.hash, end - start))
        start = end
    return Footprint(tuple(segments), tokens - start)


@dataclass(slots=True)
class Account:
    """Sums of footprints. Every `hold` is undone by the `drop` of the same owner, whatever happened between."""

    capacity: Tokens
    occupied: Tokens = 0
    _holdings: dict[Owner, Footprint] = field(default_factory=dict)
    _segments: dict[int, Tokens] = field(default_factory=dict)
    _shares: dict[int, int] = field(default_factory=dict)
    """How many owners beyond the first hold a segment; a segment with one owner has no entry."""

    def __contains__(self, owner: Owner) -> bool:
        return owner in self._holdings

    def __len__(self) -> int:
        return len(self._holdings)

    def hold(self, owner: Owner, held: Footprint) -> None:
        """Charges `owner` with a footprint, in place of the one it had."""
        self.drop(owner)
        self._holdings[owner] = held
        self.occupied += held.tail
        for name, tokens in held.segments:
            if name in self._segments:
                self._shares[name] = self._shares.get(name, 0) + 1
            else:
                self._segments[name] = tokens
                self.occupied += tokens

    def drop(self, owner: Owner) -> None:
        """Gives back what `owner` holds; nothing if it holds nothing."""
        held = self._holdings.pop(owner, None)
        if held is None:
            return
        self.occupied -= held.tail
        for name, _ in held.segments:
            shares = self._shares.get(name, 0)
            if shares == 0:
                self.occupied -= self._segments.pop(name)
            elif shares == 1:
                del self._shares[name]
            else:
                self._shares[name] = shares - 1

    def added_by(self, held: Footprint) -> Tokens:
        """What `occupied` would grow by if this footprint were held too."""
        return held.tail + sum(tokens for name, tokens in held.segments if name not in self._segments)

    def clear(self) -> None:
        """Forgets everything, as an engine that went down does."""
        self._holdings.clear()
        self._segments.clear()
        self._shares.clear()
        self.occupied = 0

    def check_integrity(self) -> None:
        """Counts everything anew.

        Raises:
            AssertionError: the running sums disagree with the holdings.
        """
        owners: dict[int, int] = {}
        for held in self._holdings.values():
            for name, _ in held.segments:
                owners[name] = owners.get(name, 0) + 1
        assert owners.keys() == self._segments.keys(), "segments without an owner, or owners without a segment"
        assert {name: count - 1 for name, count in owners.items() if count > 1} == self._shares, "share counts are off"
        tails = sum(held.tail for held in self._holdings.values())
        assert self.occupied == tails + sum(self._segments.values()), "occupied is not the sum of what is held"
