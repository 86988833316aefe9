"""Control requests that only the gateway with the brain can answer, carried to it and back by the channel."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from agentserve.cell.channel import Channel, Item
from agentserve.gateway.errors import ApiError
from agentserve.gateway.inference import read_body
from agentserve.gateway.tenants.door import Visitor
from agentserve.gateway.tenants.tenant import Tenant
from scheduler.types import Seconds, TenantId

OF_THE_BRAIN = ("/agentserve/v1/programs", "/agentserve/v1/workflows", "/agentserve/v1/working-set")
LONGEST = 64 * 1024
"""Bytes of a control request's body."""
PATIENCE: Seconds = 10.0


class Questions:
    """Both sides: asks over a link, and answers what comes over one."""

    def __init__(self, control: ASGIApp, tenant: Callable[[TenantId], Tenant]) -> None:
        self._control = control
        self._tenant = tenant
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Item]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, link: Channel, scope: Scope, receive: Receive, send: Send, visitor: Visitor) -> None:
        """Has a request answered at the other end.

        Raises:
            ApiError: 503, it did not answer; 413, the request is too large.
        """
        body = await read_body(receive, dict(scope["headers"]), LONGEST)
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        question = {"method": scope["method"], "path": scope["path"], "query": scope["query_string"].decode()}
        who = {"tenant": visitor.tenant.id, "admin": visitor.admin}
        link.send({"ask": number, **question, **who, "body": body.decode("latin-1")})
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await future
        except TimeoutError:
            raise ApiError(503, "the gateway with the brain does not answer; try again", code="no_brain") from None
        finally:
            del self._asked[number]
        headers = [(b"content-type", answer["type"].encode())]
        await send({"type": "http.response.start", "status": answer["status"], "headers": headers})
        await send({"type": "http.response.body", "body": answer["body"].encode()})

    def answered(self, item: Item) -> None:
        """An answer came."""
        future = self._asked.get(item["answer"])
        if future is not None and not future.done():
            future.set_result(item)

    def heard(self, link: Channel, item: Item) -> None:
        """A question came."""
        task = asyncio.create_task(self._answer(link, item))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, link: Channel, item: Item) -> None:
        visitor = Visitor(self._tenant(TenantId(item["tenant"])), admin=bool(item["admin"]))

        async def control(scope: Any, receive: Any, send: Any) -> None:
            await self._control({**scope, "state": {"visitor": visitor}}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(control), base_url="http://brain") as client:
            url = httpx.URL(path=item["path"], query=item["query"].encode())
            headers = {"content-type": "application/json"}
            body = item["body"].encode("latin-1")
            answer = await client.request(item["method"], url, content=body, headers=headers)
        kind = answer.headers.get("content-type", "application/json")
        link.send({"answer": item["ask"], "status": answer.status_code, "type": kind, "body": answer.text})
