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
from agentserve.gateway.protocols.openai_chat import Chat
from agentserve.gateway.request import parse_request
from agentserve.gateway.sources import Source
from agentserve.gateway.tenants.tenant import Passage
from scheduler.actions import Submit


class StepFailedError(Exception):
    """No engine answered the step. The message is what the last one said."""


async def run_step(
    driver: Driver, limits: Limits, passage: Passage, submit: Submit, body: bytes, headers: Headers
) -> bytes:
    """Sends the call and returns its whole answer. Cancelling it aborts the call.

    Raises:
        StepFailedError: the answer is an error.
    """
    kept: list[Message] = []

    async def keep(message: Message) -> None:
        kept.append(message)

    identity = Identity(
        program=submit.program,
        source=Source.HEADER,
        parent=submit.parent,
        workflow=f"{submit.workflow}/{submit.model}",
        stage=submit.step.stage.value,
        deadline=None,
        final=False,
    )
    request = parse_request(Chat.path, body, passage.salt)
    nobody_refers_to_it = Chain()
    ours = replace(passage, allow=passage.allow | {"vllm_xargs"}, own=True)
    await Call(driver, limits, ours, request, identity, headers, nobody_refers_to_it, keep, submit.call).run(_stay)
    status = kept[0]["status"] if kept else 0
    data: bytes = b"".join(message.get("body", b"") for message in kept)
    if status != HTTPStatus.OK:
        raise StepFailedError(f"status {status}: {data[:200].decode(errors='replace')}")
    return data


async def _stay() -> Message:
    """A client that never leaves: whoever runs the step cancels it."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets this event")
