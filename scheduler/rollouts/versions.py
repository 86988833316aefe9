"""Weight versions: which one each engine has, and which tokens of a sample each one wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.types import EngineId, Tokens


@dataclass(frozen=True, slots=True)
class Segment:
    """The tokens `start` to `end` (exclusive) of a sample's output: who wrote them, and with which weights."""

    version: int
    engine: EngineId
    start: Tokens
    end: Tokens


def joined(segments: Sequence[Segment], version: int, engine: EngineId, tokens: Tokens) -> tuple[Segment, ...]:
    """The segments with so many tokens more; those of one engine and version are one segment."""
    if not tokens:
        return tuple(segments)
    last = segments[-1] if segments else None
    start = last.end if last else 0
    if last is not None and (last.version, last.engine) == (version, engine):
        return (*segments[:-1], Segment(version, engine, last.start, start + tokens))
    return (*segments, Segment(version, engine, start, start + tokens))


def oldest(segments: Sequence[Segment], otherwise: int) -> int:
    """The oldest version that wrote a token; `otherwise` where there is none yet."""
    return min((segment.version for segment in segments), default=otherwise)


class Versions:
    """The weights of one model's engines. A version is a number that grows with each update."""

    def __init__(self) -> None:
        self.latest = 0
        """The newest that there is; 0 is what engines begin with."""
        self._engines: dict[EngineId, int] = {}

    def of(self, engine: EngineId) -> int:
        """The version that an engine has."""
        return self._engines.get(engine, 0)

    def announce(self, version: int) -> None:
        """A version exists.

        Raises:
            ValueError: it is older than the latest.
        """
        if version < self.latest:
            raise ValueError(f"version {version} is older than {self.latest}, which is there already")
        self.latest = version

    def loaded(self, engine: EngineId, version: int) -> None:
        """An engine has it."""
        self._engines[engine] = version

    def began(self, engine: EngineId) -> None:
        """An engine has started anew, with the weights that it always begins with."""
        self._engines.pop(engine, None)

    def behind(self, engine: EngineId) -> bool:
        """Whether an engine has other weights than the latest."""
        return self.of(engine) != self.latest
