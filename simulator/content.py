"""What a context holds: extents of named contents, and how far two contexts are the same."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from scheduler.types import Tokens


class Extent(NamedTuple):
    """A run of tokens: the first `length` tokens of the content that `content` stands for."""

    content: int
    length: Tokens


Key: TypeAlias = tuple[tuple[int, Tokens, Tokens], ...]
"""What some tokens hold: of each extent among them its content, where in it they start, and how many they are."""

_length: Callable[[Extent], Tokens] = itemgetter(1)


class Context:
    """Extents one behind the other.

    Two contexts share their tokens as far as their extents are equal, and then, if the next ones are of the same
    content, the length of the shorter of these.
    """

    __slots__ = ("_ends", "extents")

    def __init__(self, extents: tuple[Extent, ...]) -> None:
        self.extents = extents
        self._ends = list(accumulate(map(_length, extents)))

    @property
    def tokens(self) -> Tokens:
        """Its length."""
        return self._ends[-1] if self._ends else 0

    @property
    def shortest(self) -> Tokens:
        """The length of its shortest extent; it has one."""
        return min(map(_length, self.extents))

    def key(self, start: Tokens, end: Tokens) -> Key:
        """What the tokens from `start` to `end` hold."""
        index = bisect_right(self._ends, start)
        if end <= self._ends[index]:
            content, length = self.extents[index]
            return ((content, start - self._ends[index] + length, end - start),)
        pieces: list[tuple[int, Tokens, Tokens]] = []
        while start < end:
            content, length = self.extents[index]
            offset = start - self._ends[index] + length
            size = min(length - offset, end - start)
            pieces.append((content, offset, size))
            start += size
            index += 1
        return tuple(pieces)

    def common(self, other: Context, start: Tokens, end: Tokens) -> Tokens:
        """How far the two are the same, of the first `end` tokens; the first `start`, at least one, are known to be."""
        first = bisect_right(self._ends, start - 1)
        last = bisect_right(self._ends, end - 1)
        mine, others = self.extents, other.extents
        if mine[first:last] == others[first:last]:
            index = last
        else:
            pairs = zip(mine[first:last], others[first:last], strict=False)
            equal = next((index for index, (one, two) in enumerate(pairs) if one != two), len(others) - first)
            index = first + equal
        begin = self._ends[index] - mine[index].length
        if index < len(others) and others[index].content == mine[index].content:
            return min(end, begin + min(mine[index].length, others[index].length))
        return min(end, begin)
