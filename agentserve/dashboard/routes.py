"""The routes of those who watch: the feed, a program's calls, a call's story. Who may use them is not their matter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from agentserve.dashboard.calls import CallLine
from agentserve.dashboard.stories import Stories
from agentserve.dashboard.stream import EventStream
from scheduler.types import DEFAULT_TENANT, ProgramKey, TenantId

Watch = Callable[[], AbstractContextManager[AsyncIterator[bytes]]]
CallsOf = Callable[[ProgramKey], list[CallLine]]


class CallList(BaseModel):
    """Calls of a program, by arrival."""

    calls: list[CallLine]


def watching_routes(watch: Watch, calls_of: CallsOf, stories: Stories) -> APIRouter:
    """The routes, for an application of FastAPI."""
    router = APIRouter(prefix="/agentserve/v1")

    @router.get(
        "/watch",
        summary="What changes, as server-sent events",
        response_class=Response,
        responses={200: {"description": "One after another, without end.", "content": {"text/event-stream": {}}}},
    )
    async def feed() -> Response:
        return EventStream(watch())

    @router.get(
        "/calls",
        summary="The calls of a program that are under way, and those that ended while somebody watched",
        response_model=CallList,
    )
    async def calls(
        program: Annotated[str, Query(description="Its id.")], tenant: str = DEFAULT_TENANT
    ) -> JSONResponse:
        key = ProgramKey(TenantId(tenant), program)
        return JSONResponse({"calls": [asdict(call) for call in calls_of(key)]})

    @router.get(
        "/calls/{call}/story",
        summary="Why a call waited, where it went, and whether its KV was kept",
        responses={503: {"description": "The log takes too long to read."}},
    )
    async def story(call: str) -> JSONResponse:
        return JSONResponse(await stories.tell(call))

    return router
