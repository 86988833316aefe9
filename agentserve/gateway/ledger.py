"""What each program has taken: calls, tokens, time on engines and in line, and what that costs by the price table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agentserve.gateway.lives import Life, Watcher
from agentserve.gateway.metrics import Metrics
from scheduler.types import ProgramKey, Seconds, Tokens, Usage
from workloads.traces.recording import CallStatus

PER_TOKENS = 1_000_000
"""Tokens that a price is for."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in any one currency: per million tokens, and per second that a call is on an engine."""

    input: float = 0.0
    """Prompt tokens that were not cached."""
    cached: float = 0.0
    """Prompt tokens that were."""
    output: float = 0.0
    engine_second: float = 0.0

    def of(self, usage: Usage | None, on_engines: Seconds) -> float:
        """What a call costs. Where the engine does not say what was cached, nothing was."""
        seconds = self.engine_second * on_engines
        if usage is None:
            return seconds
        cached = usage.cached or 0
        tokens = self.input * (usage.prompt - cached) + self.cached * cached + self.output * usage.output
        return seconds + tokens / PER_TOKENS


@dataclass(slots=True)
class Account:
    """What a program has taken, by the calls of it that have ended."""

    calls: int = 0
    unfinished: int = 0
    """Of these, those that failed, were cancelled or rejected."""
    prompt_tokens: Tokens = 0
    cached_tokens: Tokens = 0
    output_tokens: Tokens = 0
    engine_seconds: Seconds = 0.0
    queue_seconds: Seconds = 0.0
    cost: float = 0.0
    open_calls: int = 0
    """Calls that have not ended."""
    rested: Seconds | None = None
    """When the latest one ended, if one has."""


FREE = Price()


class Ledger(Watcher):
    """The accounts of recent programs, those that have ended included."""

    def __init__(self, prices: Mapping[str, Price], metrics: Metrics, most: int) -> None:
        """`prices` are by model; a model that is not in it is free. Of more than `most` programs, the one whose last
        call ended first is forgotten.
        """
        self._prices = prices
        self._most = most
        self._metrics = metrics
        self._accounts: OrderedDict[ProgramKey, Account] = OrderedDict()

    def account(self, program: ProgramKey) -> Account:
        """A program's account; an empty one if it has made no call, or it is long ago."""
        return self._accounts.get(program) or Account()

    def latest(self) -> Iterator[tuple[ProgramKey, Account]]:
        """All accounts; the program whose last call ended latest comes first."""
        return reversed(self._accounts.items())

    def call_arrived(self, life: Life) -> None:
        """Notes that a call is there, and measures the gap that it ends, if it ends one."""
        arrival = life.arrival
        account = self._accounts.setdefault(arrival.program, Account())
        if not account.open_calls and account.rested is not None:
            self._metrics.gap_seconds.labels(arrival.model).observe(arrival.at - account.rested)
        account.open_calls += 1

    def call_ended(self, life: Life) -> None:
        """Enters a call."""
        program, usage = life.arrival.program, life.usage
        cost = self._prices.get(life.arrival.model, FREE).of(usage, life.on_engines)
        account = self._accounts.setdefault(program, Account())
        account.open_calls = max(0, account.open_calls - 1)
        account.rested = life.ended
        account.calls += 1
        account.unfinished += life.status is not CallStatus.FINISHED
        account.engine_seconds += life.on_engines
        account.queue_seconds += life.queued
        account.cost += cost
        if usage is not None:
            account.prompt_tokens += usage.prompt
            account.cached_tokens += usage.cached or 0
            account.output_tokens += usage.output
        self._metrics.count_cost(life.arrival.model, life.on_engines, cost)
        self._accounts.move_to_end(program)
        if len(self._accounts) > self._most:
            self._accounts.popitem(last=False)
