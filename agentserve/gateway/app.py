"""The gateway as an ASGI application: inference handled directly, everything else by FastAPI."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from agentserve import __version__
from agentserve.dashboard import site
from agentserve.gateway.control import control_routes, operator
from agentserve.gateway.errors import ApiError, send_error
from agentserve.gateway.faults.drain import Drain
from agentserve.gateway.fleet import Fleet
from agentserve.gateway.inference import Inference
from agentserve.gateway.passthrough import PASSED, Passthrough
from agentserve.gateway.protocols import PROTOCOLS, protocol_of
from agentserve.gateway.scoped import scoped
from agentserve.gateway.tenants.door import Door, Visitor

DESCRIPTION = f"""\
Control and administration. The inference routes are OpenAI's, Anthropic's and vLLM's, and are handled apart from these:
`POST` to {", ".join(f"`{path}`" for path in (*PROTOCOLS, *PASSED))}. The headers `x-agentserve-program`, `-parent`,
`-stage`, `-workflow`, `-deadline-ms`, `-priority`, `-expected-output` and `-final` tell the gateway what it cannot
know; so does a base URL that begins with `/p/PROGRAM`.
"""


Elsewhere = Callable[[Scope, Receive, Send, Visitor], Awaitable[bool]]
"""Has a control request answered by another gateway; False if it is to be answered here."""

OPEN = frozenset({"/health", "/ready"})
"""For probes, which have no key."""


def _is_open(path: str) -> bool:
    """Whether a path needs no key. The dashboard's own files show nothing of anybody's."""
    return path in OPEN or path == site.PATH or path.startswith(f"{site.PATH}/")


class Gateway:
    """The application."""

    def __init__(
        self,
        fleet: Fleet,
        door: Door,
        inference: Inference,
        passthrough: Passthrough,
        drain: Drain,
        watching: APIRouter,
        rollouts: APIRouter | None = None,
    ) -> None:
        """`watching` are the routes of those who watch; `rollouts` those of trainers, where the gateway is alone."""
        self.driver = fleet.driver
        self.door = door
        self.drain = drain
        self._inference = inference
        self._passthrough = passthrough
        self.control: ASGIApp = _control_app(fleet, watching, rollouts)
        self.elsewhere: Elsewhere | None = None
        """Who asks the gateway with the brain, where gateways share one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self.control(scope, receive, send)
            return
        scope, program = scoped(scope)
        try:
            await self._handle(scope, receive, send, program)
        except ApiError as error:
            self.driver.metrics.errors.labels(str(error.status)).inc()
            await send_error(send, error, protocol_of(scope["path"]).error(error))

    async def _handle(self, scope: Scope, receive: Receive, send: Send, program: str) -> None:
        """Raises `ApiError` if the request is refused; nothing has been sent then."""
        path = scope["path"]
        if path == "/ready":
            self.drain.check()
        if _is_open(path):
            await self.control(scope, receive, send)
            return
        visitor = self.door.enter(scope["headers"])
        if path in PROTOCOLS:
            with self.drain.request(), self._counted(visitor):
                await self._inference(scope, receive, send, visitor.tenant, program)
        elif path in PASSED:
            with self.drain.request(), self._counted(visitor):
                await self._passthrough(scope, receive, send, visitor.tenant.passage)
        elif self.elsewhere is None or not await self.elsewhere(scope, receive, send, visitor):
            await self.control({**scope, "state": {"visitor": visitor}}, receive, send)

    def _counted(self, visitor: Visitor) -> AbstractContextManager[None]:
        return visitor.tenant.request(self.driver.now(), time.time())


def _control_app(fleet: Fleet, watching: APIRouter, rollouts: APIRouter | None) -> FastAPI:
    app = FastAPI(title="agentserve", version=__version__, description=DESCRIPTION)
    app.include_router(control_routes(fleet))
    app.include_router(watching, dependencies=[Depends(operator)])
    app.include_router(site.site_routes())
    if rollouts is not None:
        app.include_router(rollouts)

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        body = protocol_of(request.url.path).error(error)
        headers = {name.decode(): value.decode() for name, value in error.headers}
        return Response(body, error.status, headers, media_type="application/json")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return await api_error(request, ApiError(error.status_code, f"{request.url.path}: {error.detail}"))

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{param}: {first['msg']}" if param else str(first["msg"])
        return await api_error(request, ApiError(400, message, param=param or None, code="invalid_value"))

    return app
