"""One step of a procedure: a call like any client's, whose client is the gateway itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from http import HTTPStatus

from starlette.types import Message

from agentserve.config import Limits
from agentserve.gateway.call import Call
from agentserve.gateway.chain import Chain
from agentserve.gateway.driver import Driver
from agentserve.gateway.identity import Identity
from agentserve.gateway.ids import Headers
from agentserve.gateway.request import Request
from agentserve.gateway.tenants.tenant import Passage
from scheduler.types import CallId


class StepFailedError(Exception):
    """The step has no answer. The message says why."""

    def __init__(self, message: str, status: int = HTTPStatus.SERVICE_UNAVAILABLE) -> None:
        """`status` is that of the error which came in its place."""
        super().__init__(message)
        self.status = status


async def run_step(
    driver: Driver,
    limits: Limits,
    passage: Passage,
    request: Request,
    identity: Identity,
    headers: Headers,
    name: CallId,
) -> bytes:
    """Sends the call and returns its whole answer. Cancelling it aborts the call.

    Raises:
        StepFailedError: the answer is an error; the message is what the last engine said.
    """
    kept: list[Message] = []

    async def keep(message: Message) -> None:
        kept.append(message)

    nobody_refers_to_it = Chain()
    ours = replace(passage, allow=passage.allow | {"vllm_xargs"}, own=True)
    await Call(driver, limits, ours, request, identity, headers, nobody_refers_to_it, keep, name).run(_stay)
    status = kept[0]["status"] if kept else 0
    data: bytes = b"".join(message.get("body", b"") for message in kept)
    if status != HTTPStatus.OK:
        raise StepFailedError(f"status {status}: {data[:200].decode(errors='replace')}", status)
    return data


async def _stay() -> Message:
    """A client that never leaves: whoever runs the step cancels it."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets this event")
