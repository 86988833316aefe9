"""The contract between the gateway and an engine: what it is, its HTTP leg, its pins and its pulse.

Two kinds implement it (`vllm` launched or attached by URL, and the emulated one, which is served on a loopback port
and attached like any other), so that the gateway knows only this page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scheduler.events import PinOutcome
from scheduler.types import EngineId, EngineSpec, Seconds, Tokens

Progress = Callable[[str], None]
"""Called with one line a person can read while an engine starts."""


class EngineError(Exception):
    """The engine could not be started, probed or reached. The message says what to do."""


class OutrankedError(EngineError):
    """The engine obeys another gateway, which leads it since later."""


@dataclass(frozen=True, slots=True)
class PinOrder:
    """Keep `program` (its `ProgramKey` as a string) for `ttl` seconds from now; 0 releases it."""

    program: str
    ttl: Seconds


@dataclass(frozen=True, slots=True)
class PinReport:
    """What became of a program's pin, as the plugin reports it."""

    program: str
    outcome: PinOutcome
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Pulse:
    """One scrape of an engine: `kv_used` is what running requests reference."""

    running: int
    waiting: int
    kv_used: Tokens


Room = Callable[[], Awaitable[None]]
"""Waits until more may come."""
Take = Callable[[bytes], Room | None]
"""Takes a piece of an answer, and says how to wait if no more may come for now."""


class Reply(Protocol):
    """An engine's answer whose head has arrived and whose body is still coming."""

    status: int

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers, by lower-case names."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, in the pieces it comes in.

        Raises:
            EngineError: the connection broke before the body ended.
        """
        ...

    async def relay(self, take: Take) -> None:
        """Gives the body to `take` piece by piece, each as it comes, and returns at its end.

        Reading pauses while `take` has no room. What it raises ends the relay and is raised here.

        Raises:
            EngineError: the connection broke before the body ended.
        """
        ...

    async def aclose(self) -> None:
        """Ends the exchange; a call that is still running is thereby aborted upstream."""
        ...


class Engine(Protocol):
    """One engine the gateway serves from."""

    name: EngineId

    @property
    def url(self) -> str:
        """Its base URL, without a trailing slash."""
        ...

    async def start(self, progress: Progress) -> EngineSpec:
        """Brings it up (launches the process where it is ours), waits until it is healthy, and probes it.

        Raises:
            EngineError: it did not come up, or is of a kind that cannot be served (with what to do about it).
        """
        ...

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """POSTs a body and returns once the answer's head is there. Cancelling it ends the exchange.

        Raises:
            EngineError: no answer came (connection refused, reset or broken).
        """
        ...

    async def healthy(self) -> bool:
        """Whether it answers its health route now. Never raises."""
        ...

    async def observe(self) -> Pulse:
        """Scrapes it.

        Raises:
            EngineError: it did not answer, or answered something that is no metrics page.
        """
        ...

    async def pin(self, orders: Sequence[PinOrder], epoch: int = 0) -> list[PinReport]:
        """Sets and releases pins, and returns all reports since the last time; `orders` may be empty.

        Raises:
            OutrankedError: it has had orders of a later epoch.
            EngineError: it did not answer. An engine without the plugin returns an empty list.
        """
        ...

    async def stop(self) -> None:
        """Closes connections, and ends the process if it is ours."""
        ...
