"""Ways for an emulated engine to fail, so that what stands in front of it can be tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ServerError:
    """Every call is answered with status 500."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """Every call is answered with status 200 and bytes that are no JSON and no events."""


@dataclass(frozen=True, slots=True)
class DiesMidStream:
    """The connection breaks after so many chunks of a stream; an answer in one piece never comes."""

    after: int


Fault: TypeAlias = ServerError | Garbage | DiesMidStream
