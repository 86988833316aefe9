"""Calls that were refused for now are sent again when the gateway says so, and only then."""

from __future__ import annotations

import httpx
import pytest

from agentserve import AgentserveError, Retries
from agentserve.client import Program
from tests.client.test_client import ANSWER, Gateway


class Busy(Gateway):
    """Refuses the first calls."""

    def __init__(self, refusals: int, status: int = 429, **headers: str) -> None:
        super().__init__(self.refuse)
        self.refusals = refusals
        self.refusal = (status, {name.replace("_", "-"): value for name, value in headers.items()})
        self.pauses: list[float] = []

    def refuse(self, request: httpx.Request) -> httpx.Response:
        if len(self.requests) > self.refusals:
            return httpx.Response(200, json=ANSWER)
        status, headers = self.refusal
        return httpx.Response(status, headers=headers, json={"error": {"message": "too many"}})

    def program(self, deadline: float | None = None) -> Program:
        client = self.client()
        client._sleep = self.pauses.append
        return client.program(deadline=deadline)


@pytest.mark.parametrize("status", [429, 503])
def test_it_comes_again_when_it_was_told_to(status: int) -> None:
    gateway = Busy(2, status, retry_after="3")
    assert gateway.program().chat("hi") == ANSWER
    assert gateway.pauses == [3.0, 3.0]


def test_a_date_that_has_passed_is_now() -> None:
    gateway = Busy(1, retry_after="Thu, 01 Jan 2026 00:00:00 GMT")
    assert gateway.program().chat("hi") == ANSWER
    assert gateway.pauses == [0.0]


@pytest.mark.parametrize(
    ("gateway", "why"),
    [
        (Busy(9, retry_after="3"), "twice is enough"),
        (Busy(9), "nobody said when"),
        (Busy(9, retry_after="soon"), "nobody said when"),
        (Busy(9, retry_after="3600"), "an hour is too long"),
        (Busy(9, 500, retry_after="3"), "this is no refusal for now"),
    ],
)
def test_otherwise_the_refusal_is_raised(gateway: Busy, why: str) -> None:
    with pytest.raises(AgentserveError, match="too many"):
        gateway.program().chat("hi")
    assert len(gateway.pauses) == (2 if why == "twice is enough" else 0), why


def test_no_pause_ends_after_the_deadline() -> None:
    gateway = Busy(9, retry_after="30")
    with pytest.raises(AgentserveError, match="too many"):
        gateway.program(deadline=10).chat("hi")
    assert gateway.pauses == []


async def test_the_async_client_comes_again_too() -> None:
    gateway = Busy(1, retry_after="2")
    client = gateway.async_client()

    async def sleep(seconds: float) -> None:
        gateway.pauses.append(seconds)

    client._sleep = sleep
    assert await client.program().chat("hi") == ANSWER
    assert gateway.pauses == [2.0]


def test_retries_can_be_turned_off() -> None:
    assert Retries(attempts=0).pause(429, {"retry-after": "1"}, 1, None) is None
