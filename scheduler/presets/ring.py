"""A consistent hash: which of several names owns a key, so that few keys move when a name comes or goes."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from hashlib import blake2b

POINTS = 160
"""Points of each name on the ring."""


def owner(key: str, names: tuple[str, ...]) -> str:
    """The name whose point follows the key's on the ring."""
    places, owners = _ring(names)
    return owners[bisect_right(places, _place(key)) % len(owners)]


@lru_cache(maxsize=16)
def _ring(names: tuple[str, ...]) -> tuple[list[int], list[str]]:
    points = sorted((_place(f"{name}#{number}"), name) for name in names for number in range(POINTS))
    return [place for place, _ in points], [name for _, name in points]


def _place(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
