"""The gateway as an ASGI application: inference handled directly, everything else by FastAPI."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from agentserve import __version__
from agentserve.dashboard import site
from agentserve.gateway.control import control_routes, operator
from agentserve.gateway.document import REFUSED, complete
from agentserve.gateway.errors import ApiError, send_error
from agentserve.gateway.faults.drain import Drain
from agentserve.gateway.fleet import Fleet
from agentserve.gateway.inference import Inference
from agentserve.gateway.passthrough import PASSED, Passthrough
from agentserve.gateway.protocols import PROTOCOLS, protocol_of
from agentserve.gateway.scoped import scoped
from agentserve.gateway.tenants.door import Door, Visitor

DESCRIPTION = """\
Inference by OpenAI's, Anthropic's and vLLM's routes, control and administration. Headers `x-agentserve-...` tell the
gateway of a call what it cannot know; so does a base URL that begins with `/p/PROGRAM`.
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
    ) -> None:
        """`watching` are the routes of those who watch."""
        self.fleet = fleet
        self.driver = fleet.driver
        self.door = door
        self.drain = drain
        self._inference = inference
        self._passthrough = passthrough
        self._app = _control_app(fleet, watching, keyed=door.ring is not None)
        self.control: ASGIApp = self._app
        self.hang_up: Callable[[], None] = lambda: None
        """What SIGHUP does."""
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
            with self.drain, self._counted(visitor):
                await self._inference(scope, receive, send, visitor.tenant, program)
        elif path in PASSED:
            with self.drain, self._counted(visitor):
                await self._passthrough(scope, receive, send, visitor.tenant.passage)
        elif self.elsewhere is None or not await self.elsewhere(scope, receive, send, visitor):
            await self.control({**scope, "state": {"visitor": visitor}}, receive, send)

    def add_control(self, router: APIRouter) -> None:
        """Serves more of the gateway's own routes."""
        self._app.include_router(router, responses=REFUSED)

    def _counted(self, visitor: Visitor) -> AbstractContextManager[None]:
        return visitor.tenant.request(self.driver.now(), time.time())


class _Control(FastAPI):
    """Everything but inference, and the document of all of it."""

    def __init__(self, fleet: Fleet, *, keyed: bool) -> None:
        super().__init__(
            title="agentserve",
            version=__version__,
            description=DESCRIPTION,
            generate_unique_id_function=lambda route: route.name,
        )
        self._models = fleet.models
        self._keyed = keyed

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            complete(super().openapi(), self._models, keyed=self._keyed)
        return super().openapi()


def _control_app(fleet: Fleet, watching: APIRouter, *, keyed: bool) -> FastAPI:
    app = _Control(fleet, keyed=keyed)
    app.include_router(control_routes(fleet), responses=REFUSED)
    app.include_router(watching, dependencies=[Depends(operator)], responses=REFUSED)
    app.include_router(site.site_routes())

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        fleet.driver.metrics.errors.labels(str(error.status)).inc()
        body = protocol_of(request.url.path).error(error)
        headers = {name.decode(): value.decode() for name, value in error.headers}
        return Response(body, error.status, headers, media_type="application/json")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        answer = await api_error(request, ApiError(error.status_code, f"{request.url.path}: {error.detail}"))
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            answer.headers["allow"] = ", ".join(sorted(_methods(app, request.scope)))
        return answer

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{param}: {first['msg']}" if param else str(first["msg"])
        return await api_error(request, ApiError(400, message, param=param or None, code="invalid_value"))

    return app


def _methods(app: FastAPI, scope: Scope) -> set[str]:
    """What may be done with a path; where several routes share it, Starlette knows of the first only."""
    routes = [route for route in app.routes if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE]
    return {method for route in routes for method in route.methods or ()}
