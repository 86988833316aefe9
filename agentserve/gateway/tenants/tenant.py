"""A tenant while the gateway runs: its terms, what it has left of them, and what of its requests passes."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass

from agentserve.gateway.errors import ApiError
from agentserve.gateway.tenants.buckets import Bucket, Budget
from agentserve.gateway.tenants.line import WaitingLine
from agentserve.gateway.tenants.names import Names
from agentserve.gateway.tenants.section import TenantSection
from agentserve.gateway.tenants.steering import DROPPED
from scheduler.types import Seconds, TenantId, Tokens

SALTS = "agentserve:"
"""What the salts of tenants' caches begin with. vLLM refuses salts with a slash, an `@`, a backslash or more than 128
characters; a tenant's name has no colon."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What of a request passes on to the engine beside what every engine needs."""

    allow: frozenset[str] = frozenset()
    """Engine-control fields and headers."""
    salt: str = ""
    """Parts the tenant's cached prefixes from those of others; empty where they are shared."""
    authorization: bool = True
    """Its `Authorization` is for the engine, because the gateway asks for no key."""
    own: bool = False
    """The request is the gateway's, not a client's: what it tells our plugin passes."""

    @property
    def dropped(self) -> frozenset[str]:
        """Fields of a body that do not pass."""
        return DROPPED - self.allow


class Tenant:
    """One tenant. Times are of two clocks: `now` never runs backwards, `date` counts from 1970."""

    def __init__(self, section: TenantSection, passage: Passage) -> None:
        self.id = TenantId(section.name)
        self.line = WaitingLine()
        self.names = Names(self.id)
        self.budget: Budget | None = None
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self._under_way = _UnderWay()
        self.change(section, passage)

    def change(self, section: TenantSection, passage: Passage) -> None:
        """Takes up terms. What was spent of a budget whose period is the same stays spent; a rate that differs begins full."""
        self.weight = section.weight
        self.tier = section.tier
        self.passage = passage
        before, budget = self.budget, section.budget
        self.budget = Budget(budget.tokens, budget.every) if budget else None
        if self.budget is not None and before is not None and before.every == self.budget.every:
            self.budget.period, self.budget.spent = before.period, before.spent
        self._requests = _bucket(self._requests, section.requests_per_minute)
        self._tokens = _bucket(self._tokens, section.tokens_per_minute)
        self._section = section

    def request(self, now: Seconds, date: Seconds) -> AbstractContextManager[None]:
        """Takes a request, which is to be served within the context.

        Raises:
            ApiError: 429, the tenant has used up one of its limits.
        """
        self._check(now, date)
        if self._requests is not None:
            self._requests.take(now)
        return self._under_way

    def check_wait(self, now: Seconds) -> None:
        """A call is about to join the waiting line.

        Raises:
            ApiError: 429, the line is full, or the call would wait too long.
        """
        section, expected = self._section, self.line.expected(now)
        if section.queue is not None and len(self.line) >= section.queue:
            message = f"{len(self.line)} calls of tenant {self.id!r} wait already, and no more may"
            raise _over(message, max(1.0, expected / len(self.line)), "queue_full")
        if section.longest_wait is not None and expected > section.longest_wait:
            message = f"the call would wait for about {expected:.0f} s, and may wait for {section.longest_wait:g} s"
            raise _over(message, expected - section.longest_wait, "queue_full")

    def used(self, now: Seconds, date: Seconds, tokens: Tokens) -> None:
        """A call has used that many tokens."""
        if self._tokens is not None:
            self._tokens.take(now, tokens)
        if self.budget is not None:
            self.budget.spend(date, tokens)

    def _check(self, now: Seconds, date: Seconds) -> None:
        section = self._section
        if section.concurrency is not None and self._under_way.requests >= section.concurrency:
            raise _over(
                f"tenant {self.id!r} has {self._under_way.requests} requests under way, and may have no more", 1.0
            )
        if self._requests is not None and (wait := self._requests.wait(now)):
            raise _over(f"tenant {self.id!r} may make {section.requests_per_minute} requests a minute", wait)
        if self._tokens is not None and (wait := self._tokens.wait(now)):
            raise _over(f"tenant {self.id!r} may use {section.tokens_per_minute} tokens a minute", wait)
        if self.budget is not None and (wait := self.budget.wait(date)):
            message = f"tenant {self.id!r} has used up its budget of {self.budget.tokens} tokens"
            raise _over(message, wait, "insufficient_quota")


class _UnderWay(AbstractContextManager[None]):
    """Counts what is under way."""

    def __init__(self) -> None:
        self.requests = 0

    def __enter__(self) -> None:
        self.requests += 1

    def __exit__(self, *error: object) -> None:
        self.requests -= 1


def _bucket(before: Bucket | None, per_minute: int | None) -> Bucket | None:
    if per_minute is None:
        return None
    return before if before is not None and before.per_minute == per_minute else Bucket(per_minute)


def _over(message: str, wait: Seconds, code: str = "rate_limit_exceeded") -> ApiError:
    seconds = max(1, math.ceil(wait))
    return ApiError(429, f"{message}; try again in {seconds} s", code=code, retry_after=seconds)
